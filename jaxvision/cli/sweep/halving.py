"""Successive halving in synchronous rounds (Jamieson & Talwalkar 2016).

All trials train to the first rung, the better part of them to the next one, and so on. A round
waits for all its trials, so that the result does not depend on which one ends first. Rungs count
examples, so that trials of unequal batch sizes are compared after equal training.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxvision.cli.sweep.records import END


@dataclasses.dataclass(frozen=True)
class Rungs:
    """The rungs of successive halving.

    Attributes:
        factor: one of so many trials goes on to the next rung; 0: all trials train to
            their end.
        examples: the training examples of each rung but the last, ascending.
    """

    factor: int = 0
    examples: Sequence[int] = ()

    @property
    def intervals(self) -> list[str]:
        """The intervals up to which trials train, such as ['500 examples', 'end']."""
        return [*(f'{examples} examples' for examples in self.examples), END]

    def kept(self, trials: int) -> list[int]:
        """The number of trials that train to each rung."""
        counts = [trials]
        for _ in self.examples:
            counts.append(max(1, counts[-1] // self.factor))
        return counts


def rungs(examples: int, trials: int, factor: int, most: int) -> Rungs:
    """Choose the rungs: each is `factor` times as long as the one before.

    Args:
        examples: training examples of a whole trial.
        trials: number of trials.
        factor: one of so many trials goes on to the next rung, at least 2.
        most: the largest number of rungs, at least 2.

    Returns:
        The rungs. There are so many that at least one trial reaches the last one.
    """
    number = 1
    while number < most and trials >= factor**number:
        number += 1
    parts = [factor**exponent for exponent in range(number - 1, 0, -1)]
    lengths = [math.ceil(examples / part) for part in parts]
    return Rungs(factor, tuple(lengths))


def ranked(scores: Mapping[int, float | None]) -> list[int]:
    """Sort the numbers of trials, the best first. Trials without a score come last.

    Args:
        scores: {number: score}, more is better. Equal trials keep the order of their
            numbers.
    """

    def place(number: int) -> tuple[bool, float, int]:
        score = scores[number]
        return (score is None, -(score or 0.0), number)

    return sorted(scores, key=place)


def promoted(scores: Mapping[int, float | None], count: int) -> list[int]:
    """Choose the trials that go on to the next rung, in the order of their numbers.

    Args:
        scores: {number: score}, more is better. A trial without one does not go on.
        count: number of trials that go on, if so many have a score.
    """
    able = [number for number in ranked(scores) if scores[number] is not None]
    return sorted(able[:count])
