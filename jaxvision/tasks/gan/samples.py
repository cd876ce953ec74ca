"""The source on which a generator is evaluated: latents and labels with real images."""

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

# Number of interpolations between two latents.
WALKS = 8
# Number of images in an interpolation.
WALK_STEPS = 10
# Smallest number of images in a split: an image and its three nearest neighbours.
FEWEST = 4


class SampleRows(RowSource):
    """A source of independent latents, then of interpolated latents, with real images.

    There are `samples` independent and WALKS * WALK_STEPS interpolated latents. A row has
    'latent' float32 [Z] and 'label' int32. It also has an 'image' of the evaluated split, a
    'train_image' of the training split, and their rows 'real_row' and 'train_row'.
    Splits with at most `samples` images are repeated in order, others give evenly
    spaced images. Consecutive samples and consecutive interpolations have consecutive
    classes. All images of an interpolation have one class. Latents do not depend on
    the seed of the run. Without classes, 'label' is 0.
    """

    def __init__(self, real: Source, data: Config, samples: int, latent: int):
        """Generate the latents and open the training split.

        Args:
            real: the evaluated split.
            data: `config.data`, by which the training split is opened.
            samples: number of independent latents.
            latent: size of a latent.

        Raises:
            UserError: A split has fewer than `FEWEST` images.
        """
        self._real = real
        self._train = open_source(data, 'train')
        if min(len(real), len(self._train)) < FEWEST:
            raise UserError(
                f'data.source={data.source}: expected at least {FEWEST} images in each '
                f'split, but the training split has {len(self._train)} and the evaluated '
                f'split {len(real)}. Choose larger splits.'
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
        """Return the label of each row: the class that is requested, not that of 'image'."""
        return np.array([self._label(row) for row in range(len(self))])

    def where(self, row: int) -> str:
        """Name both images of a row, 'EVALUATED or TRAINING', for error messages."""
        real_row = self._spread(row, len(self._real))
        train_row = self._spread(row, len(self._train))
        return f'{self._real.where(real_row)} or {self._train.where(train_row)}'

    def _label(self, row: int) -> np.int32:
        number = row
        if row >= self._samples:
            number = (row - self._samples) // WALK_STEPS
        classes = max(len(self.info.class_names), 1)
        return np.int32(number % classes)

    def _spread(self, row: int, examples: int) -> int:
        """Choose a real image for a row: all images in order, or evenly spaced ones of many."""
        if examples <= self._samples:
            return row % examples
        return row % self._samples * examples // self._samples


def _latents(samples: int, size: int) -> Float[np.ndarray, 'n z']:
    """Generate independent latents, then interpolations between pairs of latents.

    The interpolations are along great circles, which keep the length of a latent.
    """
    normal = keys.host(0, 'latents').standard_normal((samples + 2 * WALKS, size))
    ends = normal[samples:].reshape(WALKS, 2, 1, size)
    angle = np.linspace(0, np.pi / 2, WALK_STEPS)[:, None]
    first = ends[:, 0]
    last = ends[:, 1]
    walks = np.cos(angle) * first + np.sin(angle) * last
    latents = np.concatenate([normal[:samples], walks.reshape(-1, size)])
    return latents.astype(np.float32)
