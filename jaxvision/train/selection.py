"""Selection of the best checkpoint of a run, and early stopping."""

import dataclasses
import re
from collections.abc import Iterable
from typing import cast

from jaxvision.core.errors import UserError
from jaxvision.train import processes
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.writers import Row

# Words in names of metrics of which less, or more, is better.
_LESS_IS_BETTER = frozenset(
    ('nll', 'loss', 'error', 'fid', 'kid', 'mse', 'mae', 'rmse', 'lpips', 'perplexity')
)
_MORE_IS_BETTER = frozenset(
    ('accuracy', 'precision', 'recall', 'psnr', 'ssim', 'f1', 'cider', 'bleu', 'rouge')
)


def check_direction(best: str) -> None:
    """Check that `train.best` does not select the worst checkpoint.

    Args:
        best: a metric, '-NAME' where less is better.

    Raises:
        UserError: The sign contradicts a known word in the name, such as 'loss' or
            'accuracy'. Names without such a word pass.
    """
    name = best.removeprefix('-')
    words = set(re.split('[_/]', name))
    is_less = bool(words & _LESS_IS_BETTER)
    is_more = bool(words & _MORE_IS_BETTER)
    if is_less == is_more:  # The name does not tell.
        return
    expected = f'-{name}' if is_less else name
    if best != expected:
        better = 'less' if is_less else 'more'
        raise UserError(
            f'train.best={best}: expected {expected}, since {better} of it is better. The '
            'worst checkpoint would be selected.'
        )


@dataclasses.dataclass
class Selection:
    """The best score on the validation split so far.

    Attributes:
        score: the best score; more is better; minus infinity before the first score.
        step: the first step with this score; 0 before the first score.
        last_step: the step of the last score, good or bad.
    """

    score: float = -float('inf')
    step: int = 0
    last_step: int = 0

    @classmethod
    def of(cls, checkpoints: Checkpoints, rows: Iterable[Row]) -> 'Selection':
        """Find the best score in the rows of metrics.jsonl, in order of their steps.

        Rows without a finite score are skipped. The first of equal scores is the best.
        """
        selection = cls()
        for row in rows:
            score = checkpoints.score(row)
            if score is None:
                continue
            selection.last_step = int(row['step'])
            if score > selection.score:
                selection.score = score
                selection.step = selection.last_step
        return selection

    def improves(self, step: int, score: float | None) -> bool:
        """Record the score of a step, and return whether it exceeds the best so far.

        All processes must call it together, since the score of process 0 decides.

        Args:
            step: the step.
            score: the score, more is better; None: the step has none, and improves
                nothing.
        """
        if score is not None:
            self.last_step = step
        # The last digits of a score may differ between processes.
        improved = processes.of_first(score is not None and score > self.score)
        if improved:
            self.score = cast(float, score)
            self.step = step
        return improved

    def has_waited(self, patience: int) -> bool:
        """Whether the last score is at least `patience` steps newer than the best one.

        Args:
            patience: number of steps; 0: never.
        """
        return bool(patience) and self.last_step - self.step >= patience
