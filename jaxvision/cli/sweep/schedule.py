"""The next trials of a sweep, as a function of its folders alone.

A sweep is a series of rounds. The jobs of a round are independent of each other. So the trials and
their results depend neither on the number of workers nor on interruptions.
"""

import json
from collections.abc import Callable, Mapping

from jaxvision.cli.sweep import halving, records
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.pool import Engine, Job
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Point
from jaxvision.core.errors import UserError

# Written by an asynchronous search at its end, which alone knows the trials that it has ended
# early.
FINISHED = 'finished.json'
# {number of a trial: its record}, of the trials that have one.
Records = Mapping[int, Record]


def read(sweep: Sweep) -> dict[int, Record]:
    """Read the records of all trials of a sweep that have one."""
    found = {}
    for number in range(sweep.trials):
        record = records.read(sweep.trial_folder(number))
        if record:
            found[number] = record
    return found


def scores(
    sweep: Sweep, found: Records, numbers: list[int], until: str
) -> dict[int, float | None]:
    """The score of each of some trials after an interval or at the end, more is better."""
    empty = Record()
    return {
        number: found.get(number, empty).score(sweep.selects, until)
        for number in numbers
    }


def next_round(
    sweep: Sweep, points: list[Point], found: Records
) -> list[tuple[int, str]]:
    """The (number, interval) of every trial that is to train now; [] at the end.

    Args:
        sweep: the sweep.
        points: the points of all trials.
        found: the records so far.
    """
    alive = list(range(len(points)))
    kept = sweep.rungs.kept(len(points))
    intervals = sweep.rungs.intervals
    empty = Record()
    for rung, until in enumerate(intervals):
        open_trials = [
            (number, until)
            for number in alive
            if not found.get(number, empty).has_ended(until)
        ]
        if open_trials or until == records.END:
            return open_trials
        alive = halving.promoted(scores(sweep, found, alive, until), kept[rung + 1])
    return []


def known_points(sweep: Sweep, found: Records) -> list[Point]:
    """The points of all trials, or of those that results so far decide.

    Raises:
        UserError: A trial was begun with other parameters, by other versions of the
            packages that draw them.
    """
    numbers = []
    for number in range(sweep.trials):
        if number not in found or not found[number].has_ended(records.END):
            break
        numbers.append(number)
    points = sweep.points(list(scores(sweep, found, numbers, records.END).values()))
    for number, point in enumerate(points):
        begun = records.read_settings(sweep.trial_folder(number)).get('parameters')
        if begun is not None and begun != json.loads(json.dumps(point)):
            raise UserError(
                f'{sweep.trial_folder(number)} has other parameters than this search gives. '
                'Other versions of the packages began it. Restore them, or choose another '
                '--workdir.'
            )
    return points


def finalists(sweep: Sweep, found: Records) -> list[int]:
    """The trials that trained to their end, the best first, the failed ones last."""
    ended = [number for number in found if found[number].has_ended(records.END)]
    return halving.ranked(scores(sweep, found, ended, records.END))


def run(sweep: Sweep, engine: Engine, ended: Callable[[Job, Record], None]) -> bool:
    """Train every trial of a sweep, or what is left of them.

    Args:
        sweep: the sweep, with its folder.
        engine: runs the jobs of a round.
        ended: called for each job that ended.

    Returns:
        Whether the sweep is finished. False: a signal stopped it.

    Raises:
        UserError: Every trial failed.
    """
    for number in range(_first_retried(sweep), sweep.trials):
        records.forget_failure(sweep.trial_folder(number))
    points = known_points(sweep, read(sweep))
    while jobs := next_round(sweep, points, read(sweep)):
        round_jobs = [
            Job(sweep.prepare(number, points[number]), until) for number, until in jobs
        ]
        if not engine(round_jobs, ended):
            return False
        found = read(sweep)
        check_some_trained(found)
        points = known_points(sweep, found)
    return True


def is_over(sweep: Sweep) -> bool:
    """Whether no trial of a sweep goes on."""
    if sweep.asynchronous and sweep.rungs.factor:
        return (sweep.folder / FINISHED).exists()
    found = read(sweep)
    if sweep.learns:
        ended = [number for number in found if found[number].has_ended(records.END)]
        return len(ended) == sweep.trials
    return not next_round(sweep, sweep.points(), found)


def check_some_trained(found: Records) -> None:
    """Check that a trial trained.

    Raises:
        UserError: Every trial failed or diverged.
    """
    if found and all(record.state != records.TRAINED for record in found.values()):
        first = found[min(found)]
        raise UserError(f'every trial {first.state}; the first one: {first.error}')


def _first_retried(sweep: Sweep) -> int:
    """The first trial that is tried again after a failure.

    A search that learns has used the failures before its last batch. Without them it would
    suggest other points than those of the trials that have begun.
    """
    if not sweep.batch:
        return 0
    begun = 0
    while records.read_settings(sweep.trial_folder(begun)):
        begun += 1
    return max(begun - 1, 0) // sweep.batch * sweep.batch
