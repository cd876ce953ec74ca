"""The rows that a generator is evaluated on: latents and labels beside real images."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import Example
from jaxvision.data.protocol import (
    RowSource,
    Source,
    fingerprint,
)
from jaxvision.data.sources import open_source

WALKS = 8  # interpolations between two latents
WALK_STEPS = 10  # images of each
FEWEST = 4  # images of each split: one and its three nearest neighbours


class SampleRows(RowSource):
    """A source of `samples` independent latents, then WALKS * WALK_STEPS interpolated ones.

    Each row has 'latent' float32 [Z], 'label' int32, 'image' of the split and 'train_image'
    of the training split, with 'real_row' and 'train_row', their rows. Classes take turns.
    A walk has one class.
    """

    def __init__(self, real: Source, data: Config, samples: int, latent: int):
        """Place latents beside real images.

        Args:
            real: the split that is evaluated.
            data: the config's `data`, which says how the training split is opened.
            samples: number of independent latents.
            latent: size of a latent.

        Raises:
            UserError: A split has too few images to compare their features.
        """
        self._real = real
        self._train = open_source(data, 'train')
        if min(len(real), len(self._train)) < FEWEST:
            raise UserError(
                f'data.source={data.source}: expected at least {FEWEST} images in each '
                f'split, and there are {len(self._train)} to train on and {len(real)} to '
                'test on. Choose larger splits, whose features can be compared.'
            )
        self._samples = samples
        self._latents = _latents(samples, latent)
        self.info = dataclasses.replace(
            real.info,
            holds=('latent', 'label', 'image', 'real_row', 'train_image', 'train_row'),
            fingerprint=fingerprint(
                real.info.fingerprint, self._train.info.fingerprint, samples, latent
            ),
        )

    def __len__(self) -> int:
        return len(self._latents)

    def __getitem__(self, row: int) -> Example:
        real_row = self._spread(row, len(self._real))
        train_row = self._spread(row, len(self._train))
        return {
            'latent': self._latents[row],
            'label': self._label(row),
            'image': self._real[real_row]['image'],
            'real_row': np.int32(real_row),
            'train_image': self._train[train_row]['image'],
            'train_row': np.int32(train_row),
        }

    def labels(self) -> Int[np.ndarray, 'n']:
        return np.array([self._label(row) for row in range(len(self))])

    def where(self, row: int) -> str:
        real_row = self._spread(row, len(self._real))
        train_row = self._spread(row, len(self._train))
        return f'{self._real.where(real_row)} or {self._train.where(train_row)}'

    def _label(self, row: int) -> np.int32:
        walk = max(row - self._samples, 0) // WALK_STEPS
        number = row if row < self._samples else walk
        return np.int32(number % max(len(self.info.class_names), 1))

    def _spread(self, row: int, examples: int) -> int:
        """The example beside a row: all in turn, or an even choice of more."""
        if examples <= self._samples:
            return row % examples
        return row % self._samples * examples // self._samples


def _latents(samples: int, size: int) -> Float[np.ndarray, 'n z']:
    """Independent latents, then walks along great circles, which keep a latent's length."""
    normal = keys.host(0, 'latents').standard_normal((samples + 2 * WALKS, size))
    ends = normal[samples:].reshape(WALKS, 2, 1, size)
    angle = np.linspace(0, np.pi / 2, WALK_STEPS)[:, None]
    walks = np.cos(angle) * ends[:, 0] + np.sin(angle) * ends[:, 1]
    latents = np.concatenate([normal[:samples], walks.reshape(-1, size)])
    return latents.astype(np.float32)
