"""Searches whose trials do not wait for each other: a suggestion uses the results so far.

They keep every machine of a cluster busy. The points or the lengths of trials then depend on the
order in which trials end. The folders are the only memory. A sweep that was stopped tells the
search the results of its finished trials, and goes on with the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxvision.cli.sweep import learning, ray_engine, records, report, schedule
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.pool import Job
from jaxvision.cli.sweep.ray_engine import RayEngine
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Point
from jaxvision.core.files import write_json
from jaxvision.core.types import Json

if TYPE_CHECKING:
    from ray.tune.search import Searcher


class Suggested:
    """Trials of a sweep, the points of which a searcher of Ray Tune may suggest.

    Trials that have begun keep their points and come first.
    """

    def __init__(self, sweep: Sweep, searcher: 'Searcher | None' = None):
        """Read the folders of the sweep, and tell the searcher the results in them.

        Args:
            sweep: the sweep.
            searcher: suggests points in the form of `learning.distributions`; None: the
                search of the sweep does not learn.

        Raises:
            UserError: A trial was begun with other parameters than the search gives.
        """
        self._sweep = sweep
        self._searcher = searcher
        # {number: point} of the trials with a point.
        self._points = report.points(sweep)
        found = schedule.read(sweep)
        if not searcher:
            self._points = dict(enumerate(schedule.known_points(sweep, found)))
        # {name: point} of the running trials that the searcher has not suggested.
        self._others: dict[str, Point] = {}
        self._numbers = deque()
        for number in range(sweep.trials):
            record = found.get(number, Record())
            point = self._points.get(number)
            # Early stopping needs the results of all trials at every rung.
            if sweep.rungs.factor or not point or not record.has_ended(records.END):
                self._numbers.append(number)
            elif searcher:
                self._learn(point, record.score(sweep.selects, records.END))
        self._count = len(self._numbers)

    def __len__(self) -> int:
        return self._count

    def next(self, name: str) -> Sequence[Job]:
        """The jobs of the next trial, one for each rung, after its trial.json is written.

        Args:
            name: the name of the trial in the search.
        """
        number = self._numbers.popleft()
        if number not in self._points:
            self._points[number] = self._suggest(name)
        elif self._searcher:
            self._others[name] = self._points[number]
        folder = self._sweep.prepare(number, self._points[number])
        return [Job(folder, until) for until in self._sweep.rungs.intervals]

    def report(self, name: str, result: Json) -> None:
        """Tell the searcher the score of a rung."""
        if self._searcher and name not in self._others and ray_engine.SCORE in result:
            self._searcher.on_trial_result(name, result)

    def end(self, name: str, result: Json) -> None:
        """Tell the searcher the last score of a trial."""
        if not self._searcher:
            return
        if name in self._others:
            self._learn(self._others.pop(name), result.get(ray_engine.SCORE))
        else:
            self._searcher.on_trial_complete(name, result)

    def _suggest(self, name: str) -> Point:
        """A point of the searcher, or a random one if that has been tried."""
        assert self._searcher
        space = self._sweep.space
        point = learning.point_of(space, self._searcher.suggest(name) or {})
        tried = list(self._points.values())
        if point not in tried:
            return point
        self._searcher.on_trial_complete(name, error=True)
        point = learning.untried(space, self._sweep.seed, tried)
        self._others[name] = point
        return point

    def _learn(self, point: Point, score: float | None) -> None:
        """Tell the searcher a point that it did not suggest, with its score."""
        assert self._searcher
        params = learning.params_of(self._sweep.space, point)
        self._searcher.add_evaluated_point(params, score, pruned=score is None)


def run(sweep: Sweep, engine: RayEngine, ended: Callable[[Job, Record], None]) -> bool:
    """Train the trials of a sweep, or what is left of them.

    Args:
        sweep: the sweep, with its folder.
        engine: runs the trials.
        ended: called for each job that ended.

    Returns:
        Whether the sweep is finished. False: a signal stopped it.

    Raises:
        UserError: Every trial failed, or one was begun with other parameters.
    """
    failed = [
        number
        for number, record in schedule.read(sweep).items()
        if record.state == records.FAILED
    ]
    if schedule.is_over(sweep) and not failed:
        return True
    (sweep.folder / schedule.FINISHED).unlink(missing_ok=True)
    for number in range(sweep.trials):
        records.forget_failure(sweep.trial_folder(number))
    # Trials that go on report again what they had found before.
    known = {
        (number, until)
        for number, record in schedule.read(sweep).items()
        for until in record.evaluations
    }

    def ended_once(job: Job, record: Record) -> None:
        number = int(job.folder.name)
        if (number, job.until) not in known:
            known.add((number, job.until))
            ended(job, record)

    trials = Suggested(sweep, searcher(sweep) if sweep.learns else None)
    if not engine.search(trials, ended_once, sweep.selects, sweep.rungs.factor):
        return False
    schedule.check_some_trained(schedule.read(sweep))
    write_json(sweep.folder / schedule.FINISHED, {'trials': sweep.trials})
    return True


def searcher(sweep: Sweep) -> 'Searcher':
    """Make Ray Tune's searcher of a sweep: the samplers of Optuna.

    Its random numbers differ from those of the trials that have begun.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    seed = sweep.seed + len(report.points(sweep))
    return OptunaSearch(
        learning.distributions(sweep.space),
        metric=ray_engine.SCORE,
        mode='max',
        sampler=learning.sampler(sweep.search, seed),
    )
