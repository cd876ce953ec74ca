"""The results of a sweep as files and on the screen, made from its folders alone."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.cli.sweep import records, schedule
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Point, value_at, value_text, with_point
from jaxvision.core import auto_fields
from jaxvision.core import config as configs
from jaxvision.core.fields import Config
from jaxvision.core.files import write_text
from jaxvision.core.types import Value
from jaxvision.viz.sweeps import Curve
from jaxvision.viz.tables import Row

TABLE = 'trials.csv'
BEST = 'best.py'


def points(sweep: Sweep) -> dict[int, Point]:
    """Read the parameters of all trials that have a folder: {number: parameters}."""
    found = {}
    for number in range(sweep.trials):
        settings = records.read_settings(sweep.trial_folder(number))
        if settings:
            found[number] = settings['parameters']
    return found


def furthest(sweep: Sweep, record: Record) -> str:
    """The last interval after which a trial was evaluated; '' if there is none."""
    reached = [each for each in sweep.rungs.intervals if each in record.evaluations]
    return reached[-1] if reached else ''


def value(sweep: Sweep, record: Record, until: str) -> float:
    """The validation metric of a trial after an interval, unsigned; NaN: none."""
    metrics = record.evaluations.get(until, {})
    return metrics.get(sweep.selects.removeprefix('-'), math.nan)


def curve(folder: Path, metric: str) -> Curve:
    """The metric of the evaluations of a trial, over its training examples."""
    from jaxvision.train.writers import read_rows

    settings = records.read_settings(folder)
    batch_size = settings['config']['data']['batch_size']
    rows = [row for row in read_rows(folder / 'metrics.jsonl') if metric in row]
    examples = [float(row['step'] * batch_size) for row in rows]
    return np.array(examples), np.array([float(row[metric]) for row in rows])


def write_table(sweep: Sweep) -> None:
    """Write trials.csv: number, state, trained length, metric, parameters and time.

    The lines are sorted by number. A float is exact. All columns but the last are the same
    for every sweep with these settings.
    """
    file = io.StringIO()
    metric = sweep.selects.removeprefix('-')
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(
        ['number', 'state', 'trained', metric, *sweep.texts, 'error', 'seconds']
    )
    empty = Record(state='')
    for number, point in points(sweep).items():
        record = records.read(sweep.trial_folder(number)) or empty
        until = furthest(sweep, record)
        score = repr(value(sweep, record, until)) if until else ''
        writer.writerow(
            [
                number,
                record.state,
                until,
                score,
                *(value_text(point[field]) for field in sweep.texts),
                record.error,
                f'{record.seconds:.1f}',
            ]
        )
    write_text(sweep.folder / TABLE, file.getvalue())


def row(sweep: Sweep, number: int, point: Point, record: Record) -> Row:
    """The line of a trial on the screen, without its error.

    Args:
        sweep: the sweep.
        number: the number of the trial.
        point: its parameters.
        record: its results.
    """
    until = furthest(sweep, record)
    cells: dict[str | None, str | int | float] = {
        'trial': str(number),
        'state': record.state,
        'trained': until,
        sweep.selects.removeprefix('-'): value(sweep, record, until),
    }
    for field, setting in point.items():
        cells[field.rpartition('.')[2]] = short(setting)
    cells['time'] = f'{record.seconds:.0f} s'
    return cells


def short(setting: Value) -> str:
    """Write a parameter with four significant digits."""
    if isinstance(setting, float):
        return f'{setting:.4g}'
    return value_text(setting)


def title(sweep: Sweep, number: int) -> str:
    """Name a trial and its parameters on one line."""
    point = points(sweep)[number]
    settings = [f'{field}={short(setting)}' for field, setting in point.items()]
    return '  '.join([f'trial {number}', *settings])


def best(sweep: Sweep) -> int | None:
    """The number of the best trial that trained to its end; None: there is none."""
    found = schedule.read(sweep)
    order = schedule.finalists(sweep, found)
    if not order or found[order[0]].score(sweep.selects, records.END) is None:
        return None
    return order[0]


def write_best(sweep: Sweep, number: int) -> None:
    """Write best.py, a config file with all settings of a trial.

    Args:
        sweep: the sweep.
        number: the number of the trial.
    """
    point = points(sweep)[number]
    config = with_point(sweep.config, point)
    if auto_fields.names(config):
        from jaxvision.train.automatic import numbers

        found = numbers(config, sweep.trial_folder(number))
        config = auto_fields.with_values(config, found)
    threads = config.parallel.cpu_devices
    lines = [
        f'"""The settings of trial {number}, which is the best of the sweep.',
        '',
        f'    NPROC={threads} jaxvision train --config {sweep.folder / BEST}',
        '',
        'NPROC is the number of threads, with which the result is the same to the last bit.',
        '"""',
        '',
        'from jaxvision.core import config as configs',
        '',
        '',
        'def get_config():',
        f'    """Config of trial {number}."""',
        f'    config = configs.default({config.task.name!r})',
        *(f'    {line}' for line in _assignments(config, list(point))),
        '    return config',
    ]
    write_text(sweep.folder / BEST, '\n'.join(lines) + '\n')


def _assignments(config: Config, searched: Sequence[str]) -> list[str]:
    """Lines that set every field whose value is not the default of the task."""
    default = configs.default(config.task.name).to_dict()
    settings = configs.difference(default, config.to_dict())
    lines = []
    groups = []
    for field, (_, setting) in settings.items():
        parts = field.split('.')
        if 'options' in parts:
            # An open group is set as a whole.
            group = '.'.join(parts[: parts.index('options') + 1])
            if group not in groups:
                groups.append(group)
            continue
        mark = '  # searched' if field in searched else ''
        lines.append(f'config.{field} = {setting!r}{mark}')
    for group in groups:
        contents = value_at(config, group).to_dict()
        lines.append(f'config.{group} = {contents!r}')
    return lines
