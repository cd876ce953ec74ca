"""Scalars of training steps, read a few steps after they are computed."""

from collections import deque

import jax

from jaxvision.core.errors import Diverged
from jaxvision.core.task import Scalars
from jaxvision.core.types import MetricValues
from jaxvision.data import pipeline
from jaxvision.train.run import Run
from jaxvision.train.writers import Metrics, Progress

# Steps between the computation of a scalar and its reading, so that the host never waits for the
# device.
LAG = 2


class LaggedScalars:
    """Read the scalars of the steps whose log is due, two steps later, and log them.

    A non-finite scalar, also of a step in between, raises Diverged when they are read.
    """

    def __init__(self, run: Run, metrics: Metrics, progress: Progress):
        """Begin without scalars.

        Args:
            run: the run.
            metrics: the rows of metrics.jsonl, to which scalars are added.
            progress: the lines on the screen.
        """
        self._run = run
        self._metrics = metrics
        self._progress = progress
        self._pending = deque()

    def push(self, step: int, scalars: Scalars) -> None:
        """Add the scalars of a step, and read those of two steps before.

        The scalars that are read are logged and printed if a log of their step is due.

        Args:
            step: the step, one more than in the previous call.
            scalars: scalars of the guarded update, with 'bad_step'.

        Raises:
            Diverged: A scalar of the earlier step is not finite. This is noticed at a
                step whose log is due, or by `drain`.
        """
        self._pending.append((step, scalars))
        if len(self._pending) > LAG:
            self._read(*self._pending.popleft())

    def drain(self) -> None:
        """Read the scalars of all steps so far, log those due, and wait for the device.

        Raises:
            Diverged: A scalar is not finite.
        """
        while self._pending:
            self._read(*self._pending.popleft())

    def _read(self, step: int, scalars: Scalars) -> None:
        jax.block_until_ready(scalars)
        is_due = self._run.is_due('log', step)
        # `bad_step` is kept in the state, so the last of several steps shows it too.
        if self._pending and not is_due:
            return
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        bad_step = int(values.pop('bad_step'))
        if bad_step >= 0:
            raise self._not_finite(bad_step)
        if is_due:
            self._log(step, values)

    def _not_finite(self, bad_step: int) -> Diverged:
        rows = pipeline.rows(
            self._run.config.seed,
            self._run.spec.examples,
            self._run.config.data.batch_size,
            bad_step,
        )
        return Diverged(
            f'step {bad_step + 1} is not finite: its loss or gradient is infinite or NaN. '
            f'Earlier checkpoints are kept. The examples of this step: {rows.tolist()}. '
            'Try a lower optimizer.lr, optimizer.clip=1 or a longer optimizer.warmup'
        )

    def _log(self, step: int, values: MetricValues) -> None:
        speed = self._progress.images_per_second(step)
        row = {f'train/{name}': value for name, value in values.items()}
        self._metrics.write(step, {**row, 'perf/images_per_second': speed})
        losses = {
            name: value for name, value in values.items() if name.endswith('loss')
        }
        self._progress.show(step, losses, speed)
