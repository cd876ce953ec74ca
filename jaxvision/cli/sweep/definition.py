"""A sweep: what it searches, what it measures, and its folder."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jaxvision.cli.sweep import learning, records, search, space
from jaxvision.cli.sweep.halving import Rungs
from jaxvision.cli.sweep.space import Point, Space
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.files import read_json, write_json
from jaxvision.core.types import Json, Values

NAME = 'sweep.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep.

    Attributes:
        folder: the folder of the sweep.
        config: the config with the default settings, with a validation split.
        texts: {field: values} of the search space, as the user wrote them.
        search: the name of the search.
        seed: the seed of the search.
        trials: number of trials.
        metric: the metric of the validation split that judges trials, without the
            split; '-NAME': less is better.
        rungs: the rungs of successive halving.
        batch: trials that a search which learns suggests together; 0: it does not learn,
            or is asynchronous.
        asynchronous: whether trials do not wait for each other, so that their points or
            lengths depend on who ends first.
    """

    folder: Path
    config: Config
    texts: Values
    search: str
    seed: int
    trials: int
    metric: str
    rungs: Rungs
    batch: int = 0
    asynchronous: bool = False

    @property
    def space(self) -> Space:
        """The search space."""
        return space.read(self.config, self.texts)

    @property
    def learns(self) -> bool:
        """Whether the points depend on results."""
        return self.search in learning.NAMES

    @property
    def selects(self) -> str:
        """The metric with its split: 'validation/accuracy' or '-validation/nll'."""
        return on_split(self.metric, 'validation')

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial."""
        return self.folder / 'trials' / f'{number:04}'

    def prepare(self, number: int, point: Point) -> Path:
        """Write trial.json of a trial, and return its folder."""
        folder = self.trial_folder(number)
        config = space.with_point(self.config, point)
        records.write_settings(
            folder,
            {
                'number': number,
                'parameters': point,
                'config': config.to_dict(),
                'measure_test': False,
            },
        )
        return folder

    def points(self, scores: Sequence[float | None] = ()) -> list[Point]:
        """The points of all trials, or of those that are known so far.

        Args:
            scores: the scores of trials 0, 1, ..., which a search may learn from.
        """
        if self.batch:
            return learning.points(
                self.space, self.search, self.seed, self.batch, self.trials, scores
            )
        return search.points(self.space, self.search, self.seed, self.trials)

    def to_json(self) -> Json:
        """Write the sweep without its folder, for `sweep.json`."""
        return {
            'config': self.config.to_dict(),
            'sweep': dict(self.texts),
            'search': self.search,
            'seed': self.seed,
            'trials': self.trials,
            'metric': self.metric,
            'rungs': dataclasses.asdict(self.rungs),
            'batch': self.batch,
            'asynchronous': self.asynchronous,
        }


def on_split(metric: str, prefix: str) -> str:
    """Put the prefix of a split before a metric, after its sign."""
    sign = '-' if metric.startswith('-') else ''
    return f'{sign}{prefix}/{metric.removeprefix("-")}'


def read(folder: Path) -> Sweep:
    """Read the sweep in a folder.

    Raises:
        UserError: The folder holds no sweep, or a damaged one.
    """
    if not (folder / NAME).exists():
        raise UserError(
            f'--workdir={folder}: expected the folder of a sweep. It has no {NAME}.'
        )
    values = read_json(folder / NAME)
    try:
        return Sweep(
            folder=folder,
            config=configs.stored(values['config']).lock(),
            texts=values['sweep'],
            search=values['search'],
            seed=values['seed'],
            trials=values['trials'],
            metric=values['metric'],
            rungs=Rungs(**values['rungs']),
            batch=values['batch'],
            asynchronous=values.get('asynchronous', False),
        )
    except (KeyError, TypeError) as error:
        raise UserError(
            f'{folder / NAME} is damaged ({type(error).__name__}: {error}). Restore it, or '
            'choose another --workdir.'
        ) from error


def take_folder(sweep: Sweep) -> None:
    """Write `sweep.json`, if the folder is new or holds the same sweep.

    A search without halving may get more trials, and fewer. Fields that change no result may
    change, too.

    Raises:
        UserError: The folder holds another sweep, or other files.
    """
    path = sweep.folder / NAME
    new = json.loads(json.dumps(sweep.to_json()))
    if path.exists():
        old = read(sweep.folder).to_json()
        _check_same(sweep, json.loads(json.dumps(old)), new)
    elif (sweep.folder / 'config.json').exists():
        raise UserError(
            f'--workdir={sweep.folder}: expected a new folder, or one of a sweep. Choose '
            'another one.'
        )
    try:
        (sweep.folder / 'trials').mkdir(parents=True, exist_ok=True)
        if not path.exists() or old != new:
            write_json(path, new)
    except OSError as error:
        raise UserError(
            f'--workdir={sweep.folder}: the folder cannot be written: {error.strerror}. '
            'Choose another one.'
        ) from error


def _check_same(sweep: Sweep, old: Json, new: Json) -> None:
    # Another number of devices changes the last digits.
    free = {f'config.{field}' for field in configs.FREE_FIELDS}
    free.remove('config.parallel.cpu_devices')
    if not sweep.rungs.factor:
        free.add('trials')
    # Both follow from the engine.
    is_elsewhere = old['asynchronous'] != new['asynchronous']
    if is_elsewhere:
        free |= {'asynchronous', 'batch'}
    changes = [
        f'{name}: {before!r} -> {after!r}'
        for name, (before, after) in configs.difference(old, new).items()
        if name not in free
    ]
    if is_elsewhere and not changes:
        begun = 'with' if old['asynchronous'] else 'without'
        raise UserError(
            f'--workdir={sweep.folder}: expected the same --engine, since this sweep was '
            f'begun {begun} --engine ray. Give the same --engine, or another --workdir.'
        )
    if changes:
        raise UserError(
            f'{sweep.folder} is a sweep with other settings: {"; ".join(changes)}. Set these '
            'back, or choose another --workdir.'
        )
