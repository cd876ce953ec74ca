"""The folder of a trial: what it is to train, and what came out of it.

`trial.json` is written before a trial starts, and `result.json` after it. Both are complete or
absent at any moment, and are written again if they are damaged.
"""

import dataclasses
import json
import math
from pathlib import Path

from jaxvision.core.files import write_json
from jaxvision.core.types import Json, MetricValues

SETTINGS = 'trial.json'
RESULT = 'result.json'
LOG = 'log.txt'
LOCK = 'trial.lock'

# The name of an evaluation at the end of `train.steps`.
END = 'end'
# States of a trial.
TRAINED = 'trained'
DIVERGED = 'diverged'
FAILED = 'failed'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The results of a trial so far.

    Attributes:
        state: 'trained'; 'diverged': a loss or metric is not finite; 'failed': another
            error.
        evaluations: {'end' or an interval such as '5000 examples': metrics} of the
            evaluation after this much training.
        seconds: time of all its processes.
        error: the reason why it diverged or failed.
    """

    state: str = TRAINED
    evaluations: dict[str, MetricValues] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    error: str = ''

    def has_ended(self, until: str) -> bool:
        """Whether nothing is left to train up to an interval or 'end'."""
        return self.state != TRAINED or until in self.evaluations

    def score(self, metric: str, until: str) -> float | None:
        """The last value of a metric, signed so that more is better.

        Args:
            metric: such as 'validation/accuracy'; '-NAME': less is better.
            until: an interval or 'end'.

        Returns:
            The score. None if the trial diverged, failed, was not evaluated or has a
            value that is not finite.
        """
        metrics = self.evaluations.get(until, {})
        value = metrics.get(metric.removeprefix('-'))
        if self.state != TRAINED or value is None or not math.isfinite(value):
            return None
        return -value if metric.startswith('-') else value


def write(folder: Path, record: Record) -> None:
    """Write result.json of a trial, over an older one."""
    write_json(folder / RESULT, dataclasses.asdict(record))


def read(folder: Path) -> Record | None:
    """Read result.json of a trial; None if it is missing or damaged."""
    values = _read(folder / RESULT)
    try:
        record = Record(**values)
        are_named = all(isinstance(each, dict) for each in record.evaluations.values())
    except (TypeError, AttributeError):
        return None
    return record if values and are_named else None


def write_settings(folder: Path, settings: Json) -> None:
    """Make the folder of a trial, and write trial.json if it has other contents."""
    folder.mkdir(parents=True, exist_ok=True)
    if _read(folder / SETTINGS) != json.loads(json.dumps(settings)):
        write_json(folder / SETTINGS, settings)


def read_settings(folder: Path) -> Json:
    """Read trial.json of a trial; {} if it is missing or damaged."""
    return _read(folder / SETTINGS)


def forget_failure(folder: Path) -> None:
    """Remove the result of a failed trial, so that it is tried again."""
    record = read(folder)
    if record and record.state == FAILED:
        (folder / RESULT).unlink(missing_ok=True)


def _read(path: Path) -> Json:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
