"""A run with no setting but its data, beside scikit-learn's RBF SVM on the raw pixels.

    python tests/bench/against_svm.py --source fashion_mnist --dir DATA --config cnn resnet
    python tests/bench/against_svm.py --source fashion_mnist --dir DATA --held_out 5000
    python tests/bench/against_svm.py --source folder:PHOTOS
    python tests/bench/against_svm.py --source cifar10 --dir DATA --config cnn --whole \
        --per_class 1000

Without --whole, 2,000 training images of a TFDS or embedded source are first written as JPEGs of
different sizes, one folder a class, and those are the data; with --held_out, 1,600 of them and so
many others to evaluate on, which tell accuracies apart that differ by little. The SVM (C = 10, the
better of 1 and 10 on the embedded digits) sees the same split, stretched to 32 pixels; its time
grows with the square of the images, and --per_class leaves both as many.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.svm import SVC

from jaxvision.core import config as configs
from jaxvision.data import decode, resizing
from jaxvision.data.sources import open_source

ROOT = Path(__file__).parents[2]


def write_folder(source, folder: Path, *parts: tuple[str, int]) -> None:
    """Each part's number of images as JPEGs between 1 and 4 times their size, height and width
    apart."""
    rng = np.random.default_rng(0)
    names = np.repeat(*zip(*parts, strict=True))
    for row, name in zip(rng.permutation(len(source)).tolist(), names, strict=False):
        example = source[row]
        image = decode.decode(example['image'], source.info.image_shape[-1])
        height, width = (int(side * rng.uniform(1, 4)) for side in image.shape[:2])
        place = (
            folder
            / name
            / source.info.class_names[int(example['label'])].replace('/', '_')
        )
        place.mkdir(parents=True, exist_ok=True)
        pixels = resizing.resize(image, height, width)
        Image.fromarray(pixels.squeeze()).save(place / f'{row}.jpg', quality=90)


def svm_accuracy(data) -> float:
    arrays = []
    for split in ('train', 'test'):
        source = open_source(data, split)
        channels = source.info.image_shape[-1]
        images = [
            decode.stretch(source[row]['image'], 32, channels)
            for row in range(len(source))
        ]
        arrays.append(
            (np.stack(images).reshape(len(source), -1) / 255, source.labels())
        )
    return SVC(C=10).fit(*arrays[0]).score(*arrays[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--source', required=True)
    parser.add_argument('--dir', default='')
    parser.add_argument('--config', nargs='+', default=['cnn', 'resnet'])
    parser.add_argument(
        '--whole', action='store_true', help='the data set itself, no folder'
    )
    parser.add_argument(
        '--per_class', type=int, default=0, help='training images; 0: all'
    )
    parser.add_argument(
        '--held_out', type=int, default=0, help='0: a fifth of the 2,000'
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = configs.default('classification').data
        data.source, data.dir, data.per_class = (
            options.source,
            options.dir,
            options.per_class,
        )
        if not options.whole and not options.source.startswith('folder:'):
            folder, number = Path(scratch) / 'images', options.held_out
            write_folder(
                open_source(data, 'train'),
                folder,
                *((('train', 1600), ('val', number)) if number else (('', 2000),)),
            )
            data.source, data.dir, data.per_class = f'folder:{folder}', '', 0
        print(f'RBF SVM on raw pixels: {svm_accuracy(data):.4f}', flush=True)
        for name in options.config:
            chosen = f':{data.source}' if options.whole else ''
            subprocess.run(
                [
                    sys.executable,
                    '-m',
                    'jaxvision.main',
                    '--config',
                    str(ROOT / f'configs/{name}.py') + chosen,
                    f'--config.data.source={data.source}',
                    f'--config.data.dir={data.dir}',
                    f'--config.data.per_class={data.per_class}',
                    '--workdir',
                    f'{scratch}/{name}',
                ],
                check=True,
                cwd=ROOT,
            )


if __name__ == '__main__':
    main()
