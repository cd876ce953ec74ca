"""What a generator is evaluated on: draws of latents and labels, beside real images.

Row i of `samples` has latent i, label i modulo the classes, a real image of the evaluation's split
and one of training's; the rows behind them walk from one latent to another.
"""

import dataclasses

import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Example, RowSource, Source, fingerprint
from jaxvision.data.sources import open_source
from jaxvision.metrics import generative
from jaxvision.viz import figures

WALKS, STEPS = 8, 10  # interpolations that are drawn, and their images
MOST_COMPARED = 1000  # of each kind, in precision and recall
FEWEST = 4  # of each kind: an image and its three nearest neighbours


class Draws(RowSource):
    """A source of `samples` + WALKS * STEPS rows: latents and labels beside real images.

    An example holds 'latent' float32 [Z], 'label' int32, 'image' of the evaluated split and
    'train_image' of the training split. 'real_row' and 'train_row' tell which images they are.
    """

    def __init__(self, real: Source, data, samples: int, latent: int):
        """Describe the rows.

        Args:
            real: the split that is evaluated.
            data: the config's `data`, which names the training split.
            samples: the number of independent latents.
            latent: the size Z of a latent.

        Raises:
            UserError: A split has fewer than FEWEST images.
        """
        self._real = real
        self._train = open_source(data, 'train')
        if min(len(real), len(self._train)) < FEWEST:
            raise UserError(
                f'{len(self._train)} images to train on and {len(real)} to test on: of '
                f'each {FEWEST} are needed, to compare their features'
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
        real = _spread(row, self._samples, len(self._real))
        trained = _spread(row, self._samples, len(self._train))
        return {
            'latent': self._latents[row],
            'label': self._label(row),
            'image': self._real[real]['image'],
            'real_row': np.int32(real),
            'train_image': self._train[trained]['image'],
            'train_row': np.int32(trained),
        }

    def labels(self):
        return np.array([self._label(row) for row in range(len(self))])

    def _label(self, row: int) -> np.int32:
        walk = max(row - self._samples, 0) // STEPS
        number = row if row < self._samples else walk
        return np.int32(number % max(len(self.info.class_names), 1))

    def where(self, row: int) -> str:
        real = self._real.where(_spread(row, self._samples, len(self._real)))
        return f"{real}, or training's"


def _spread(row: int, rows: int, examples: int) -> int:
    """The example of a row: all in turn, or evenly some of more."""
    return row % examples if examples <= rows else row % rows * examples // rows


def _latents(samples: int, size: int) -> np.ndarray:
    """Independent ones, then walks along great circles, whose lengths are those of such latents."""
    normal = keys.host(0, 'latents').standard_normal((samples + 2 * WALKS, size))
    ends = normal[samples:].reshape(WALKS, 2, 1, size)
    angle = np.linspace(0, np.pi / 2, STEPS)[:, None]
    walks = np.cos(angle) * ends[:, 0] + np.sin(angle) * ends[:, 1]
    return np.concatenate([normal[:samples], walks.reshape(-1, size)]).astype(
        np.float32
    )


def summarize(
    samples: int, conditional: bool, judge_hash: str, records: dict
) -> dict[str, float]:
    """Frechet and kernel distance of generated images from real ones, by the judge's features
    ('_cnn') and, where they are recorded, Inception's; precision and recall by the judge's; each
    beside its floor, that of real training images; and how often the judge says the class that was
    asked for."""
    rows = records['index'] < samples
    found = {}
    for network in ('_cnn', ''):
        if f'fake{network}' not in records:
            continue
        real = _once(records[f'real{network}'][rows], records['real_row'][rows])
        trained = _once(records[f'trained{network}'][rows], records['train_row'][rows])
        for prefix, images in (
            ('', records[f'fake{network}'][rows]),
            ('floor_', trained),
        ):
            found[f'{prefix}fid{network}'] = generative.frechet_distance(real, images)
            found[f'{prefix}kid{network}'] = generative.kernel_distance(real, images)
            if network == '_cnn':
                found[f'{prefix}precision'], found[f'{prefix}recall'] = (
                    generative.precision_recall(_some(real), _some(images), k=3)
                )
    if conditional:
        right = records['said'][rows] == records['label'][rows]
        found['conditional_accuracy'] = float(right.mean())
    # A number, as all metrics are: the first 24 bits, which float32 holds.
    found['judge_hash'] = int(judge_hash[:6] or '0', 16)
    return found


def _once(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return features[np.unique(rows, return_index=True)[1]]


def _some(features: np.ndarray) -> np.ndarray:
    """At random: every so many rows would be every so many classes."""
    order = keys.host(0, 'compared').permutation(len(features))
    return features[np.sort(order[:MOST_COMPARED])]


def draw(
    samples: int, class_names: list[str], records: dict, example
) -> dict[str, np.ndarray]:
    """Samples, a class a column; walks between latents; samples beside their nearest training
    images, in the judge's eyes."""
    columns = len(class_names) if 1 < len(class_names) <= 20 else 10
    images = records['sample']
    some = np.linspace(0, samples - 1, 12).astype(int)
    near = generative.nearest(
        records['fake_cnn'][some], records['trained_cnn'][:samples]
    )
    pairs = [*images[some], *records['train_image'][near]]
    times = max(1, 96 // images.shape[1])
    return {
        'samples': figures.grid(
            list(images[: min(samples, 10 * columns)]), columns, times
        ),
        'walks': figures.grid(list(images[samples:]), STEPS, times),
        'nearest': figures.grid(pairs, len(some), times),
    }
