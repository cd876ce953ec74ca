"""Prepared examples of a split, whose images are replaced and evaluated again."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, Key, Num

from jaxvision.cli import runs
from jaxvision.cli.attack.request import Request
from jaxvision.cli.predict import finding
from jaxvision.core import keys
from jaxvision.core.task import Evaluate, Task
from jaxvision.core.types import Example, MetricValues, Records
from jaxvision.data.protocol import Source
from jaxvision.train import evaluation
from jaxvision.train.run import Run

# uint8, or float in [0, 255].
Pixels = Num[np.ndarray, 'n h w c']
Places = Int[np.ndarray, 'b']


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredExamples:
    """The examples of a request, and the main evaluation of the task.

    Attributes:
        request: the request.
        arrays: prepared examples, {name: array [N, ...]}. 'index' is the place in `source`.
        source: the chosen examples of the split, with their annotations.
        evaluate: the map of the evaluation, compiled.
        rows: the row of each example in the split, on which its random numbers depend.
    """

    request: Request
    arrays: Records
    source: Source
    evaluate: Evaluate
    rows: Int[np.ndarray, 'n']

    @classmethod
    def read(cls, request: Request) -> 'MeasuredExamples':
        """Read the examples of a request.

        Raises:
            UserError: The split does not exist or cannot be read.
        """
        opened = request.victim.run
        split = request.split
        arrays = runs.read_prepared(request.victim, split, request.count)
        rows = runs.rows_of(request.victim, split, request.count)
        return cls(
            request=request,
            arrays=arrays,
            source=evaluation.selected(opened.sources[split], split, request.count),
            evaluate=jax.jit(opened.task.main.evaluate),
            rows=rows[arrays['index']],
        )

    def __len__(self) -> int:
        return len(self.arrays['index'])

    @property
    def run(self) -> Run:
        """The attacked run."""
        return self.request.victim.run

    @property
    def task(self) -> Task:
        """The task of the run."""
        return self.run.task

    @property
    def example_keys(self) -> Key[jax.Array, 'n']:
        """A key for each example, from the seed of the attack and its row."""
        stream = keys.stream(jax.random.key(self.request.settings.seed), 'attack')
        return keys.per_example(stream, jnp.asarray(self.rows))

    def free(self, places: Places) -> Bool[np.ndarray, 'b h w 1']:
        """True for the pixels of the image, and False for its padding."""
        return finding.visible_pixels(self.batch(places))

    def example(self, place: int) -> Example:
        """One prepared example."""
        return {name: values[place] for name, values in self.arrays.items()}

    def batch(self, places: Places) -> Records:
        """Several prepared examples."""
        return {name: values[places] for name, values in self.arrays.items()}

    def batches(self) -> Iterator[tuple[int, Places]]:
        """Yield (number of examples, their places padded to the batch size)."""
        size = min(self.request.batch_size, len(self))
        for start in range(0, len(self), size):
            places = np.arange(start, min(start + size, len(self)))
            yield len(places), np.resize(places, size)

    def measure(self, pixels: Pixels) -> tuple[MetricValues, Records]:
        """Evaluate the task on other images of the examples.

        Args:
            pixels: the images, uint8 or float in [0, 255].

        Returns:
            ({metric: value}, the records of the main evaluation).
        """
        main = self.task.main
        threads = self.run.config.data.threads
        parts = []
        for count, places in self.batches():
            batch = {**self.batch(places), 'image': pixels[places]}
            padded = jax.device_get(self.evaluate(self.request.victim.state, batch))
            records = {name: values[:count] for name, values in padded.items()}
            parts.append(evaluation.compact(main, self.source, records, threads))
        records = evaluation.concatenated(parts)
        return main.summarize(records), records
