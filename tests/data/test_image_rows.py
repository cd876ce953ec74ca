"""Rows of large images, read in parts: the pixels are those of the whole image."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxvision.data import decode, image_rows
from jaxvision.data.protocol import Unreadable

PIXELS = np.random.default_rng(0).integers(0, 255, (70, 53, 3), np.uint8)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Read in parts what would be read at once because it is small."""
    monkeypatch.setattr(image_rows, '_SMALL', 100)
    monkeypatch.setattr(image_rows, '_SOME', 53 * 20)
    monkeypatch.setattr('PIL.TiffImagePlugin.STRIP_SIZE', 53 * 20)


def in_parts(path, channels=3):
    rows = image_rows.open_rows(str(path), channels)
    assert rows.parts is not None
    parts = list(rows.strips())
    assert len(parts) > 1
    joined = np.concatenate(parts)
    assert joined.shape[:2] == rows.size
    return joined


@pytest.mark.parametrize('compression', [None, 'tiff_lzw', 'packbits', 'jpeg'])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK', 'RGBA', 'I;16'])
def test_strips_hold_the_pixels_of_the_whole_image(tmp_path, compression, mode):
    image = Image.fromarray(PIXELS)
    if mode == 'I;16':
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
        if compression == 'jpeg':
            return
    else:
        image = image.convert(mode)
    image.save(tmp_path / 'a.tif', compression=compression)
    whole = decode.decode(tmp_path / 'a.tif', 3)
    np.testing.assert_array_equal(in_parts(tmp_path / 'a.tif'), whole)


@pytest.mark.parametrize(
    'options',
    [
        {'tile': (16, 32)},
        {'tile': (16, 32), 'compression': 'zlib', 'predictor': True},
        {'rowsperstrip': 9, 'bigtiff': True},
        {'rowsperstrip': 9, 'byteorder': '>'},
        {'rowsperstrip': 9, 'compression': 'zlib'},
    ],
)
@pytest.mark.parametrize('pixels', [PIXELS, PIXELS[..., 0].astype(np.uint16) * 200])
def test_tiles_hold_the_pixels_of_the_whole_image(tmp_path, options, pixels):
    tifffile.imwrite(tmp_path / 'a.tif', pixels, metadata=None, **options)
    whole = decode.decode(tmp_path / 'a.tif', 1)
    np.testing.assert_array_equal(in_parts(tmp_path / 'a.tif', 1), whole)


def test_a_tiff_may_be_larger_than_the_limit_of_pillow(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', PIXELS, metadata=None, rowsperstrip=9)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1100)
    np.testing.assert_array_equal(in_parts(tmp_path / 'a.tif'), PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / 'a.png')
    with pytest.raises(Unreadable, match='pixels'):
        image_rows.open_rows(str(tmp_path / 'a.png'), 3)


@pytest.mark.parametrize('orientation', [1, 6])
def test_other_images_are_read_at_once_and_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / 'a.tif', compression='tiff_lzw', exif=exif)
    rows = image_rows.open_rows(str(tmp_path / 'a.tif'), 3)
    assert (rows.parts is None) == (orientation == 6)
    joined = np.concatenate(list(rows.strips()))
    np.testing.assert_array_equal(joined, decode.decode(tmp_path / 'a.tif', 3))


def test_damaged_files_say_what_is_wrong(tmp_path):
    tifffile.imwrite(
        tmp_path / 'a.tif', PIXELS, metadata=None, rowsperstrip=9, compression='zlib'
    )
    data = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(data[: len(data) // 2])
    with pytest.raises(Unreadable):
        image_rows.open_rows(str(tmp_path / 'a.tif'), 3)
    damaged = bytearray(data)
    damaged[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / 'b.tif').write_bytes(damaged)
    with pytest.raises(Unreadable):
        list(image_rows.open_rows(str(tmp_path / 'b.tif'), 3).strips())
    for name in ('missing.tif', '.'):
        with pytest.raises(Unreadable):
            image_rows.open_rows(str(tmp_path / name), 3)


@pytest.mark.parametrize('step', [1, 7, 70])
def test_a_window_gives_rows_by_their_numbers(step):
    strips = (PIXELS[top : top + step] for top in range(0, 70, step))
    window = image_rows.Window(strips)
    for top, bottom in ((0, 20), (13, 30), (30, 31), (50, 80)):
        np.testing.assert_array_equal(window.rows(top, bottom), PIXELS[top:bottom])
