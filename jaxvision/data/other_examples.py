"""Training examples with further examples of their source beside them, as mosaics need them."""

import contextlib
import dataclasses
from collections.abc import Mapping

from jaxvision.core import keys
from jaxvision.core.types import Example
from jaxvision.data.protocol import Rows, Source, Unreadable
from jaxvision.data.wrappers import Wrapper


@dataclasses.dataclass(frozen=True)
class Others:
    """Further examples that stand beside an example.

    Attributes:
        count: number of further examples, drawn with replacement from the whole source.
        fraction: probability that an example gets them, in [0, 1]. It gets all or none.
    """

    count: int
    fraction: float


class WithOthers(Wrapper):
    """A source that gives examples their 'others' until a training step.

    'others' is {name: list of examples}, drawn from the whole source by `at_step`. An
    example lacks a name if chance leaves it out, or a further example is unreadable.
    The source itself, which has no step, gives examples without the key 'others'.
    """

    def __init__(
        self, source: Source, others: Mapping[str, Others], *, seed: int, end: int
    ):
        """Choose nothing yet.

        Args:
            source: the examples.
            others: {name: how many, and how often}.
            seed: of the choices.
            end: the first training step without further examples.
        """
        holds = (*source.info.holds, 'others')
        super().__init__(source, dataclasses.replace(source.info, holds=holds))
        self._others = others
        self._seed = seed
        self._end = end

    def at_step(self, step: int) -> Source:
        """The examples of a training step, whose choice is a function of (seed, step, row).

        Args:
            step: number of the step, from 0.

        Returns:
            A source with as many rows. From the step `end` it is the plain source.
        """
        if step >= self._end:
            return self._source
        return _Step(self._source, self._others, self._seed, step)


class _Step(Wrapper):
    """The examples of one training step with their 'others'."""

    def __init__(
        self, source: Source, others: Mapping[str, Others], seed: int, step: int
    ):
        super().__init__(source)
        self._others = others
        self._seed = seed
        self._step = step

    def __getitem__(self, row: int) -> Example:
        return self.read([row])[0]

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples with their others."""
        examples = self._source.read(rows)
        return [
            {**example, 'others': self._others_of(int(row))}
            for row, example in zip(rows, examples, strict=True)
        ]

    def _others_of(self, row: int) -> dict[str, list[Example]]:
        chosen = {}
        for name, others in self._others.items():
            rng = keys.host(self._seed, f'others/{name}', self._step, row)
            if rng.random() >= others.fraction:
                continue
            rows = rng.integers(len(self._source), size=others.count)
            # An unreadable example is reported where it is read for itself.
            with contextlib.suppress(Unreadable):
                chosen[name] = self._source.read(rows)
        return chosen
