"""The log of a run: metrics.jsonl, which is exact, TensorBoard events, lines on the screen."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from jaxvision.core.files import write_text
from jaxvision.train import processes

# {'step': step, metric: value, ...}
Row = dict[str, int | float]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a metrics.jsonl, but a last line that a kill cut off."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Metrics:
    """The rows of metrics.jsonl and TensorBoard, each of one step.

    Opening it at a step drops every row after that step. So a resumed run writes the same file
    as one that was never stopped. All processes know the rows, the first one writes them.

    Attributes:
        rows: {'step': step, metric: value, ...}, in order.
    """

    def __init__(self, folder: Path, step: int = 0):
        path = folder / 'metrics.jsonl'
        self.rows = [row for row in read_rows(path) if row['step'] <= step]
        self._files = None
        if processes.is_first():
            write_text(path, ''.join(json.dumps(row) + '\n' for row in self.rows))
            # Buffered by lines, so that users can watch the file grow.
            self._files = path.open('a', buffering=1), EventFile(folder, step)

    def __enter__(self) -> 'Metrics':
        return self

    def __exit__(self, *exception) -> None:
        if self._files:
            rows, events = self._files
            rows.close()
            events.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row {'step': step, 'train/loss': ..., ...}."""
        row = {'step': step, **values}
        self.rows.append(row)
        if self._files:
            rows, events = self._files
            rows.write(json.dumps(row) + '\n')
            events.write(step, values)

    def flush(self) -> None:
        """Wait until every row is on the disk: a checkpoint may only follow its metrics."""
        if self._files:
            rows, events = self._files
            rows.flush()
            os.fsync(rows.fileno())
            events.flush()


class EventFile:
    """A file of TensorBoard events, which hides what a killed run wrote after a step."""

    def __init__(self, folder: Path, step: int):
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f'events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}'
        self._file = (folder / name).open('wb')
        self._writer = RecordWriter(self._file)
        self._add(file_version='brain.Event:2')
        # Protobuf makes its classes at import, where no type checker sees them.
        session: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        # Tells TensorBoard to forget the events from that step on.
        self._add(session_log=session(status=session.START), step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        from tensorboard.compat.proto import summary_pb2

        summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
        scalars = [
            summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._add(step=step, summary=summary(value=scalars))
        self._file.flush()

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _add(self, **fields: Any) -> None:
        from tensorboard.compat.proto import event_pb2

        event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
        record = event(wall_time=time.time(), **fields)
        self._writer.write(record.SerializeToString())


class Progress:
    """Lines on the screen: step, values, images/s and time left, at most one every `every` s."""

    def __init__(self, step: int, total: int, batch_size: int, every: float = 2.0):
        self._total, self._batch_size, self._every = total, batch_size, every
        self._shown = -every
        self.restart(step)

    def restart(self, step: int) -> None:
        """Begin to count at this step, now: what came between is not training."""
        self._step, self._since = step, time.monotonic()

    def images_per_second(self, step: int) -> float:
        """Since the last restart."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        return (step - self._step) * self._batch_size / seconds

    def show(self, step: int, values: dict[str, float], speed: float) -> None:
        if time.monotonic() - self._shown < self._every and step < self._total:
            return
        self._shown = time.monotonic()
        left = (self._total - step) * self._batch_size / speed if speed else 0
        text = '  '.join(f'{name} {value:.4g}' for name, value in values.items())
        processes.say(
            f'step {step:>{len(str(self._total))}}/{self._total}  {text}  '
            f'{speed:,.0f} images/s  {duration(left)} left'
        )


def duration(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
