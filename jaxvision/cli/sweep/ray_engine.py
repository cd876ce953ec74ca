"""Trials on the machines of a Ray cluster, by Ray Tune (Liaw et al. 2018).

Ray decides where a trial runs, and starts it again if its machine is lost. The trial itself is the
same process as on one machine. It continues from the checkpoint in its folder, which all machines
share. So its result does not depend on the machine.
"""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jaxvision.cli.sweep import records
from jaxvision.cli.sweep.pool import MOST_STARTS, Job, Pool, last_error
from jaxvision.cli.sweep.records import Record
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json

if TYPE_CHECKING:
    from ray.tune import Callback, Stopper
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

# Entries of the results that a trial reports to Ray.
SCORE = 'score'
UNTIL = 'until'
LENGTH = 'length'
# Read by Ray Tune in the process that runs the search.
_VARIABLES = {
    # The signals are handled here.
    'TUNE_DISABLE_SIGINT_HANDLER': '1',
    # A trial that diverged has no score.
    'TUNE_DISABLE_STRICT_METRIC_CHECKING': '1',
    # The run folder of a trial has logs of its own.
    'TUNE_DISABLE_AUTO_CALLBACK_LOGGERS': '1',
    # Seconds for a trial to stop, which has nothing to give back to Ray.
    'TUNE_FORCE_TRIAL_CLEANUP_S': '1',
    # With `verbose=0`, Ray prints nothing. The sweep prints its own table.
    'RAY_AIR_NEW_OUTPUT': '0',
    'RAY_USAGE_STATS_ENABLED': '0',
}
# Read by Ray in the process that starts a trial. The process of the trial notices the end of the
# other one, saves and stops.
_WORKER_VARIABLES = {'RAY_kill_child_processes_on_worker_exit': '0'}


class Trials(Protocol):
    """The trials of a search, which is asked for the next one and given the results.

    A trial has a name, which Ray chooses. A result is {'score': the score, if there is one,
    'until': the interval of the job, 'length': its length relative to the first job}.
    """

    def __len__(self) -> int:
        """Number of trials that the search will be asked for."""
        ...

    def next(self, name: str) -> Sequence[Job]:
        """The jobs of the next trial, which run one after the other."""
        ...

    def report(self, name: str, result: Json) -> None:
        """Take the result of a job."""
        ...

    def end(self, name: str, result: Json) -> None:
        """Take the last result of a trial, {} if it has none."""
        ...


