"""Logs of a run: metrics.jsonl with exact numbers, TensorBoard events, and lines on the screen."""

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxvision.core.files import atomic_write, write_text
from jaxvision.core.types import MetricValues
from jaxvision.train import processes

if TYPE_CHECKING:
    from google.protobuf.message import Message

# {'step': step, metric: value, ...}
Row = dict[str, int | float]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a metrics.jsonl, up to the first line that is no JSON.

    A killed process may have cut off the last line. Without a file there are no rows.
    """
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Metrics:
    """Rows of metrics in metrics.jsonl and in TensorBoard events, for a `with` block.

    Opening the log at a step removes every later row. So a resumed run writes the same file as a
    run that was never stopped. All processes keep the rows, and the first process writes them.

    Attributes:
        rows: {'step': step, metric: value, ...}, in order.
    """

    def __init__(self, folder: Path, step: int = 0):
        """Open the log in a run folder, and keep only the rows up to a step.

        Args:
            folder: the run folder.
            step: number of steps taken so far; the row of this step is kept.
        """
        path = folder / 'metrics.jsonl'
        self.rows = [row for row in read_rows(path) if row['step'] <= step]
        self._files = None
        if processes.is_first():
            lines = [_as_line(row) for row in self.rows]
            write_text(path, ''.join(lines))
            # Buffered by lines, so that users can watch the file grow.
            rows_file = path.open('a', buffering=1)
            self._files = (rows_file, EventFile(folder, step))

    def __enter__(self) -> 'Metrics':
        return self

    def __exit__(self, *exception) -> None:
        if self._files:
            rows, events = self._files
            rows.close()
            events.close()

    def write(self, step: int, values: MetricValues) -> None:
        """Add the row {'step': step, metric: value, ...} to `rows` and to the files."""
        row = {'step': step, **values}
        self.rows.append(row)
        if self._files:
            rows, events = self._files
            rows.write(_as_line(row))
            events.write(step, values)

    def flush(self) -> None:
        """Wait until every row is on the disk, since a checkpoint must not precede its metrics."""
        if self._files:
            rows, events = self._files
            rows.flush()
            os.fsync(rows.fileno())
            events.flush()


def _as_line(row: Row) -> str:
    return json.dumps(row) + '\n'


class EventFile:
    """A file of TensorBoard events, which hides later events of a killed run.

    The caller closes it.
    """

    def __init__(self, folder: Path, step: int):
        """Create the file in a run folder, and hide all older events after a step."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        host = socket.gethostname()
        name = f'events.out.tfevents.{time.time():.6f}.{host}.{os.getpid()}'
        self._file = (folder / name).open('wb')
        self._writer = RecordWriter(self._file)
        self._add(file_version='brain.Event:2')
        # Protobuf makes its classes at import, where no type checker sees them.
        session: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        # TensorBoard forgets the events from this step on.
        self._add(session_log=session(status=session.START), step=step + 1)

    def write(self, step: int, values: MetricValues) -> None:
        """Write an event with the metrics of a step to the file.

        The system may still hold it in memory, until `flush`.
        """
        from tensorboard.compat.proto import summary_pb2

        summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
        scalars = [
            summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._add(step=step, summary=summary(value=scalars))
        self._file.flush()

    def flush(self) -> None:
        """Wait until every event is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, **fields: Any) -> None:
        self._writer.write(_event(**fields))


def write_events(path: Path, summaries: 'Sequence[Message]') -> None:
    """Write a file of TensorBoard events at step 0, over an older one.

    It hides no event of other files in the folder.

    Args:
        path: the file, whose name must contain 'tfevents'.
        summaries: the messages `Summary` of TensorBoard, one for each event.
    """
    from tensorboard.summary.writer.record_writer import RecordWriter

    with atomic_write(path, 'wb', durable=False) as file:
        writer = RecordWriter(file)
        writer.write(_event(file_version='brain.Event:2'))
        for summary in summaries:
            writer.write(_event(step=0, summary=summary))


def _event(**fields: Any) -> bytes:
    """Make an event of TensorBoard with the time of now."""
    from tensorboard.compat.proto import event_pb2

    event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
    return event(wall_time=time.time(), **fields).SerializeToString()


class Progress:
    """Lines on the screen with the step, scalars, images/s and the remaining time."""

    def __init__(self, step: int, total: int, batch_size: int, every: float = 2.0):
        """Begin to count at a step.

        Args:
            step: number of steps taken so far.
            total: number of steps of the run.
            batch_size: examples per step.
            every: shortest time between two lines, in seconds.
        """
        self._total = total
        self._batch_size = batch_size
        self._every = every
        self._shown = -every
        self.restart(step)

    def restart(self, step: int) -> None:
        """Count from this step and time on, since the time before was no training.

        Args:
            step: number of steps taken so far.
        """
        self._step = step
        self._since = time.monotonic()

    def images_per_second(self, step: int) -> float:
        """Compute the speed since the last restart, in examples per second.

        Args:
            step: number of steps taken so far, counted as in `restart`.
        """
        seconds = max(time.monotonic() - self._since, 1e-9)
        return (step - self._step) * self._batch_size / seconds

    def show(self, step: int, values: MetricValues, speed: float) -> None:
        """Print a line, unless the last line is less than `every` seconds old.

        The last step is always shown. Only process 0 prints.

        Args:
            step: the step.
            values: the scalars to show.
            speed: examples per second, for the remaining time; 0: 0:00 remains.
        """
        is_recent = time.monotonic() - self._shown < self._every
        if is_recent and step < self._total:
            return
        self._shown = time.monotonic()
        seconds_left = 0
        if speed:
            seconds_left = (self._total - step) * self._batch_size / speed
        width = len(str(self._total))
        processes.say(
            f'step {step:>{width}}/{self._total}  {listed(values)}  '
            f'{speed:,.0f} images/s  {duration(seconds_left)} left'
        )


def listed(values: MetricValues) -> str:
    """Format metrics as 'loss 0.1234  accuracy 0.9', with four significant digits."""
    return '  '.join(f'{name} {value:.4g}' for name, value in values.items())


def duration(seconds: float) -> str:
    """Format seconds, rounded to whole ones, as 1:05, or with hours as 2:03:04."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minutes:02}:{seconds:02}'
    return f'{minutes}:{seconds:02}'
