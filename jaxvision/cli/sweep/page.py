"""The page of a sweep: one file of HTML with tables and pictures, made from its folders."""

import math
from collections.abc import Sequence

import numpy as np

from jaxvision.cli.sweep import records, report, retest, schedule
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Choice, Interval, Point, value_text
from jaxvision.core.files import write_text
from jaxvision.viz import page, sweeps
from jaxvision.viz.page import Section
from jaxvision.viz.sweeps import Column, Scores

NAME = 'sweep.html'
# With fewer trials, the importance of fields says nothing.
FEWEST = 8
# The fewest trials of a later rung that are drawn.
FEWEST_OF_A_RUNG = 3
_WARNING = (
    'These are scores on the validation split, which selected the best trial. So its score is '
    'too good: only the test with new seeds says how good its settings are.'
)


def write(sweep: Sweep) -> None:
    """Write the page of a sweep, which may still run. It needs at least one trial."""
    points = report.points(sweep)
    found = schedule.read(sweep)
    numbers = [number for number in points if number in found]
    if not numbers:
        return
    kept = [points[number] for number in numbers]
    trials = [found[number] for number in numbers]
    winner = report.best(sweep)
    best = numbers.index(winner) if winner is not None else -1
    metric = sweep.selects.removeprefix('-')
    last = [_value(sweep, record, report.furthest(sweep, record)) for record in trials]
    values = np.array(last)
    columns = [_column(sweep, field, kept) for field in sweep.texts]
    # All trials trained to the first rung, so that these values are comparable.
    first = sweep.rungs.intervals[0]
    comparable = np.array([_value(sweep, record, first) for record in trials])
    reached = [records.END in record.evaluations for record in trials]
    less_is_better = sweep.metric.startswith('-')
    history = sweeps.history(values, reached, metric, less_is_better)
    sections = [
        _head(sweep, trials, winner),
        *_test(sweep),
        Section(heading='History', lines=[_WARNING], picture=page.png(history)),
        *_fields(sweep, columns, trials, best),
        *_importance(columns, comparable),
        *_curves(sweep, numbers, winner, metric),
        Section(heading='Trials', table=_table(sweep, numbers, kept, trials)),
    ]
    title = f'Sweep {sweep.folder.name}'
    write_text(sweep.folder / NAME, page.write(title, sections))


def _head(sweep: Sweep, trials: Sequence[Record], winner: int | None) -> Section:
    """Say what was searched, and which trial is the best."""
    states = [record.state for record in trials]
    counts = [f'{states.count(state)} {state}' for state in sorted(set(states))]
    lines = [
        f'{sweep.search} search, seed {sweep.seed}: {len(trials)} of {sweep.trials} trials, '
        + ', '.join(counts)
    ]
    if sweep.rungs.factor:
        reached = ', '.join(sweep.rungs.intervals)
        lines.append(f'successive halving by {sweep.rungs.factor}: {reached}')
    if winner is not None:
        lines.append(f'best on the validation split: {report.title(sweep, winner)}')
    return Section(lines=lines)


def _test(sweep: Sweep) -> list[Section]:
    """The table of the settings that were tested, if there are any."""
    tested, seeds = retest.read_tested(sweep)
    if not tested:
        return []
    results = retest.summaries(sweep, tested, seeds)
    line = (
        f'Trained again with seeds {", ".join(map(str, seeds))}, and measured once. The gain '
        'is over the default settings with the same seeds.'
    )
    table = retest.rows(sweep, results)
    return [Section(heading='Test split', lines=[line], table=table)]


def _value(sweep: Sweep, record: Record, until: str) -> float:
    """The metric of a trial after an interval, NaN if it diverged, failed or has none."""
    if record.score(sweep.selects, until) is None:
        return math.nan
    return report.value(sweep, record, until)


def _column(sweep: Sweep, field: str, kept: Sequence[Point]) -> Column:
    """The values of a field in some trials, as places on an axis."""
    dimension = sweep.space[field]
    settings = [point[field] for point in kept]
    if isinstance(dimension, Choice):
        labels = list(map(value_text, dimension.values))
        places = [float(labels.index(value_text(setting))) for setting in settings]
        return Column(name=field, values=np.array(places), labels=labels)
    is_log = isinstance(dimension, Interval) and dimension.is_log
    numbers = np.array([float(setting) for setting in settings])
    return Column(name=field, values=numbers, is_log=is_log)


