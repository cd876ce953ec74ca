"""Grey of 16 bits is stretched before it becomes 8 bits, whole or in parts."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.exposure import rescale_intensity

from jaxvision.data import decode, depth, image_rows
from jaxvision.image import contrast

# As of a camera of 12 bits: 65535 is far from the brightest.
GREY = np.random.default_rng(0).integers(100, 3000, (70, 53)).astype(np.uint16)


def stretched_by_scikit_image(values):
    limits = np.percentile(values, (0.5, 99.5), method='inverted_cdf')
    return rescale_intensity(values.astype(float), tuple(limits), (0, 255))


def encoded(form):
    file = io.BytesIO()
    if form == 'png':
        Image.fromarray(GREY).save(file, 'PNG')
    elif form == 'inverted tiff':
        tifffile.imwrite(file, 65535 - GREY, metadata=None, photometric='miniswhite')
    else:
        tifffile.imwrite(file, GREY, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize('form', ['png', 'tiff', 'inverted tiff'])
def test_few_levels_of_many_keep_their_differences(form):
    data = encoded(form)
    pixels = depth.stretched(data, 1)
    assert np.abs(pixels[..., 0] - stretched_by_scikit_image(GREY)).max() <= 0.51
    assert len(np.unique(pixels)) == 256
    # Without stretching, 65535 is white.
    linear = decode.decode(data, 1)
    assert np.abs(linear[..., 0] - GREY / 257).max() <= 0.51
    colour = depth.stretched(data, 3)
    assert (colour == pixels).all() and colour.shape[-1] == 3


def test_images_of_8_bits_are_stretched_as_before():
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(30, 90, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, 'PNG')
    expected = contrast.stretch(pixels)
    np.testing.assert_array_equal(depth.stretched(file.getvalue(), 3), expected)
    np.testing.assert_array_equal(depth.stretched(pixels, 3), expected)


@pytest.mark.parametrize(
    'options', [{'tile': (16, 32)}, {'rowsperstrip': 9}, {'rowsperstrip': 70}]
)
def test_a_file_in_parts_is_stretched_as_a_whole(tmp_path, monkeypatch, options):
    path = str(tmp_path / 'a.tif')
    tifffile.imwrite(path, GREY, metadata=None, **options)
    whole = image_rows.open_rows(path, 3, stretch=True)
    monkeypatch.setattr(image_rows, '_SMALL', 100)
    monkeypatch.setattr(image_rows, '_SOME', 53 * 20)
    parts = image_rows.open_rows(path, 3, stretch=True)
    assert whole.is_stretched and whole.parts is None
    assert parts.is_stretched and parts.parts is not None
    np.testing.assert_array_equal(np.concatenate(list(parts.strips())), whole.pixels)
    np.testing.assert_array_equal(whole.pixels, depth.stretched(path, 3))


def test_numbers_of_unknown_range_are_not_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(image_rows, '_SMALL', 100)
    path = str(tmp_path / 'a.tif')
    for values in (GREY.astype(np.int16), GREY.astype(np.float32)):
        tifffile.imwrite(path, values, metadata=None, rowsperstrip=9)
        rows = image_rows.open_rows(path, 1, stretch=True)
        np.testing.assert_array_equal(rows.pixels, decode.decode(path, 1))
