"""What a run tells: metrics.jsonl, which is exact; TensorBoard events; lines on the screen."""

import json
import os
import socket
import time
from pathlib import Path

from jaxvision.core.files import write_text
from jaxvision.train import processes


def read_rows(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl; a last line that a kill tore is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Metrics:
    """metrics.jsonl and TensorBoard: one row a call, of one step.

    Opening it at a step drops every row after that step, so that a resumed run writes the same
    file as one that was never stopped. Of several processes all know the rows, the first writes.
    """

    def __init__(self, folder: Path, step: int = 0):
        path = folder / 'metrics.jsonl'
        self.rows = [row for row in read_rows(path) if row['step'] <= step]
        self._file = None
        if processes.is_first():
            self._open(folder, path, step)

    def _open(self, folder: Path, path: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        write_text(path, ''.join(json.dumps(row) + '\n' for row in self.rows))
        self._file = path.open('a', buffering=1)  # by lines: people watch it grow
        name = f'events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}'
        self._events_file = (folder / name).open('wb')
        self._events = RecordWriter(self._events_file)
        self._event(file_version='brain.Event:2')
        # Tells TensorBoard to forget what a killed run wrote from there on.
        self._event(session_log=SessionLog(status=SessionLog.START), step=step + 1)

    def __enter__(self) -> 'Metrics':
        return self

    def __exit__(self, *exception) -> None:
        if self._file:
            self._file.close()
            self._events_file.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row {'step': step, 'train/loss': ..., ...}."""
        self.rows.append({'step': step, **values})
        if not self._file:
            return
        self._file.write(json.dumps(self.rows[-1]) + '\n')
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._event(step=step, summary=Summary(value=summary))
        self._events_file.flush()

    def flush(self) -> None:
        """Until every row is on the disk: a checkpoint may only follow its metrics."""
        for file in (self._file, self._events_file) if self._file else ():
            file.flush()
            os.fsync(file.fileno())

    def _event(self, **fields) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._events.write(Event(wall_time=time.time(), **fields).SerializeToString())


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
