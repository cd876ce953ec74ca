"""Pixels that Pillow misreads are decoded right, or the file is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.exposure import rescale_intensity

from jaxvision.data import decode, headers
from jaxvision.data.protocol import Unreadable

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (13, 17), np.uint16)
COLOUR = RNG.integers(0, 65536, (13, 17, 3), np.uint16)
ALPHA = RNG.integers(0, 65536, (13, 17, 1), np.uint16)
CONTIGUOUS = {'photometric': 'minisblack', 'planarconfig': 'contig'}
IN_PLANES = {'photometric': 'minisblack', 'planarconfig': 'separate'}


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def in_planes(pixels, **options):
    planes = np.moveaxis(pixels, -1, 0).copy()
    return tiff(planes, photometric='rgb', planarconfig='separate', **options)


def png(rows, bits, color_type, transparent):
    """A PNG by the letter of its standard; `rows` are packed bytes [h, n]."""

    def chunk(name, body):
        check = struct.pack('>I', zlib.crc32(name + body))
        return struct.pack('>I', len(body)) + name + body + check

    height = len(rows)
    channels = {0: 1, 2: 3}[color_type]
    width = rows.shape[1] * 8 // (bits * channels)
    head = struct.pack('>IIBBBBB', width, height, bits, color_type, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'tRNS', struct.pack(f'>{channels}H', *transparent))
        + chunk(b'IDAT', zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
        + chunk(b'IEND', b'')
    )


def assert_decoded(data, reference, tolerance):
    """Compare the pixels with a reference [h, w, c] in [0, 1]."""
    pixels = decode.decode(data, reference.shape[-1])
    gap = np.abs(pixels - 255 * reference.astype(float))
    assert gap.max() <= tolerance


def over_white(colour, alpha):
    return colour * alpha + 1 - alpha


@pytest.mark.parametrize('layout', [{}, {'compression': 'zlib'}, {'tile': (16, 16)}])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_white_is_zero(dtype, layout):
    grey = GREY.astype(dtype)
    reference = 1 - grey[..., None] / np.iinfo(dtype).max
    assert_decoded(tiff(grey, photometric='miniswhite', **layout), reference, 0.51)


@pytest.mark.parametrize('byteorder', '<>')
@pytest.mark.parametrize(
    'layout',
    [{}, {'compression': 'zlib'}, {'tile': (16, 16)}, {'rowsperstrip': 4}],
    ids=str,
)
def test_planes_of_sixteen_bits(byteorder, layout):
    data = in_planes(COLOUR, byteorder=byteorder, **layout)
    assert_decoded(data, COLOUR / 65535, 1)
    with_alpha = np.concatenate([COLOUR, ALPHA], -1)
    data = in_planes(
        with_alpha, byteorder=byteorder, extrasamples=['unassalpha'], **layout
    )
    # Colours and alpha lose half a level each, and Pillow rounds their product once more.
    assert_decoded(data, over_white(COLOUR / 65535, ALPHA / 65535), 2)


def test_twelve_bits_are_scaled_by_their_own_range():
    numbers = np.arange(0, 4096, 64).reshape(4, 16)
    # Two numbers take three bytes, the higher bits first.
    bits = (numbers[..., None] >> np.arange(12)[::-1]) & 1
    packed = np.packbits(bits.reshape(4, -1).astype(np.uint8), axis=1).tobytes()
    tags = [
        (256, 16),
        (257, 4),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 4),
        (279, len(packed)),
    ]
    directory = struct.pack('<H', len(tags))
    for tag, value in tags:
        directory += struct.pack('<HHIHH', tag, 3, 1, value, 0)
    data = b'II*\0' + struct.pack('<I', 8 + len(packed)) + packed + directory + bytes(4)
    assert_decoded(data, numbers[..., None] / 4095, 0.51)


@pytest.mark.parametrize(
    'data, says',
    [
        (
            tiff(
                np.dstack([GREY, ALPHA]),
                photometric='minisblack',
                planarconfig='contig',
                extrasamples=['unassalpha'],
            ),
            'it has 2 channels: expected 1 or 3. Save the channels',
        ),
        (tiff(np.dstack([GREY] * 2), **CONTIGUOUS), 'it has 2 channels'),
        (tiff(np.dstack([GREY] * 5), **CONTIGUOUS), 'it has 5 channels'),
        (tiff(np.stack([GREY] * 4), **IN_PLANES), 'it has 4 channels'),
        (tiff(np.dstack([COLOUR, GREY, GREY]), photometric='rgb'), 'it has 5 channels'),
        (tiff(GREY.astype(np.int8)), 'signed integers'),
        (tiff(GREY.astype(np.complex64)), 'its pixels are complex64: expected numbers'),
        (tiff(np.full((9, 9), np.nan, np.float32)), 'it has no finite value'),
        (
            in_planes(np.concatenate([COLOUR, ALPHA], -1), extrasamples=['assocalpha']),
            'separate planes',
        ),
        (
            png(np.zeros((2, 12), np.uint8), 16, 2, (1, 2, 3)),
            'one of its colours of 16 bits is transparent',
        ),
    ],
    ids=[
        'grey and alpha',
        'two channels',
        'five channels',
        'four planes',
        'colour and two',
        'int8',
        'complex',
        'nan',
        'planes',
        'key of 16 bits',
    ],
)
def test_what_pillow_cannot_tell_is_refused_by_name(data, says):
    with pytest.raises(Unreadable, match=says):
        decode.decode(data, 3)


@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize(
    'kind', ['int16', 'int32', 'uint32', 'float16', 'float32', 'float64']
)
def test_a_tiff_of_unknown_range_is_scaled_by_its_percentiles(kind, byteorder):
    values = RNG.normal(500, 300, (40, 50))
    if kind == 'uint32':
        values = 2**31 + 1e6 * values  # Not in 31 bits.
    numbers = values.astype(kind)
    low, high = np.percentile(numbers, (0.5, 99.5))
    expected = rescale_intensity(numbers.astype(float), (low, high), (0, 1))
    assert_decoded(tiff(numbers, byteorder=byteorder), expected[..., None], 0.6)


def test_numbers_that_are_not_finite_are_black():
    numbers = np.linspace(-1, 1, 200, dtype=np.float32).reshape(10, 20)
    numbers[0, :2] = np.nan, np.inf
    pixels = decode.decode(tiff(numbers), 1)
    assert pixels[0, :2].tolist() == [[0], [0]] and pixels.max() == 255


def test_tiffs_that_pillow_does_not_know_are_decoded():
    inverted = tiff(GREY, photometric='miniswhite', byteorder='>')
    assert_decoded(inverted, (65535 - GREY[..., None]) / 65535, 0.51)
    colours = RNG.random((9, 8, 3)).astype(np.float32)
    low, high = np.percentile(colours, (0.5, 99.5))
    expected = np.clip((colours - low) / (high - low), 0, 1)
    assert_decoded(tiff(colours, photometric='rgb'), expected, 0.51)
    assert headers.size_of(tiff(colours, photometric='rgb')).upright == (9, 8)


def test_large_tiffs_that_pillow_does_not_know_are_refused(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 200)
    with pytest.raises(Unreadable, match='17x13 pixels are more than'):
        decode.decode(tiff(GREY.astype(np.float64)), 1)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('bits', [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white(bits, channels):
    most = 2**bits - 1
    numbers = np.arange(64).reshape(4, 16) * max(1, most // 64) % (most + 1)
    key = int(numbers[1, 3]) if bits > 1 else 0
    digits = (numbers[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(digits.reshape(4, -1).astype(np.uint8), axis=1)
    reference = np.where(numbers == key, 1, numbers / most)[..., None]
    assert (numbers == key).any() and (reference < 0.9).any() == (bits > 1)
    reference = np.repeat(reference, channels, -1)
    assert_decoded(png(rows, bits, 0, [key]), reference, 0.51)


def test_the_transparent_colour_of_a_png_is_white():
    colour = (COLOUR >> 8).astype(np.uint8)
    key = colour[2, 5]
    reference = np.where((colour == key).all(-1, keepdims=True), 1, colour / 255)
    assert_decoded(png(colour.reshape(13, -1), 8, 2, key), reference, 0.51)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('mode', ['LA', 'RGBA'])
def test_alpha_of_an_array_is_laid_over_white_as_that_of_a_file(mode, channels):
    pixels = RNG.integers(0, 256, (20, 30, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, 'PNG')
    data = file.getvalue()
    for read in (
        lambda image: decode.decode(image, channels),
        lambda image: decode.stretch(image, 16, channels),
        lambda image: decode.thumbnail(image, channels, 12),
    ):
        np.testing.assert_array_equal(read(pixels), read(data))
    if (mode, channels) in (('LA', 1), ('RGBA', 3)):
        numbers = pixels / 255
        reference = over_white(numbers[..., :-1], numbers[..., -1:])
        assert_decoded(pixels, reference, 1)
