"""Episodes for few-shot learning: small classification problems, drawn from a labelled source.

Vinyals et al., Matching Networks for One Shot Learning (arXiv 1606.04080).
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data.protocol import (
    RowSource,
    Source,
    fingerprint,
    labels_of,
)

Classes = Int[np.ndarray, '_']


@dataclasses.dataclass(frozen=True)
class Form:
    """The size of an episode.

    Attributes:
        ways: the number of classes.
        shots: the labelled examples of each class (the support).
        queries: the examples of each class to classify.
    """

    ways: int
    shots: int
    queries: int


class Episodes(RowSource):
    """A source of episodes, each a function of the seed and its row.

    An episode of N ways, K shots and Q queries holds:

        support       uint8 [N, K, H, W, C]
        support_mask  uint8 [N, K] of ones
        query         uint8 [N * Q, H, W, C], class by class
        query_label   int32 [N * Q], which of the N classes, from 0 to N - 1
        classes       int32 [N], where the N classes are in `info.class_names`
    """

    def __init__(
        self, source: Source, classes: Classes, form: Form, length: int, seed: int
    ):
        """Describe the episodes.

        Args:
            source: labelled images of one size, decoded.
            classes: the labels to draw classes from. They alone become
                `info.class_names`.
            form: the size of an episode.
            length: the number of episodes.
            seed: of the random draws.

        Raises:
            UserError: The source has no labels, fewer classes than an episode, or a class with
                fewer examples than an episode needs.
        """
        labels = labels_of(source, 'an episode')
        self._source = source
        self._form = form
        self._length = length
        self._seed = seed
        self._rows = [np.flatnonzero(labels == label) for label in classes]
        self._check(classes)
        self.info = dataclasses.replace(
            source.info,
            holds=('support', 'support_mask', 'query', 'query_label', 'classes'),
            class_names=tuple(source.info.class_names[label] for label in classes),
            fingerprint=fingerprint(
                source.info.fingerprint,
                classes.tolist(),
                dataclasses.astuple(form),
                length,
                seed,
            ),
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Example:
        ways, shots, queries = dataclasses.astuple(self._form)
        rng = keys.host(self._seed, 'episode', row)
        classes = rng.permutation(len(self._rows))[:ways]
        rows = [
            rng.choice(self._rows[label], shots + queries, replace=False)
            for label in classes
        ]
        examples = self._source.read(np.concatenate(rows))
        images = np.stack([example['image'] for example in examples])
        image_shape = images.shape[1:]
        images = images.reshape(ways, shots + queries, *image_shape)
        query = images[:, shots:].reshape(-1, *image_shape)
        labels = np.arange(ways, dtype=np.int32)
        return {
            'support': images[:, :shots],
            'support_mask': np.ones((ways, shots), np.uint8),
            'query': query,
            'query_label': np.repeat(labels, queries),
            'classes': classes.astype(np.int32),
        }

    def where(self, row: int) -> str:
        """The name of an episode in messages, such as 'digit_pairs test, episode 3'."""
        return f'{self.info.name} {self.info.split}, episode {row}'

    def _check(self, classes: Classes) -> None:
        info = self._source.info
        ways, shots, queries = dataclasses.astuple(self._form)
        if len(classes) < ways:
            raise UserError(
                f'{info.name}: its split {info.split!r} has {len(classes)} classes, '
                f'and an episode {ways}. Choose smaller episodes (task.ways, '
                "task.evaluations) or another split (data.validation='none')"
            )
        sizes = [len(rows) for rows in self._rows]
        fewest = int(np.argmin(sizes))
        if sizes[fewest] < shots + queries:
            name = info.class_names[classes[fewest]]
            raise UserError(
                f'{info.name}: class {name!r} has {sizes[fewest]} examples in the split '
                f'{info.split!r}, and an episode {shots} + {queries} of each class. '
                'Choose smaller episodes (task.shots, task.queries, task.evaluations, '
                'task.test_queries)'
            )


def divide(
    train: Int[np.ndarray, 'n'], test: Int[np.ndarray, 'm'], fraction: float, seed: int
) -> tuple[Classes, Classes]:
    """Divide classes into those of training and new ones for the test.

    Two splits without a common class keep their classes. Otherwise all classes of both
    are divided at random.

    Args:
        train: the labels of the training split.
        test: the labels of the test split.
        fraction: the part of all classes that becomes new ones, in [0, 1]. The number
            of classes is rounded. Without a common class it has no effect.
        seed: of the random division.

    Returns:
        (the labels of training, the new labels), both in ascending order.
    """
    known = np.unique(train)
    new = np.unique(test)
    if not np.intersect1d(known, new).size:
        return known, new
    order = keys.host(seed, 'classes').permutation(np.union1d(known, new))
    number_known = len(order) - round(fraction * len(order))
    known = np.sort(order[:number_known])
    new = np.sort(order[number_known:])
    return known, new
