"""A sweep as a journal of Optuna, which optuna-dashboard shows."""

import datetime
import importlib.util
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli.sweep import learning, records, report, schedule
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Choice, Dimension, Point, plain
from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_path

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def require(file: str) -> None:
    """Check that a journal can be written, before the first trial.

    Args:
        file: the file, as the user gave it.

    Raises:
        UserError: Optuna is missing, or the folder of the file does not exist.
    """
    if not importlib.util.find_spec('optuna'):
        raise UserError(
            f'--optuna={file}: expected the package optuna. Install the extra `search`: pip '
            "install -e '.[search]' in a checkout of jaxvision."
        )
    if not Path(file).parent.is_dir() or Path(file).is_dir():
        raise UserError(
            f'--optuna={file}: expected a file in a folder that exists. Give another one.'
        )


def write(sweep: Sweep, path: Path) -> None:
    """Write the trials of a sweep as a study of Optuna, over an older file.

    A trial at its end is COMPLETE. One that halving ended early is PRUNED, and one that diverged
    or failed is FAIL. The others are RUNNING. The intermediate values are those of every
    evaluation on the validation split, by training examples.

    Args:
        sweep: the sweep, which may still run.
        path: the file, in an existing folder.

    Raises:
        UserError: The file cannot be written.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direction = 'minimize' if sweep.metric.startswith('-') else 'maximize'
    is_over = schedule.is_over(sweep)
    try:
        with atomic_path(path) as partial, warnings.catch_warnings():
            # Some functions are called experimental.
            warnings.simplefilter('ignore')
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(partial))),
                study_name=sweep.folder.name,
                direction=direction,
            )
            study.set_metric_names([sweep.selects.removeprefix('-')])
            for number, point in report.points(sweep).items():
                study.add_trial(_trial(sweep, number, point, is_over))
    except OSError as error:
        raise UserError(
            f'--optuna={path}: the file cannot be written: {error.strerror}. Choose another '
            'one.'
        ) from error


def _trial(sweep: Sweep, number: int, point: Point, is_over: bool) -> 'FrozenTrial':
    """A trial in Optuna's form."""
    from optuna.trial import TrialState, create_trial

    folder = sweep.trial_folder(number)
    record = records.read(folder)
    state = _state(sweep, record or Record(state=''), is_over)
    value = None
    if state in ('COMPLETE', 'PRUNED') and record:
        value = report.value(sweep, record, report.furthest(sweep, record))
    examples, values = report.curve(folder, sweep.selects.removeprefix('-'))
    pairs = zip(examples, values, strict=True)
    space = sweep.space
    trial = create_trial(
        state=TrialState[state],
        value=value,
        params={field: plain(space[field], each) for field, each in point.items()},
        distributions={field: _distribution(space[field]) for field in point},
        user_attrs={'number': number, 'error': record.error if record else ''},
        intermediate_values={
            int(count): float(each) for count, each in pairs if math.isfinite(each)
        },
    )
    begin = (folder / records.SETTINGS).stat().st_mtime
    trial.datetime_start = _moment(begin)
    trial.datetime_complete = None
    if record and state != 'RUNNING':
        end = (folder / records.RESULT).stat().st_mtime
        trial.datetime_start = _moment(end - record.seconds)
        trial.datetime_complete = _moment(end)
    return trial


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds)


def _state(sweep: Sweep, record: Record, is_over: bool) -> str:
    """The name of the state of a trial in Optuna."""
    if record.state in (records.DIVERGED, records.FAILED):
        return 'FAIL'
    if record.state and records.END in record.evaluations:
        has_score = record.score(sweep.selects, records.END) is not None
        return 'COMPLETE' if has_score else 'FAIL'
    if record.evaluations and is_over:
        return 'PRUNED'
    return 'RUNNING'


def _distribution(dimension: Dimension) -> 'BaseDistribution':
    """The values of a field, with those of a choice as they are."""
    if isinstance(dimension, Choice):
        from optuna import distributions

        choices = [plain(dimension, value) for value in dimension.values]
        return distributions.CategoricalDistribution(choices)
    return learning.distribution(dimension)