class Listed:
    """Trials of one job each, which do not depend on results."""

    def __init__(self, jobs: Sequence[Job]):
        """Keep the jobs.

        Args:
            jobs: the jobs, in the order of their start.
        """
        self._jobs = deque(jobs)
        self._count = len(jobs)

    def __len__(self) -> int:
        return self._count

    def next(self, name: str) -> Sequence[Job]:
        """The next job."""
        del name
        return [self._jobs.popleft()]

    def report(self, name: str, result: Json) -> None:
        """Ignore a result."""

    def end(self, name: str, result: Json) -> None:
        """Ignore the last result."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RayEngine:
    """An engine that runs jobs on the machines of a Ray cluster.

    Attributes:
        folder: the folder of the sweep, on storage that all machines share.
        workers: largest number of trials at a time; None: as many as the machines hold.
        threads: threads of each trial, one for each of its CPU devices.
        asked: whether a signal asks to stop.
    """

    folder: Path
    workers: int | None
    threads: int
    asked: Callable[[], bool]

    def __call__(
        self, jobs: Sequence[Job], ended: Callable[[Job, Record], None]
    ) -> bool:
        """Run jobs that do not depend on each other.

        Args:
            jobs: the jobs, which are started in this order.
            ended: called for each job that ended, in the order of their ends.

        Returns:
            Whether all jobs ended. False: a signal stopped them, and they are saved.
        """
        return self.search(Listed(jobs), ended)

    def search(
        self,
        trials: Trials,
        ended: Callable[[Job, Record], None],
        metric: str = '',
        factor: int = 0,
    ) -> bool:
        """Run the trials of a search that may learn from results.

        Args:
            trials: the search.
            ended: called for each job that ended, in the order of their ends.
            metric: the metric that judges a trial, such as 'validation/accuracy'; '-NAME':
                less is better; '': none.
            factor: one of so many trials goes on to its next job, by ASHA (Li et al.
                2020); 0: all trials end all their jobs.

        Returns:
            Whether all trials ended. False: a signal stopped them.
        """
        if not len(trials):
            return True
        import ray
        from ray import tune

        has_gpu = bool(ray.cluster_resources().get('GPU'))
        resources = {'cpu': self.threads, 'gpu': int(has_gpu)}
        common = {
            'directory': os.getcwd(),
            'threads': self.threads,
            'metric': metric,
            'factor': factor,
        }
        jobs: dict[tuple[str, str], Job] = {}
        tuner = tune.Tuner(
            tune.with_resources(train, resources),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(trials, common, jobs),
                scheduler=_scheduler(factor),
                num_samples=len(trials),
                max_concurrent_trials=self.workers,
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name='ray',
                storage_path=str(self.folder.absolute()),
                # A trial that fails by itself ends in order. Only lost ones start again.
                failure_config=tune.FailureConfig(max_failures=MOST_STARTS - 1),
                callbacks=[_listener(jobs, ended)],
                stop=_stopper(self.asked),
                verbose=0,
            ),
        )
        tuner.fit()
        return not self.asked()


def require() -> None:
    """Check that Ray is installed.

    Raises:
        UserError: It is missing.
    """
    if not importlib.util.find_spec('ray'):
        raise UserError(
            '--engine=ray: expected the package ray. Install the extra `ray`: '
            "pip install -e '.[ray]' in a checkout of jaxvision."
        )


def connect(address: str) -> None:
    """Connect this process to a Ray cluster.

    Args:
        address: HOST:PORT; 'auto': the cluster of this machine; 'local': a new one on this
            machine alone.

    Raises:
        UserError: There is no cluster, or it has other versions.
    """
    os.environ.update(_VARIABLES)
    import ray

    try:
        _check_open(address)
        ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={'env_vars': _WORKER_VARIABLES},
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        text = str(error).strip() or type(error).__name__
        raise UserError(
            f'--address={address}: expected a running Ray cluster with the versions of this '
            'machine. Start one with `ray start --head`, or give its HOST:PORT. The error: '
            f'{text.splitlines()[0]}'
        ) from error
    # Restarts and retries are no matter of the user.
    logging.getLogger('ray').setLevel(logging.CRITICAL)


def _check_open(address: str) -> None:
    """Raise an OSError if HOST:PORT does not answer, since Ray tries for minutes."""
    from ray.util import get_node_ip_address

    host, colon, port = address.rpartition(':')
    if host in ('localhost', '127.0.0.1'):
        # Ray listens on an address that other machines see.
        host = get_node_ip_address()
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def train(settings: Json) -> None:
    """Run the jobs of a trial one after the other, and report each result to Ray.

    Ray calls it on one of the machines. Jobs that have ended report their results again.

    Args:
        settings: the folder of the trial, the intervals of its jobs, and what all trials
            have in common.
    """
    from ray import tune

    with contextlib.suppress(OSError):  # Paths in configs may begin here.
        os.chdir(settings['directory'])
    folder = Path(settings['folder'])
    for place, until in enumerate(settings['intervals']):
        record = _run(Job(folder, until), settings['threads'])
        result: dict[str, Any] = {
            UNTIL: until,
            LENGTH: max(settings['factor'], 1) ** place,
            'record': json.dumps(dataclasses.asdict(record)),
        }
        score = record.score(settings['metric'], until)
        if score is not None:
            result[SCORE] = score
        tune.report(result)
        if record.state != records.TRAINED:
            return


def _folder_name(trial: 'Trial') -> str:
    return trial.trial_id


def _run(job: Job, threads: int) -> Record:
    """Run a job on this machine, unless it has ended before."""
    record = records.read(job.folder)
    if record and record.has_ended(job.until):
        return record
    results: list[Record] = []

    def ended(job: Job, record: Record) -> None:
        results.append(record)

    Pool(1, threads, lambda: False)([job], ended)
    return results[0]


def _searcher(
    trials: Trials, common: Json, jobs: dict[tuple[str, str], Job]
) -> 'Searcher':
    """The trials in the form of Ray Tune, which fills `jobs` by name and interval."""
    from ray.tune.search import Searcher

    class Asked(Searcher):
        def __init__(self, trials: Trials):
            super().__init__(metric=SCORE, mode='max')
            self._trials = trials

        def suggest(self, trial_id: str) -> Json:
            chosen = self._trials.next(trial_id)
            for job in chosen:
                jobs[trial_id, job.until] = job
            return {
                'folder': str(chosen[0].folder.absolute()),
                'intervals': [job.until for job in chosen],
                **common,
            }

        def on_trial_result(self, trial_id: str, result: Json) -> None:
            self._trials.report(trial_id, result)

        def on_trial_complete(
            self, trial_id: str, result: Json | None = None, error: bool = False
        ) -> None:
            self._trials.end(trial_id, result or {})

        def save(self, checkpoint_path: str) -> None:
            """The folders of the trials are all that is needed to go on."""

        def __reduce__(self):
            return (object, ())

    return Asked(trials)


def _scheduler(factor: int) -> 'TrialScheduler':
    """The rule that ends trials early: ASHA, or none for a factor of 0."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if not factor:
        return FIFOScheduler()
    # So long that no trial is ended for its length.
    longest = 10**9
    return ASHAScheduler(
        time_attr=LENGTH,
        metric=SCORE,
        mode='max',
        grace_period=1,
        reduction_factor=factor,
        max_t=longest,
    )


def _listener(
    jobs: dict[tuple[str, str], Job], ended: Callable[[Job, Record], None]
) -> 'Callback':
    """Call `ended` for each result that reaches Ray Tune."""
    from ray.tune import Callback

    class Listener(Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            record = Record(**json.loads(result['record']))
            ended(jobs[trial.trial_id, result[UNTIL]], record)

        def on_trial_error(self, iteration, trials, trial, **info):
            until = trial.config['intervals'][0]
            job = jobs[trial.trial_id, until]
            before = records.read(job.folder) or Record()
            failed = dataclasses.replace(
                before, state=records.FAILED, error=_error(trial)
            )
            records.write(job.folder, failed)
            ended(job, failed)

        def __reduce__(self):
            return (Callback, ())

    return Listener()


def _error(trial: 'Trial') -> str:
    """Why Ray gave a trial up, with its last error where Ray has one."""
    text = (
        f'its machine or worker failed ({trial.num_failures} of at most {MOST_STARTS} starts). '
        'All machines need --workdir on shared storage and the same jaxvision'
    )
    file = trial.error_file
    last_line = last_error(Path(file)) if file else ''
    return f'{text}. The last error: {last_line}' if last_line else text


def _stopper(asked: Callable[[], bool]) -> 'Stopper':
    """Stop all trials when a signal asks for it."""
    from ray.tune import Stopper

    class Signal(Stopper):
        def __call__(self, trial_id: str, result: Json) -> bool:
            return False

        def stop_all(self) -> bool:
            return asked()

        def __reduce__(self):
            return (object, ())

    return Signal()
