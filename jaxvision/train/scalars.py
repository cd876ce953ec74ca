"""The scalars of training steps, read some steps after they are computed."""

from collections import deque

import jax

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline
from jaxvision.train.run import Run
from jaxvision.train.writers import Metrics, Progress

LAG = 2  # steps between a scalar's computation and its reading: the host never waits for the device


class LaggedScalars:
    """Reads each step's scalars some steps later, writes those that are due, and stops the run at a
    step that was not finite."""

    def __init__(self, this: Run, metrics: Metrics, progress: Progress):
        self._run, self._metrics, self._progress = this, metrics, progress
        self._pending = deque()

    def push(self, step: int, scalars: dict[str, jax.Array]) -> None:
        self._pending.append((step, scalars))
        if len(self._pending) > LAG:
            self._read(*self._pending.popleft())

    def drain(self) -> None:
        while self._pending:
            self._read(*self._pending.popleft())

    def _read(self, step: int, scalars: dict[str, jax.Array]) -> None:
        jax.block_until_ready(scalars)
        if self._pending and not self._run.is_due('log', step):
            return
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        bad_step = int(values.pop('bad_step'))
        if bad_step >= 0:
            rows = pipeline.rows(
                self._run.config.seed,
                self._run.spec.examples,
                self._run.config.data.batch_size,
                bad_step,
            )
            raise UserError(
                f'step {bad_step + 1} is not finite: its loss or gradient is infinite or NaN. '
                f'The checkpoints before it are kept. Its examples: {rows.tolist()}. '
                'A lower optimizer.lr, optimizer.clip=1 or a longer warmup usually mends it'
            )
        if not self._run.is_due('log', step):
            return
        speed = self._progress.images_per_second(step)
        self._metrics.write(
            step,
            {
                **{f'train/{name}': value for name, value in values.items()},
                'perf/images_per_second': speed,
            },
        )
        self._progress.show(
            step,
            {name: value for name, value in values.items() if name.endswith('loss')},
            speed,
        )
