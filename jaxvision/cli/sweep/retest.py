"""The test of the best trials: trained again with new seeds, and measured once on the test split.

The best of many trials is partly the luckiest one, so its validation score is too good. New seeds
and the test split know nothing of the selection. The default settings are trained beside it with
the same seeds.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxvision.cli.sweep import records, report, schedule
from jaxvision.cli.sweep.definition import Sweep, on_split
from jaxvision.cli.sweep.pool import Engine, Job
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Point, with_point
from jaxvision.core.config import fields
from jaxvision.core.fields import Config

DEFAULT = 'default'


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that are tested.

    Attributes:
        name: 'default', or the number of a trial such as '0007'.
        point: the parameters that differ from the config of the sweep.
    """

    name: str
    point: Point


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The results of some settings on the test split.

    Attributes:
        name: of the settings.
        values: {seed: value of the metric}, without trainings that failed.
        mean: of the values; NaN without values.
        std: of the values, with n - 1; NaN below two.
        gain: the mean advantage over the default settings with the same seeds, positive
            where the metric is better; NaN for the default settings.
        standard_error: of the gain; NaN below two seeds.
    """

    name: str
    values: dict[int, float]
    mean: float
    std: float
    gain: float
    standard_error: float


def candidates(sweep: Sweep, top: int) -> list[Settings]:
    """The default settings, then those of the best trials.

    Args:
        sweep: the sweep, all of whose trials have ended.
        top: number of trials.
    """
    found = schedule.read(sweep)
    points = report.points(sweep)
    able = [
        number
        for number in schedule.finalists(sweep, found)
        if found[number].score(sweep.selects, records.END) is not None
    ]
    best = [Settings(f'{number:04}', points[number]) for number in able[:top]]
    return [Settings(DEFAULT, {}), *best]


def seeds(sweep: Sweep, count: int) -> list[int]:
    """New seeds, which no trial had."""
    used = [sweep.config.seed]
    used += [int(point.get('seed', 0)) for point in report.points(sweep).values()]
    first = max(used) + 1
    return list(range(first, first + count))


def config_of(sweep: Sweep, settings: Settings, seed: int) -> Config:
    """The config of a retest, which trains on all of the training split.

    A part of training that was held out for the sweep is trained on, unless
    `train.patience` needs it.
    """
    config = with_point(sweep.config, settings.point)
    config.seed = seed
    if config.data.validation.endswith('%') and config.train.patience == '0':
        config.data.validation = 'none'
        config.train.best = ''
    return config


def folder_of(sweep: Sweep, settings: Settings, seed: int) -> Path:
    """The folder of a retest."""
    return sweep.folder / 'retests' / f'{settings.name}-seed{seed}'


def run(
    sweep: Sweep,
    tested: Sequence[Settings],
    numbers: Sequence[int],
    engine: Engine,
    ended: Callable[[Job, Record], None],
) -> bool:
    """Train settings with new seeds and measure them on the test split.

    Args:
        sweep: the sweep.
        tested: the settings.
        numbers: the seeds.
        engine: runs the trainings.
        ended: called for each training that ended.

    Returns:
        Whether all have ended. False: a signal stopped them.
    """
    jobs = []
    for seed in numbers:
        for settings in tested:
            folder = folder_of(sweep, settings, seed)
            records.write_settings(
                folder,
                {
                    'settings': settings.name,
                    'seed': seed,
                    'parameters': settings.point,
                    'config': config_of(sweep, settings, seed).to_dict(),
                    'measure_test': True,
                },
            )
            records.forget_failure(folder)
            record = records.read(folder)
            if not record or not record.has_ended(records.END):
                jobs.append(Job(folder, records.END))
    return engine(jobs, ended)


def read_tested(sweep: Sweep) -> tuple[list[Settings], list[int]]:
    """Read which settings and seeds have been tested, the default settings first."""
    tested = {}
    numbers = set()
    for folder in sorted((sweep.folder / 'retests').glob('*')):
        settings = records.read_settings(folder)
        if settings:
            name = settings['settings']
            tested[name] = Settings(name, settings['parameters'])
            numbers.add(settings['seed'])
    names = sorted(tested, key=DEFAULT.__ne__)
    return [tested[name] for name in names], sorted(numbers)


def summaries(
    sweep: Sweep, tested: Sequence[Settings], numbers: Sequence[int]
) -> list[Summary]:
    """The results of settings on the test split, the default settings first."""
    metric = on_split(sweep.metric, 'eval')
    sign = -1.0 if metric.startswith('-') else 1.0
    scores = []
    for settings in tested:
        by_seed = {}
        for seed in numbers:
            record = records.read(folder_of(sweep, settings, seed)) or Record()
            score = record.score(metric, records.END)
            if score is not None:
                by_seed[seed] = score
        scores.append(by_seed)
    return [
        summary(settings.name, by_seed, scores[0], sign, settings.name == DEFAULT)
        for settings, by_seed in zip(tested, scores, strict=True)
    ]


def summary(
    name: str,
    scores: dict[int, float],
    default: dict[int, float],
    sign: float,
    is_default: bool,
) -> Summary:
    """Compare the scores of settings with those of the default settings.

    Args:
        name: of the settings.
        scores: {seed: score}, more is better.
        default: the same of the default settings. Only common seeds give the gain.
        sign: 1, or -1 if less of the metric is better.
        is_default: whether these are the default settings, which have no gain.

    Returns:
        The comparison. The standard error is that of the mean of paired differences.
    """
    gains = [scores[seed] - default[seed] for seed in scores if seed in default]
    gain = math.nan
    standard_error = math.nan
    if gains and not is_default:
        gain = float(np.mean(gains))
        standard_error = _std(gains) / math.sqrt(len(gains))
    values = {seed: sign * score for seed, score in scores.items()}
    listed = list(values.values())
    return Summary(
        name=name,
        values=values,
        mean=float(np.mean(listed)) if listed else math.nan,
        std=_std(listed),
        gain=gain,
        standard_error=standard_error,
    )


def _std(values: Sequence[float]) -> float:
    """The standard deviation with n - 1; NaN below two values."""
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1))


def rows(sweep: Sweep, results: Sequence[Summary]) -> list[dict[str, str]]:
    """The results as rows of a table, with four decimals."""
    metric = on_split(sweep.metric, 'test').removeprefix('-')
    table = []
    for each in results:
        numbers = {
            metric: each.mean,
            'std': each.std,
            'gain': each.gain,
            'standard error': each.standard_error,
        }
        cells = {
            column: '' if math.isnan(number) else f'{number:.4f}'
            for column, number in numbers.items()
        }
        name = each.name if each.name == DEFAULT else f'trial {int(each.name)}'
        table.append({'settings': name, 'seeds': str(len(each.values)), **cells})
    return table


def searched_defaults(sweep: Sweep) -> Point:
    """The default values of the searched fields."""
    values = fields(sweep.config)
    return {field: values.get(field, '(none)') for field in sweep.texts}
