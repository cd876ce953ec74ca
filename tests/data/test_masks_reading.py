"""Masks keep the numbers that their files store."""

import io

import numpy as np
import pytest
from helpers.mask_files import png
from PIL import Image

from jaxvision.data import masks_reading
from jaxvision.data.protocol import Unreadable

PALETTE = bytes(range(48))


def saved(pixels, kind='PNG', **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    'data, kind, values',
    [
        (png(1, 0, [b'\xa0'], 4), 'bytes', [1, 0, 1, 0]),
        (png(2, 0, [b'\x1b'], 4), 'bytes', [0, 1, 2, 3]),
        (png(4, 0, [b'\x01\x2f'], 4), 'bytes', [0, 1, 2, 15]),
        (png(8, 0, [b'\0\1\xff'], 3), 'bytes', [0, 1, 255]),
        (png(4, 3, [b'\x01\x2f'], 4, PALETTE), 'bytes', [0, 1, 2, 15]),
        (png(8, 4, [b'\7\0\x11\xff'], 2), 'bytes', [7, 17]),
        (png(16, 0, [b'\1\2\0\3\xff\xff'], 3), 'numbers', [258, 3, 65535]),
        (png(8, 2, [b'\1\2\3\0\0\5'], 2), 'colors', [0x010203, 5]),
        (png(8, 6, [b'\1\2\3\0\0\0\5\xff'], 2), 'colors', [0x010203, 5]),
    ],
)
def test_all_kinds_of_png(data, kind, values):
    mask = masks_reading.read(data)
    assert mask.kind == kind
    assert mask.values.tolist() == [values]


@pytest.mark.parametrize('kind', ['BMP', 'GIF', 'TIFF'])
def test_other_lossless_formats_keep_the_numbers(kind):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(values)
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    assert np.array_equal(masks_reading.read(saved(image, kind)).values, values)


def test_a_tiff_of_many_bits():
    for dtype in (np.uint16, np.int32):
        values = np.array([[0, 40000]], dtype)
        mask = masks_reading.read(saved(values, 'TIFF'))
        assert mask.kind == 'numbers' and mask.values.tolist() == [[0, 40000]]


def test_palettes_may_be_read_as_colors():
    data = png(4, 3, [b'\x01\x2f'], 4, PALETTE)
    mask = masks_reading.read(data, palette_colors=True)
    assert mask.kind == 'colors'
    assert mask.values.tolist() == [[0x000102, 0x030405, 0x060708, 0x2D2E2F]]
    grey = masks_reading.read(png(8, 0, [b'\7'], 1), palette_colors=True)
    assert grey.values.tolist() == [[0x070707]]


def test_a_mask_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(np.array([[1, 2, 3]], np.uint8), exif=exif)
    assert masks_reading.read(data).values.tolist() == [[1], [2], [3]]


def frames(kind):
    pages = [Image.fromarray(np.full((2, 2), n, np.uint8)) for n in (0, 200)]
    return saved(pages[0], kind, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    'data, message',
    [
        (saved(np.zeros((8, 8), np.uint8), 'JPEG'), 'a JPEG file, which may change'),
        (saved(np.zeros((8, 8, 3), np.uint8), 'WEBP'), 'a WEBP file, which may change'),
        (frames('GIF'), 'several pages'),
        (frames('TIFF'), 'several pages'),
        (png(16, 2, [b'\1\2\3\4\5\6'], 1), 'several channels of 16 bits'),
        (png(16, 4, [b'\1\2\3\4'], 1), 'several channels of 16 bits'),
        (saved(np.zeros((2, 2), np.float32), 'TIFF'), 'its pixels are F'),
        (saved(np.full((2, 2), -1, np.int32), 'TIFF'), 'negative values'),
        (saved(Image.new('CMYK', (2, 2)), 'TIFF'), 'its pixels are CMYK'),
        (saved(Image.new('L', (2, 2)), 'TIFF', tiffinfo={262: 0}), '0 is white'),
        (png(8, 0, [b'\0\1\xff'], 3)[:45], 'truncated'),
        (b'P6 1 1 255 abc', 'a PPM file'),
        (b'text', 'no image in a format'),
        (b'', 'no image in a format'),
    ],
)
def test_what_would_change_numbers_is_refused(data, message):
    with pytest.raises(Unreadable, match=message):
        masks_reading.read(data)


@pytest.mark.parametrize('dtype', [np.uint8, np.int32])
def test_values_are_counted(dtype):
    values = np.random.default_rng(0).integers(0, 6, (30, 20)).astype(dtype)
    values[values == 4] = 200
    unique, pixels = np.unique(values, return_counts=True)
    expected = dict(zip(unique.tolist(), pixels.tolist(), strict=True))
    assert masks_reading.counts(values) == expected
