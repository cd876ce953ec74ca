"""Contrast that is stretched to the whole range."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.exposure import rescale_intensity

from jaxvision.image import contrast


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**16), st.integers(0, 200), st.integers(2, 56))
def test_it_is_scikit_images_rescaling_between_two_percentiles(seed, least, spread):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(least, least + spread, (40, 50, 3)).astype(np.uint8)
    limits = np.percentile(pixels, (0.5, 99.5), method='inverted_cdf')
    if limits[0] == limits[1]:
        return
    expected = rescale_intensity(pixels, tuple(limits), (0, 255))
    found = contrast.stretch(pixels).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert found.min() == 0
    assert found.max() == 255


@given(st.integers(0, 255))
def test_an_image_of_one_value_stays(value):
    pixels = np.full((4, 5, 1), value, np.uint8)
    np.testing.assert_array_equal(contrast.stretch(pixels), pixels)


def test_parts_of_an_image_give_the_table_of_the_whole():
    pixels = np.random.default_rng(0).integers(10, 60, (30, 20, 3)).astype(np.uint8)
    parts = contrast.histogram(pixels[:7]) + contrast.histogram(pixels[7:])
    np.testing.assert_array_equal(
        contrast.stretching(parts)[pixels], contrast.stretch(pixels)
    )