def _fields(
    sweep: Sweep, columns: Sequence[Column], trials: Sequence[Record], best: int
) -> list[Section]:
    """The metric over the fields, and trials as lines, after each rung by itself.

    Trials are comparable only after equal training.

    Args:
        sweep: the sweep.
        columns: the fields.
        trials: the results of each trial.
        best: the place of the best trial; -1: none.
    """
    metric = sweep.selects.removeprefix('-')
    sections = []
    for place, until in enumerate(sweep.rungs.intervals):
        values = np.array([_value(sweep, record, until) for record in trials])
        count = np.isfinite(values).sum()
        # Trials may still run, and few of them show nothing.
        if place and count < FEWEST_OF_A_RUNG:
            continue
        when = ''
        if sweep.rungs.factor:
            length = 'to the end' if until == records.END else f'to {until}'
            when = f', trained {length} ({count} trials)'
        slices = sweeps.slices(columns, values, best, metric)
        lines = sweeps.parallel(columns, values, best, metric)
        sections += [
            Section(heading=f'Fields{when}', picture=page.png(slices)),
            Section(heading=f'Trials as lines{when}', picture=page.png(lines)),
        ]
    return sections


def _importance(columns: Sequence[Column], values: Scores) -> list[Section]:
    """The importance of each field, if there are enough trials and fields."""
    if np.isfinite(values).sum() < FEWEST or len(columns) < 2:
        return []
    line = (
        'How much worse a random forest predicts the metric of other trials when the values '
        'of a field are permuted. Fields that were searched widely look more important.'
    )
    picture = page.png(sweeps.importance(importance(columns, values)))
    return [Section(heading='Importance', lines=[line], picture=picture)]


def importance(columns: Sequence[Column], values: Scores) -> dict[str, float]:
    """The permutation importance of each field (Breiman 2001).

    Args:
        columns: the fields.
        values: the metric of each trial, NaN where it has none.

    Returns:
        {field: importance}, at least 0, with sum 1. All are 0 if the metric never changes.
    """
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    is_known = np.isfinite(values)
    inputs = np.stack([column.fractions for column in columns], axis=1)[is_known]
    # Ranks, so that one very bad trial does not outweigh all others.
    ranks = rankdata(values[is_known])
    losses = []
    # A forest finds every field important for the trials that it was fitted to.
    for fitted, other in KFold(4, shuffle=True, random_state=0).split(inputs):
        forest = RandomForestRegressor(64, random_state=0)
        result = permutation_importance(
            forest.fit(inputs[fitted], ranks[fitted]),
            inputs[other],
            ranks[other],
            scoring='neg_mean_squared_error',
            n_repeats=8,
            random_state=0,
        )
        losses.append(np.asarray(result['importances_mean']))
    means = np.maximum(np.mean(losses, axis=0), 0.0)
    shares = means / max(means.sum(), 1e-12)
    pairs = zip(columns, shares, strict=True)
    return {column.name: float(share) for column, share in pairs}


def _curves(
    sweep: Sweep, numbers: Sequence[int], winner: int | None, metric: str
) -> list[Section]:
    """The learning curves of trials that wrote their metrics."""
    trials = {}
    for number in numbers:
        curve = report.curve(sweep.trial_folder(number), metric)
        if len(curve[0]):
            trials[number] = curve
    if not trials:
        return []
    best = -1 if winner is None else winner
    picture = sweeps.curves(trials, best, metric)
    return [Section(heading='Learning curves', picture=page.png(picture))]


def _table(
    sweep: Sweep,
    numbers: Sequence[int],
    kept: Sequence[Point],
    trials: Sequence[Record],
) -> list[dict[str, str]]:
    """The table of all trials, the best first."""
    triples = zip(numbers, kept, trials, strict=True)
    lines = []
    for number, point, record in triples:
        line = report.row(sweep, number, point, record)
        lines.append({**line, 'error': record.error})
    value = sweep.selects.removeprefix('-')
    sign = 1.0 if sweep.metric.startswith('-') else -1.0

    def place(row: report.Row) -> tuple[bool, bool, float]:
        number = float(row[value])
        is_part = row['trained'] != records.END
        return (is_part, math.isnan(number), sign * number)

    table = []
    for row in sorted(lines, key=place):
        cells = {}
        for column, cell in row.items():
            cells[str(column)] = f'{cell:.4f}' if isinstance(cell, float) else str(cell)
        table.append(cells)
    return table
