"""Noise in the place of a data set: what the pipeline and the task ask of a source."""

import numpy as np

from jaxvision.data import pipeline
from jaxvision.data.noise import Noise
from jaxvision.data.protocol import Source

OPTIONS = dict(seed=0, batch_size=8, start=0, stop=5)


def test_noise_is_a_source_whose_rows_are_fixed():
    source = Noise(5, 3, 100)
    assert isinstance(source, Source) and len(source) == 100
    first, again, second = source[7], Noise(5, 3, 100)[7], source[8]
    assert first['image'].shape == source.info.image_shape == (5, 5, 3)
    assert first['image'].dtype == np.uint8 and first['label'].dtype == np.int32
    np.testing.assert_array_equal(first['image'], again['image'])
    assert (first['image'] != second['image']).any()
    assert set(source.labels()) == {0, 1, 2} and source.labels()[7] == first['label']


def test_noise_has_every_value_alike():
    pixels = np.stack(
        [example['image'] for example in Noise(16, 2, 64).read(range(64))]
    )
    counts = np.bincount(pixels.ravel(), minlength=256)  # 192 expected of each
    assert counts.min() > 120 and counts.max() < 270


def test_batches_without_threads_are_the_batches_of_threads():
    source = Noise(4, 3, 21)
    for batch, ahead in zip(
        pipeline.train_batches(source, None, threads=0, **OPTIONS),
        pipeline.train_batches(source, None, threads=2, **OPTIONS),
        strict=True,
    ):
        assert batch.keys() == ahead.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], ahead[name])
