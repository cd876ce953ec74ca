"""Images of any size restored, by runs and exported models: only what is asked for changes."""

from pathlib import Path

import numpy as np
import pytest
from helpers import weighed
from PIL import Image, ImageCms
from scipy import ndimage

import jaxvision
from jaxvision.cli.export import formats
from jaxvision.cli.predict import restoration
from jaxvision.data import image_layers
from jaxvision.train.saved import read_config

RNG = np.random.default_rng(0)
MEGABYTE = 2**20


@pytest.fixture(scope='session')
def upscalers(fake):
    return fake('upscaler')


@pytest.fixture(scope='session')
def inpainters(fake):
    return fake('inpainter')


def picture(path, height, width, seed=0, **options):
    """A smooth random photograph, saved; its pixels."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    pixels = np.clip(
        128 + 300 * ndimage.gaussian_filter(noise, (2, 2, 0)), 0, 255
    ).astype('uint8')
    Image.fromarray(pixels).save(path, **options)
    return pixels


def upscaled(run, image):
    """The whole image at once, by scipy."""
    _, variables, _ = jaxvision.load(run)
    kernel = np.asarray(variables['params']['model']['kernel'])[:, :, 0, 0]
    large = image.astype(float).repeat(2, 0).repeat(2, 1)
    answer = ndimage.correlate(large, kernel[:, :, None], mode='constant')
    return np.clip(np.rint(answer), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('height, width', [(50, 70), (16, 12), (5, 40), (1, 1)])
@pytest.mark.parametrize('options', [[], ['--batch_size', '3', '--no_pictures']])
def test_an_image_is_restored_at_its_own_size(main, upscalers, height, width, options):
    image = picture('cat.png', height, width)
    code, out, err, entries = main('--workdir', upscalers, 'cat.png', *options)
    assert code == 0 and not err and '1 of 1 files predicted' in out
    entry = entries['cat.png']
    assert entry['answer'] == {'width': 2 * width, 'height': 2 * height}
    found = np.asarray(Image.open(entry['restored'])).astype(int)
    assert found.shape == (2 * height, 2 * width, 3)
    gap = np.abs(found - upscaled(upscalers, image))[2:-2, 2:-2]
    assert gap.max(initial=0) <= 1  # a tie's rounding
    assert ('picture' in entry) == (not options)
    if not options:
        assert entry['picture'] == 'predictions/cat-compared.png'
        assert np.asarray(Image.open(entry['picture'])).shape[2] == 3


@pytest.mark.parametrize('format', ['savedmodel', 'float32.tflite', 'model.stablehlo'])
def test_an_exported_model_restores_as_its_run(main, inpainters, tmp_path, format):
    task, variables, spec = jaxvision.load(inpainters)
    settings = read_config(inpainters).to_dict()
    write = {
        'savedmodel': formats.savedmodel,
        'model.stablehlo': formats.stablehlo,
    }.get(format, lambda *model: formats.tflite(*model, kind='float32', examples={}))
    write(task.predict, variables, spec, settings, tmp_path / format)
    picture('cat.png', 30, 41)
    hole(30, 41).save('mask.png')
    found = []
    for model in (inpainters, tmp_path / format):
        code, *_, entries = main('--workdir', model, 'cat.png', '--mask', 'mask.png')
        assert code == 0
        found.append(np.asarray(Image.open(entries['cat.png']['restored'])).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1
    assert (found[0] == found[1]).mean() > 0.99


def hole(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return Image.fromarray(mask)


def test_pixels_outside_the_hole_stay_as_they_are(main, inpainters):
    image = picture('cat.png', 61, 47)
    hole(61, 47).save('mask.png')
    code, *_, entries = main('--workdir', inpainters, 'cat.png', '--mask', 'mask.png')
    found, inside = np.asarray(Image.open(entries['cat.png']['restored'])), hole(61, 47)
    inside = np.asarray(inside) > 0
    assert code == 0
    np.testing.assert_array_equal(found[~inside], image[~inside])
    assert (found[inside] != image[inside]).any()
    # At the edge of the hole, the blur is close to the image.
    edge = inside & ~ndimage.binary_erosion(inside)
    assert np.abs(found[edge].astype(int) - image[edge]).mean() < 30
    compared = np.asarray(Image.open(entries['cat.png']['picture']))
    assert (compared == restoration.HOLE_COLOR).all(-1).any()


def test_a_mask_belongs_to_the_upright_image(main, inpainters):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image = np.rot90(picture('turned.png', 30, 40, exif=exif), -1)
    hole(40, 30).save('mask.png')
    code, *_, entries = main(
        '--workdir', inpainters, 'turned.png', '--mask', 'mask.png'
    )
    assert code == 0
    found, outside = (
        np.asarray(Image.open(entries['turned.png']['restored'])),
        hole(40, 30),
    )
    outside = np.asarray(outside) == 0
    np.testing.assert_array_equal(found[outside], image[outside])


def test_each_file_has_a_mask_or_a_reason(main, inpainters, tmp_path):
    album, masks = tmp_path / 'album', tmp_path / 'masks'
    album.mkdir(), masks.mkdir()
    for name in (
        'same.png',
        'stem.jpg',
        'none.png',
        'two.png',
        'size.png',
        'black.png',
        'white.png',
        'broken.png',
    ):
        picture(album / name, 20, 24)
    (album / 'notes.png').write_text('no image')
    for name in ('same.png', 'same.tif', 'stem.bmp', 'two.gif', 'two.tif', 'notes.png'):
        hole(20, 24).save(masks / name)
    hole(24, 20).save(masks / 'size.png')
    Image.new('L', (24, 20)).save(masks / 'black.png')
    Image.new('L', (24, 20), 'white').save(masks / 'white.png')
    (masks / 'broken.png').write_text('no mask')
    code, out, err, entries = main('--workdir', inpainters, 'album', '--mask', 'masks')
    assert code == 1 and '2 of 9 files predicted' in out and '7 of 9 files' in err
    errors = {Path(file).name: entry.get('error') for file, entry in entries.items()}
    assert errors.pop('same.png') is None and errors.pop('stem.jpg') is None
    for name, message in {
        'none.png': 'there is no mask none.* in masks',
        'size.png': 'size.png has 20x24 pixels: expected the 24x20 of the upright image',
        'black.png': 'is black everywhere',
        'two.png': 'several masks for it in masks: two.gif, two.tif',
        'white.png': 'is white everywhere',
        'broken.png': 'its mask masks/broken.png: no image',
        'notes.png': 'no image',
    }.items():
        assert message in errors.pop(name)
    assert not errors and 'no prediction: its mask' in out
    assert len(list(tmp_path.glob('predictions/*.png'))) == 4


def test_a_hole_that_fills_a_tile_is_refused(main, inpainters):
    picture('cat.png', 70, 70)
    mask = np.zeros((70, 70), np.uint8)
    mask[2:-2, 2:-2] = 255
    Image.fromarray(mask).save('mask.png')
    code, _, _, entries = main('--workdir', inpainters, 'cat.png', '--mask', 'mask.png')
    assert code == 1 and 'fills a whole tile' in entries['cat.png']['error']


def test_one_mask_serves_for_all_files(main, inpainters):
    for name in ('a.png', 'b.png'):
        picture(name, 20, 24)
    hole(20, 24).save('mask.png')
    code, *_ = main('--workdir', inpainters, 'a.png', 'b.png', '--mask', 'mask.png')
    assert code == 0


def cut_out(path, height, width, **options):
    """A photograph saved with a soft disc of it visible; its pixels with alpha."""
    image = picture(path, height, width)
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height / 2, x - width / 2)
    alpha = np.clip(255 * (0.4 * height - radius) / 5, 0, 255).astype(np.uint8)
    pixels = np.dstack([image, alpha])
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_transparency_and_the_profile_are_kept(main, upscalers):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    pixels = cut_out('disc.png', 50, 70, icc_profile=profile)
    code, *_, entries = main('--workdir', upscalers, 'disc.png')
    assert code == 0 and 'colours' not in entries['disc.png']['answer']
    with Image.open(entries['disc.png']['restored']) as opened:
        assert (opened.mode, opened.info['icc_profile']) == ('RGBA', profile)
        found = np.asarray(opened)
    alpha = Image.fromarray(pixels[..., 3]).resize(
        (140, 100), Image.Resampling.BILINEAR
    )
    assert np.abs(found[..., 3].astype(int) - np.asarray(alpha)).max() <= 2
    # Inside, nothing white or invisible comes near: as without any alpha.
    inside = ndimage.binary_erosion(found[..., 3] == 255, iterations=4)
    gap = np.abs(found[..., :3].astype(int) - upscaled(upscalers, pixels[..., :3]))
    assert inside.any() and gap[inside].max() <= 1


def test_a_filled_hole_is_opaque_and_the_rest_keeps_its_transparency(main, inpainters):
    pixels = cut_out('disc.png', 61, 47)
    inside = np.asarray(hole(61, 47)) > 0
    pixels[..., 3][inside] = 0  # as an eraser leaves it
    Image.fromarray(pixels).save('disc.png')
    hole(61, 47).save('mask.png')
    code, *_, entries = main('--workdir', inpainters, 'disc.png', '--mask', 'mask.png')
    found = np.asarray(Image.open(entries['disc.png']['restored']))
    assert code == 0 and (found[inside][:, 3] == 255).all()
    np.testing.assert_array_equal(found[~inside], pixels[~inside])
    compared = np.asarray(Image.open(entries['disc.png']['picture']))
    assert (compared == restoration.HOLE_COLOR).all(-1).any()


def test_a_profile_that_no_png_can_hold_is_noted(main, upscalers):
    picture('cat.tif', 20, 24)
    with Image.open('cat.tif') as opened:
        broken = bytes(16) + b'CMYK' + bytes(108)
        opened.convert('CMYK').save('print.tif', icc_profile=broken)
    code, out, _, entries = main('--workdir', upscalers, 'print.tif')
    assert (
        code == 0 and entries['print.tif']['answer']['colours'] == image_layers.LEFT_OUT
    )
    assert 'profile' in out
    with Image.open(entries['print.tif']['restored']) as restored:
        assert restored.mode == 'RGB' and 'icc_profile' not in restored.info


def test_grey_with_alpha_for_a_grey_run(main, fake):
    run = fake('upscaler', 'task.channels=1')
    pixels = cut_out('disc.png', 40, 40)
    grey = np.dstack([pixels[..., 0], pixels[..., 3]])
    Image.fromarray(grey).save('disc.png')
    code, *_, entries = main('--workdir', run, 'disc.png')
    assert code == 0
    with Image.open(entries['disc.png']['restored']) as restored:
        assert (restored.mode, restored.size) == ('LA', (80, 80))


def test_files_of_equal_names_do_not_replace_each_other(main, upscalers):
    for name in ('a.png', 'a-compared.png', 'A.jpg'):
        picture(name, 8, 8)
    *_, entries = main('--workdir', upscalers, 'a.png', 'a-compared.png', 'A.jpg')
    written = [
        entry[kind].casefold()
        for entry in entries.values()
        for kind in ('restored', 'picture')
    ]
    assert len(set(written)) == 6 and all(map(Path.exists, map(Path, written[:1])))


def test_a_restored_image_replaces_only_an_earlier_one(main, upscalers, tmp_path):
    picture('cat.png', 8, 8)
    for _ in range(2):
        assert main('--workdir', upscalers, 'cat.png')[0] == 0
    for name in ('cat.png', 'cat-compared.png'):
        out = tmp_path / f'of {name}'
        out.mkdir()
        (out / name).write_text('mine')
        code, _, err, _ = main('--workdir', upscalers, 'cat.png', '--out', out)
        assert code == 2 and f'{name}, which `predict` did not write' in err
        assert (out / name).read_text() == 'mine'


@pytest.mark.parametrize(
    'run, arguments, message',
    [
        ('upscalers', [], 'FILE: expected images.'),
        (
            'upscalers',
            ['x.png', '--mask', 'x.png'],
            '--mask: expected only with an inpainting run.',
        ),
        (
            'upscalers',
            ['x.png', '--number', '3'],
            '--number: expected only with a generator.',
        ),
        (
            'inpainters',
            ['x.png'],
            '--mask: expected an image that is white in the hole',
        ),
        ('inpainters', ['x.png', '--mask', 'none'], '--mask=none: expected an image'),
        (
            'inpainters',
            ['x.png', '--mask', 'x.png', '--seed', '0'],
            '--seed: expected only with a generator.',
        ),
    ],
)
def test_a_wrong_argument_is_one_line(
    main, upscalers, inpainters, run, arguments, message
):
    picture('x.png', 8, 8)
    run = {'upscalers': upscalers, 'inpainters': inpainters}[run]
    code, out, err, _ = main('--workdir', run, *arguments)
    assert code == 2 and not out and err.count('\n') == 1 and message in err
    assert not Path('predictions').exists()


def test_a_photograph_takes_bounded_memory(fake, tmp_path):
    """Memory grows by at most 7 bytes for each pixel of the file, which is decoded whole.

    Only some rows of the restored image are in memory.
    """
    run = fake('upscaler', 'task.height=120', 'task.width=120')
    peaks = []
    for name, height, width in (('small.jpg', 40, 30), ('large.jpg', 1500, 2000)):
        pixels = RNG.integers(0, 256, (height // 10, width // 10, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(tmp_path / name)
        code, peak = weighed.predict(
            tmp_path, '--workdir', run, name, '--batch_size', '4'
        )
        assert code == 0
        peaks.append(peak)
        with Image.open(
            tmp_path / 'predictions' / name.replace('jpg', 'png')
        ) as restored:
            assert restored.size == (2 * width, 2 * height)
    assert peaks[1] - peaks[0] < 7 * 3e6 + 130 * MEGABYTE, peaks  # whole it has 144e6
