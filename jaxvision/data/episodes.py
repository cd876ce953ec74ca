"""Episodes: small classification problems, drawn from a labelled source for few-shot learning.

Vinyals et al.: Matching Networks for One Shot Learning (arXiv 1606.04080).
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Example, Labels, Rows, Source, fingerprint

Classes = Int[np.ndarray, '_']


@dataclasses.dataclass(frozen=True)
class Form:
    """An episode's classes ('ways'), examples of each that are shown ('shots'), and asked for."""

    ways: int
    shots: int
    queries: int


class Episodes:
    """A source of `length` episodes over some classes of another source; episode i is a function of
    (seed, i) alone.

    support: uint8 [N, K, H, W, C]; support_mask: uint8 [N, K] of ones; query: uint8
    [N * Q, H, W, C], class by class; query_label: int32 [N * Q], which of the N; classes: int32
    [N], which of `info.class_names`, the classes that are drawn from.
    """

    def __init__(
        self, source: Source, classes: Classes, form: Form, length: int, seed: int
    ):
        """`source` has images of one size, decoded.

        Raises:
            UserError: there are fewer classes, or fewer examples of one, than an episode has.
        """
        self._source, self._form, self._length, self._seed = source, form, length, seed
        labels = source.labels()
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
            rng.choice(self._rows[one], shots + queries, replace=False)
            for one in classes
        ]
        examples = self._source.read(np.concatenate(rows))
        images = np.stack([example['image'] for example in examples])
        images = images.reshape(ways, shots + queries, *images.shape[1:])
        return {
            'support': images[:, :shots],
            'support_mask': np.ones((ways, shots), np.uint8),
            'query': images[:, shots:].reshape(-1, *images.shape[2:]),
            'query_label': np.repeat(np.arange(ways, dtype=np.int32), queries),
            'classes': classes.astype(np.int32),
        }

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        raise UserError(f'{self.info.name}: an episode is of no one class')

    def where(self, row: int) -> str:
        return f'{self.info.name} {self.info.split}, episode {row}'

    def _check(self, classes: Classes) -> None:
        info, (ways, shots, queries) = (
            self._source.info,
            dataclasses.astuple(self._form),
        )
        if len(classes) < ways:
            raise UserError(
                f'{info.name}: its split {info.split!r} has {len(classes)} classes, '
                f'and an episode {ways}'
            )
        fewest = min(range(len(classes)), key=lambda i: len(self._rows[i]))
        if len(self._rows[fewest]) < shots + queries:
            raise UserError(
                f'{info.name}: class {info.class_names[classes[fewest]]!r} has '
                f'{len(self._rows[fewest])} examples in the split {info.split!r}, and an episode '
                f'{shots} + {queries} of each class'
            )


def divide(
    train: Int[np.ndarray, 'n'], test: Int[np.ndarray, 'm'], share: float, seed: int
) -> tuple[Classes, Classes]:
    """The classes of training, and those that are new in the test.

    The splits' own where they have none in common; else all classes are divided at random, a
    `share` of them being new.
    """
    known, new = np.unique(train), np.unique(test)
    if not np.intersect1d(known, new).size:
        return known, new
    order = keys.host(seed, 'classes').permutation(np.union1d(known, new))
    first = len(order) - round(share * len(order))
    return np.sort(order[:first]), np.sort(order[first:])
