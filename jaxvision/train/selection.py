"""Which checkpoint of a run is the best, and when to stop waiting for a better one."""

import dataclasses
from collections.abc import Iterable
from typing import cast

from jaxvision.train import processes
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.writers import Row


@dataclasses.dataclass
class Selection:
    """The best score on the validation split so far.

    Attributes:
        score: more is better.
        step: the step that reached it first.
    """

    score: float = -float('inf')
    step: int = 0

    @classmethod
    def of(cls, checkpoints: Checkpoints, rows: Iterable[Row]) -> 'Selection':
        """Select from the rows of a run."""
        selection = cls()
        for row in rows:
            score = checkpoints.score(row)
            if score is not None and score > selection.score:
                selection = cls(score, int(row['step']))
        return selection

    def improves(self, step: int, score: float | None) -> bool:
        """Take note of a score, and say whether it is the best so far."""
        # The last digits of a score may differ between processes.
        improved = processes.of_first(score is not None and score > self.score)
        if improved:
            self.score = cast(float, score)
            self.step = step
        return improved

    def has_waited(self, step: int, patience: int) -> bool:
        """Whether nothing has improved for `patience` steps; 0: never."""
        return bool(patience) and step - self.step >= patience
