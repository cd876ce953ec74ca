"""Transparency and colour profiles of images, kept or converted."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from scipy import ndimage

from jaxvision.data import decode, image_layers, resizing

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def encoded(image, format='PNG', **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def grey_profile(gamma):
    """An ICC profile (version 2) of grey with a power law, by the letter of its standard."""
    curve = b'curv' + bytes(4) + struct.pack('>IH', 1, round(256 * gamma))
    white = b'XYZ ' + bytes(4) + struct.pack('>3i', 63190, 65536, 54061)
    parts = {b'wtpt': white, b'kTRC': curve + bytes(-len(curve) % 4)}
    place = 128 + 4 + 12 * len(parts)
    table = struct.pack('>I', len(parts))
    for name, part in parts.items():
        table += name + struct.pack('>II', place, len(part))
        place += len(part)
    head = struct.pack('>I4xI4s4s4s', place, 0x02100000, b'mntr', b'GRAY', b'XYZ ')
    head += bytes(12) + b'acsp' + bytes(28) + struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + table + b''.join(parts.values())


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
def test_opaque_images_are_decoded_as_ever_and_keep_their_profile(format):
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    data = encoded(image, format, icc_profile=SRGB)
    found = image_layers.read(data, 3)
    np.testing.assert_array_equal(found.pixels, decode.decode(data, 3))
    assert found.alpha is None and not found.note and {*found.color} == {b'iCCP'}
    assert not image_layers.read(encoded(image, format), 3).color


@pytest.mark.parametrize(
    'mode, channels', [('RGBA', 3), ('LA', 3), ('LA', 1), ('P', 3), ('PA', 3)]
)
def test_colours_and_alpha_are_apart(mode, channels):
    pixels = RNG.integers(0, 256, (20, 30, 4), np.uint8)
    image = Image.fromarray(pixels)
    if mode == 'P':
        image = image.convert('RGB').quantize(16)
        data = encoded(image, transparency=3)
    else:
        image = image.convert(mode)
        data = encoded(image, 'TIFF' if mode == 'PA' else 'PNG')
    with Image.open(io.BytesIO(data)) as opened:
        reference = np.asarray(opened.convert('RGBA'))
    found = image_layers.read(data, channels)
    np.testing.assert_array_equal(found.pixels, reference[..., :3])
    np.testing.assert_array_equal(found.alpha, reference[..., 3])
    over_white = decode.decode(np.dstack([found.pixels, found.alpha]), 3)
    np.testing.assert_array_equal(over_white, decode.decode(data, 3))


def test_an_alpha_that_hides_nothing_is_none():
    pixels = np.full((8, 9, 4), 255, np.uint8)
    assert image_layers.read(encoded(Image.fromarray(pixels)), 3).alpha is None


def test_a_turned_image_has_a_turned_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = RNG.integers(0, 256, (8, 12, 4), np.uint8)
    found = image_layers.read(encoded(Image.fromarray(pixels), exif=exif), 3)
    np.testing.assert_array_equal(found.pixels, np.rot90(pixels[..., :3], -1))
    np.testing.assert_array_equal(found.alpha, np.rot90(pixels[..., 3], -1))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_grey_of_a_profile_becomes_srgb_or_keeps_it(gamma, dtype):
    most = np.iinfo(dtype).max
    ramp = np.linspace(0, most, 256).round().astype(dtype).reshape(16, 16)
    data = encoded(Image.fromarray(ramp), icc_profile=grey_profile(gamma))
    kept = image_layers.read(data, 1)
    assert not kept.note and b'iCCP' in kept.color
    np.testing.assert_array_equal(kept.pixels[..., 0].ravel(), np.arange(256))
    found = image_layers.read(data, 3)
    assert found.note == image_layers.CONVERTED and not found.color
    light = (np.arange(256) / 255) ** (round(256 * gamma) / 256)
    # IEC 61966-2-1.
    srgb = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    gap = np.abs(found.pixels.reshape(256, 3) - 255 * srgb[:, None])
    assert gap.max() <= 0.6


@pytest.mark.parametrize(
    'mode, profile',
    [
        ('CMYK', bytes(16) + b'CMYK' + bytes(200)),
        ('RGB', grey_profile(1.0)),
        ('CMYK', SRGB),
        ('RGB', b'no profile'),
    ],
)
def test_a_profile_that_is_none_of_the_image_is_left_out_and_said(mode, profile):
    pixels = RNG.integers(0, 256, (8, 9, 3), np.uint8)
    data = encoded(Image.fromarray(pixels).convert(mode), 'TIFF', icc_profile=profile)
    found = image_layers.read(data, 3)
    assert found.note == image_layers.LEFT_OUT and not found.color
    np.testing.assert_array_equal(found.pixels, decode.decode(data, 3))


def test_what_a_png_says_of_its_colours_is_kept():
    data = encoded(Image.fromarray(np.zeros((4, 5, 3), np.uint8)))
    body = b'gAMA' + struct.pack('>I', 100_000)
    chunk = struct.pack('>I', 4) + body + struct.pack('>I', zlib.crc32(body))
    found = image_layers.read(data[:33] + chunk + data[33:], 3)
    assert found.color == {b'gAMA': struct.pack('>I', 100_000)}


@pytest.mark.parametrize('channels', [1, 3])
def test_invisible_pixels_take_the_colour_beside_them(monkeypatch, channels):
    monkeypatch.setattr(image_layers, '_ROWS', 16)  # several strips
    y, x = np.mgrid[:60, :50]
    alpha = np.where(np.hypot(y - 30, x - 25) < 12, 255, 0).astype(np.uint8)
    alpha[0, 0] = 1
    pixels = RNG.integers(0, 256, (60, 50, channels), np.uint8)
    found = image_layers.without_invisible(pixels, alpha)
    visible = alpha > 0
    np.testing.assert_array_equal(found[visible], pixels[visible])
    box = np.ones((17, 17, 1))
    weights = ndimage.correlate(visible[..., None] * 1.0, box, mode='mirror')
    sums = ndimage.correlate(pixels * visible[..., None] * 1.0, box, mode='mirror')
    near = ~visible & (weights[..., 0] > 0.5)
    gap = np.abs(found - sums / np.maximum(weights, 1))
    assert near.any() and gap[near].max() <= 0.51
    far = ~visible & ~near
    np.testing.assert_array_equal(found[far], pixels[far])


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_rows_of_alpha_join_to_the_whole(scale):
    alpha = RNG.integers(0, 256, (23, 17), np.uint8)
    whole = resizing.resize(alpha[..., None], 23 * scale, 17 * scale)[..., 0]
    for step in (1, 2, 5, 16, 200):
        tops = range(0, 23 * scale, step)
        rows = [
            image_layers.enlarged_rows(alpha, scale, top, min(top + step, 23 * scale))
            for top in tops
        ]
        np.testing.assert_array_equal(np.concatenate(rows), whole)
