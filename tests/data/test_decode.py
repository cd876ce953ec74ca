import io

import numpy as np
import pytest
import scipy.ndimage
import simplejpeg
from PIL import Image
from skimage import data as skimage_data

from jaxvision.data import decode, jpeg, resizing
from jaxvision.data.protocol import Unreadable

PHOTO = Image.fromarray(skimage_data.chelsea())  # 451 x 300


def encoded(image, format='JPEG', **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def mean_difference(ours, reference):
    assert ours.shape == np.shape(reference)
    return np.abs(ours.astype(float) - np.asarray(reference, float)).mean()


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP'])
def test_decodes_what_pillow_does(format):
    data = encoded(PHOTO, format)
    assert (
        mean_difference(
            decode.decode(data, 3), Image.open(io.BytesIO(data)).convert('RGB')
        )
        < 1
    )


@pytest.mark.parametrize('mode', ['L', 'CMYK'])
def test_decodes_other_jpegs(mode):
    data = encoded(PHOTO.convert(mode))
    assert (
        mean_difference(
            decode.decode(data, 3), Image.open(io.BytesIO(data)).convert('RGB')
        )
        < 1
    )


def test_a_sampling_that_simplejpeg_has_no_name_for():
    square = np.ascontiguousarray(np.asarray(PHOTO)[:64, :64])
    data = simplejpeg.encode_jpeg(square, colorsubsampling='411')
    data = data.replace(
        b'\x01\x41\0', b'\x01\x14\0', 1
    )  # blocks of 1 x 4 in the place of 4 x 1
    assert mean_difference(decode.decode(data, 3), Image.open(io.BytesIO(data))) == 0


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
def test_grey_is_luma(format):
    grey = decode.decode(
        encoded(PHOTO, format, **({'quality': 95} if format == 'JPEG' else {})), 1
    )
    assert mean_difference(grey[..., 0], PHOTO.convert('L')) < 1


@pytest.mark.parametrize(
    'orientation, turn',
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: np.rot90(np.fliplr(a))),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(np.fliplr(a), -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = PHOTO.crop((0, 0, 448, 288))
    data, straight = encoded(photo, exif=exif), encoded(photo)
    assert (
        mean_difference(decode.decode(data, 3), turn(decode.decode(straight, 3))) == 0
    )
    # Decoded to a half: the centre of a turned image is the turned centre.
    crop, reference = (
        decode.resize_center_crop(jpeg, 60, 3) for jpeg in (data, straight)
    )
    assert mean_difference(crop, turn(reference)) < 0.5


@pytest.mark.parametrize(
    'before',
    [b'', b'\xff\xff', b'\xff\xfe\0\x08Exif\0\0', b'\xff\xe2\xff\xff' + bytes(65533)],
    ids=['first', 'after filling', 'after a comment', 'after a long profile'],
)
def test_exif_is_found_wherever_it_stands(before):
    exif = Image.Exif()
    exif[0x0112] = 6
    straight = encoded(PHOTO.crop((0, 0, 9, 6)))
    segment = b'Exif\0\0' + exif.tobytes().removeprefix(b'Exif\0\0')
    segment = b'\xff\xe1' + (len(segment) + 2).to_bytes(2) + segment
    turned = straight[:2] + before + segment + straight[2:]
    assert decode.decode(turned, 3).shape == (9, 6, 3)
    assert decode.decode(straight[:2] + before + straight[2:], 3).shape == (6, 9, 3)


def test_sixteen_bits_are_scaled():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(
        decode.decode(encoded(Image.fromarray(ramp), 'PNG'), 1)[..., 0].ravel(),
        np.arange(256),
    )


def test_transparency_is_laid_over_white():
    clear = Image.new('RGBA', (2, 2), (255, 0, 0, 0))
    half = Image.new('RGBA', (2, 2), (0, 0, 0, 128))
    assert (decode.decode(encoded(clear, 'PNG'), 3) == 255).all()
    assert (decode.decode(encoded(half, 'PNG'), 3) == 127).all()


def test_palette_with_a_transparent_colour():
    image = Image.new('P', (2, 2), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert (decode.decode(encoded(image, 'PNG'), 3) == (0, 0, 255)).all()
    assert (decode.decode(encoded(image, 'PNG', transparency=1), 3) == 255).all()


@pytest.mark.parametrize(
    'data, message',
    [
        (encoded(PHOTO)[:9000], 'truncated'),
        (encoded(PHOTO, 'PNG')[:9000], 'truncated'),
        (encoded(PHOTO)[:100], 'Truncated'),
        (b'', 'no image'),
        (b'not an image', 'no image'),
    ],
)
@pytest.mark.parametrize(
    'read',
    [
        lambda data: decode.decode(data, 3),
        lambda data: decode.resize_center_crop(data, 32, 3),
    ],
)
def test_damage_is_unreadable(data, message, read):
    with pytest.raises(Unreadable, match=message):
        read(data)


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
def test_bombs_are_refused(monkeypatch, format):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100_000)
    with pytest.raises(Unreadable, match='451x300'):
        decode.decode(encoded(PHOTO, format), 3)


def test_stray_bytes_between_markers_are_tolerated():
    data = encoded(PHOTO)
    assert (
        mean_difference(decode.decode(data[:-2] + b'\0\0\0' + data[-2:], 3), PHOTO) < 5
    )


@pytest.mark.parametrize(
    'height, width',
    [(300, 451), (290, 440), (224, 224), (150, 225), (97, 141), (32, 32), (600, 700)],
)
def test_resize_is_near_pillow(height, width):
    reference = PHOTO.resize((width, height), Image.Resampling.BILINEAR)
    assert (
        mean_difference(resizing.resize(np.asarray(PHOTO), height, width), reference)
        < 0.8
    )


def test_resize_does_not_alias():
    stripes = np.zeros((128, 128, 1), np.uint8)
    stripes[:, ::2] = 255  # at the Nyquist limit: grey is all that may be left of them
    assert resizing.resize(stripes, 70, 70).std() < 0.15 * stripes.std()


@pytest.mark.parametrize('channels', [1, 3])
def test_an_affine_map_is_that_of_scipy(channels):
    image = skimage_data.astronaut()[:60, :80, :channels]
    matrix = np.array([[0.9, -0.3, 12.4], [0.35, 1.1, -7.7]])
    moved = resizing.map_affine(image, matrix, (50, 70), 114)
    back = np.linalg.inv(matrix[:, :2])
    # SciPy's (0, 0) is the centre of the first pixel.
    offset = back @ (0.5 - matrix[:, 2]) - 0.5
    for channel in range(channels):
        expected = scipy.ndimage.affine_transform(
            image[..., channel].astype(np.float64),
            back,
            offset,
            output_shape=(50, 70),
            order=1,
            mode='grid-constant',
            cval=114,
        )
        # OpenCV rounds coordinates to 1/32 pixel.
        difference = np.abs(moved[..., channel] - expected)
        assert difference.mean() < 1 and np.quantile(difference, 0.99) < 5


@pytest.mark.parametrize('size', [16, 32, 70, 150])
def test_center_crop_is_near_pillow(size):
    short = 300 * 0.875
    box = ((451 - short) / 2, (300 - short) / 2, (451 + short) / 2, (300 + short) / 2)
    reference = PHOTO.resize((size, size), Image.Resampling.BILINEAR, box)
    ours = decode.resize_center_crop(encoded(PHOTO, quality=95), size, 3)
    assert mean_difference(ours, reference) < 3


@pytest.mark.parametrize('size', [16, 70, 150])
@pytest.mark.parametrize('channels, mode', [(1, 'L'), (3, 'RGB')])
def test_stretch_is_near_pillow(size, channels, mode):
    reference = PHOTO.resize((size, size), Image.Resampling.BILINEAR).convert(mode)
    ours = decode.stretch(encoded(PHOTO, quality=95), size, channels)
    assert mean_difference(np.squeeze(ours), reference) < 2.5


def test_random_crop_from_a_jpeg_is_the_crop_of_its_pixels():
    data = encoded(PHOTO, quality=95)
    pixels = decode.decode(data, 3)
    for seed in range(20):
        fused = decode.random_resized_crop(data, np.random.default_rng(seed), 40, 3)
        whole = decode.random_resized_crop(pixels, np.random.default_rng(seed), 40, 3)
        assert mean_difference(fused, whole) < 6  # a box may move by a coarse pixel


@pytest.mark.parametrize(
    'options, cut',
    [
        ({}, True),
        ({'subsampling': 0}, True),
        ({'subsampling': 1}, True),
        ({'restart_marker_rows': 2}, True),
        ({'progressive': True}, False),
        (
            {
                'exif': b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0'
            },
            False,
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize('size', [20, 70, 150])  # decoded to a quarter, a half, whole
def test_rows_below_a_crop_are_neither_decoded_nor_missed(
    monkeypatch, options, cut, size
):
    data, heights = encoded(PHOTO, **options), []
    ending_at = jpeg._ending_at

    def crop(seed):
        return decode.random_resized_crop(data, np.random.default_rng(seed), size, 3)

    def watched(*arguments):
        heights.append(ending_at(*arguments)[1])
        return ending_at(*arguments)

    monkeypatch.setattr(jpeg, '_ending_at', watched)
    crops = [crop(seed) for seed in range(20)]
    assert (min(heights, default=300) < 200) == cut
    monkeypatch.setattr(jpeg, '_ending_at', lambda data, height, bottom: (data, height))
    np.testing.assert_array_equal(crops, [crop(seed) for seed in range(20)])


@pytest.mark.parametrize('options', [{}, {'restart_marker_rows': 1}], ids=str)
def test_a_crop_sees_that_a_file_is_cut_off_below_it(options):
    data = encoded(PHOTO, **options)

    def crop(data, seed):
        rng = np.random.default_rng(seed)
        return decode.random_resized_crop(data, rng, 32, 3, (0.1, 0.1))

    for seed in range(20):
        crop(data, seed)
        with pytest.raises(Unreadable, match='truncated'):
            crop(data[: -50 * (seed + 1)], seed)


def test_crop_boxes_follow_inception():
    rng = np.random.default_rng(0)
    boxes = np.array(
        [
            decode.crop_box(rng, 375, 500, (0.08, 1.0), (3 / 4, 4 / 3))
            for _ in range(4000)
        ]
    )
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 375).all() and (left + width <= 500).all()
    area, aspect = height * width / (375 * 500), width / height
    assert 0.075 < area.min() < 0.1 and area.max() > 0.9
    assert 0.74 < aspect.min() < 0.77 and 1.3 < aspect.max() < 1.35
    small = (
        area < 0.3
    )  # no box of these ever misses, so their law is the one drawn from
    assert abs(np.log(aspect[small]).mean()) < 0.02
    assert abs(np.log(aspect[small]).std() - np.log(16 / 9) / np.sqrt(12)) < 0.01


def test_a_box_that_cannot_fit_is_the_centre():
    rng = np.random.default_rng(0)
    assert decode.crop_box(rng, 100, 1000, (1.0, 1.0), (3 / 4, 4 / 3)) == (
        0,
        433,
        100,
        133,
    )
    assert decode.crop_box(rng, 1000, 100, (1.0, 1.0), (3 / 4, 4 / 3)) == (
        433,
        0,
        133,
        100,
    )


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
@pytest.mark.parametrize('most', [40, 100, 224, 451])
def test_a_thumbnail_is_near_pillows(format, most):
    data = encoded(PHOTO, format)
    small = Image.open(io.BytesIO(data)).convert('RGB')
    small = small.resize((most, round(300 * most / 451)), Image.Resampling.BILINEAR)
    ours = decode.thumbnail(data, 3, most)
    # A reduced JPEG is sharper, as in the crops above; so is what INTER_AREA makes.
    assert mean_difference(ours, small) < 4.5


def test_a_thumbnail_keeps_what_is_small_and_every_shape():
    small = encoded(PHOTO.crop((0, 0, 30, 20)), 'PNG')
    np.testing.assert_array_equal(
        decode.thumbnail(small, 3, 64), decode.decode(small, 3)
    )
    for width, height in ((20_000, 1), (1, 20_000), (3000, 40)):
        for format in ('JPEG', 'PNG'):
            data = encoded(Image.new('RGB', (width, height), 'red'), format)
            shape = decode.thumbnail(data, 3, 64).shape
            assert max(shape[:2]) == 64 and min(shape[:2]) >= 1
            assert decode.stretch(data, 32, 1).shape == (32, 32, 1)


def test_a_turned_thumbnail_is_turned_whole():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = PHOTO.crop((0, 0, 448, 288))
    turned, straight = (
        decode.thumbnail(data, 3, 112)
        for data in (encoded(photo, exif=exif), encoded(photo))
    )
    assert mean_difference(turned, np.rot90(straight, -1)) < 0.5


@pytest.mark.parametrize(
    'kind, value',
    [(2, b'6\0\0\0'), (3, b'\0\0\0\0'), (3, b'\0\x09\0\0'), (5, b'\xff\xff\xff\xff')],
)
@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
@pytest.mark.filterwarnings('ignore')
def test_an_orientation_that_is_none_is_upright(format, kind, value):
    entry = b'\x01\x12' + bytes([0, kind, 0, 0, 0, 2 if kind == 2 else 1]) + value
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01' + entry + bytes(4)
    data = encoded(PHOTO, format, exif=exif)
    assert decode.stretch(data, 32, 3).shape == (32, 32, 3)
    assert decode.decode(data, 3).shape == (300, 451, 3)


def test_postscript_is_not_run(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(
        EpsImagePlugin, 'Ghostscript', lambda *_: pytest.fail('it was run')
    )
    with pytest.raises(Unreadable, match='PostScript'):
        decode.decode(encoded(PHOTO, 'EPS'), 3)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'CMYK', '1', 'I;16'])
def test_strips_join_without_a_seam(monkeypatch, mode):
    photo = PHOTO.convert('L' if mode == 'I;16' else mode)
    if mode == 'I;16':
        photo = Image.fromarray(np.asarray(photo).astype(np.uint16) * 257)
    if mode in ('RGBA', 'LA'):
        photo.putalpha(PHOTO.convert('L'))
    data = encoded(photo, 'TIFF')
    whole = decode.decode(data, 3)
    monkeypatch.setattr(decode, '_STRIP', 451 * 7)
    np.testing.assert_array_equal(decode.decode(data, 3), whole)
