"""Cells without learning: Otsu's threshold and a watershed of distances, by scikit-image.

    python tests/bench/otsu_watershed.py masks:FOLDER [SPLIT]

It prints the metrics of `configs/segmentation.py:masks:FOLDER,cells` for the images of a split
with instances. An image is thresholded by Otsu's method. Of the two sides of the threshold, the
one that covers less than half of the image is the foreground.
"""

import argparse

import numpy as np
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from jaxvision.core import config as configs
from jaxvision.data import decode, sources
from jaxvision.metrics import instances, segmentation

LEAST_DISTANCE = 5  # pixels between two peaks of the distance


def separate(pixels):
    """Find the cells of an image: the number of the object of each pixel."""
    grey = gaussian(rgb2gray(pixels), 1)
    foreground = grey > threshold_otsu(grey)
    if foreground.mean() > 0.5:
        foreground = ~foreground
    distance = ndimage.distance_transform_edt(foreground)
    peaks = peak_local_max(
        distance, min_distance=LEAST_DISTANCE, labels=ndimage.label(foreground)[0]
    )
    markers = np.zeros(grey.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=foreground).astype(np.int32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source')
    parser.add_argument('split', nargs='?', default='test')
    arguments = parser.parse_args()
    config = configs.load(f'segmentation:{arguments.source}')
    source = sources.open_source(config.data, arguments.split)
    confusions = []
    records = []
    for row in range(len(source)):
        example = source[row]
        found = separate(decode.decode(example['image'], 3))
        truth = example['instances']
        foreground = (found > 0).astype(np.uint8)
        confusions.append(segmentation.confusion(example['semantic'], foreground, 2))
        records.append(instances.record(truth, found))
    stacked = {name: np.stack([item[name] for item in records]) for name in records[0]}
    semantic = {'confusion': np.stack(confusions)}
    metrics = segmentation.summarize(source.info.semantic_names, semantic)
    metrics |= instances.summarize(stacked)
    for name, value in metrics.items():
        print(f'{name:20} {value:.4f}')


if __name__ == '__main__':
    main()
