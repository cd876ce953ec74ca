"""TIFFs of several pages: a page is a slice, and a stack is in one split alone."""

import sys

import numpy as np
import pytest
import tifffile
from helpers.box_files import opened
from helpers.mask_files import write_mask

from jaxvision.core.errors import UserError
from jaxvision.data import tiff_files, volumes
from jaxvision.data.protocol import Unreadable, boxes_of, groups_of

SHAPE = (3, 20, 24)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, 'cache_folder', lambda name: tmp_path / 'cache' / name)


def save(path, voxels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, voxels, **{'photometric': 'minisblack', **options})
    return path


def write_stack(root, name, seed=0, dtype=np.uint16, **options):
    rng = np.random.default_rng(seed)
    image = rng.integers(100, 4000, SHAPE).astype(np.uint16)
    labels = np.zeros(SHAPE, dtype)
    for page in range(SHAPE[0]):
        labels[page, 2:8, 3:9] = 7
        labels[page, 10:15, 4 + page : 20] = 40 if dtype == np.uint8 else 900
    save(root / 'images' / f'{name}.tif', image, **options)
    save(root / 'masks' / f'{name}.tif', labels)
    return image, labels


@pytest.mark.parametrize(
    'options',
    [
        {'metadata': None},
        {'imagej': True, 'metadata': {'axes': 'ZYX'}},
        {'compression': 'zlib', 'byteorder': '>'},
        {'ome': True, 'metadata': {'axes': 'TYX'}},
    ],
    ids=['pages', 'imagej', 'compressed', 'ome'],
)
def test_a_page_is_an_example_with_its_objects(tmp_path, options):
    image, labels = write_stack(tmp_path, 'a', **options)
    write_stack(tmp_path, 'b', 1, **options)
    source = opened(f'masks:{tmp_path}')
    assert len(source) == 6 and groups_of(source).tolist() == [0, 0, 0, 1, 1, 1]
    assert source.info.image_shape == (20, 24, 1)
    assert 'spacing' not in source.info.holds
    example = source[1]
    assert set(example) == set(source.info.holds)
    low, high = np.percentile(image, (0.5, 99.5))
    expected = 255 * np.clip((image[1] - low) / (high - low), 0, 1)
    assert np.abs(example['image'][..., 0] - expected).max() <= 0.6
    numbers = np.searchsorted([0, 7, 900], labels[1])
    np.testing.assert_array_equal(example['instances'], numbers)
    np.testing.assert_array_equal(example['semantic'], numbers > 0)
    assert boxes_of(source, 1)['boxes'].tolist() == [[2, 3, 8, 9], [10, 5, 15, 20]]
    assert any('0.5 % of the voxels' in note for note in source.info.notes)


def test_labels_of_8_bits_are_classes(tmp_path):
    write_stack(tmp_path, 'a', dtype=np.uint8)
    (tmp_path / 'classes.csv').write_text('name,value\nempty,0\nbone,7\nvessel,40')
    source = opened(f'masks:{tmp_path}')
    assert source.info.class_names == ('empty', 'bone', 'vessel')
    assert np.unique(source[0]['semantic']).tolist() == [0, 1, 2]
    assert 'instances' not in source[0]


@pytest.mark.parametrize(
    'shape, options, says',
    [
        (
            (2, 20, 24),
            {'imagej': True, 'metadata': {'axes': 'CYX'}},
            'pages are 2 channels',
        ),
        (
            (3, 2, 20, 24),
            {'imagej': True, 'metadata': {'axes': 'TZYX'}},
            'one axis, not the axes T: 3, Z: 2',
        ),
    ],
    ids=['channels', 'two axes'],
)
def test_stacks_of_other_axes_are_refused(tmp_path, shape, options, says):
    write_stack(tmp_path, 'a')
    save(tmp_path / 'images' / 'a.tif', np.zeros(shape, np.uint8), **options)
    with pytest.raises(UserError, match=f'no volume can be read.*{says}'):
        opened(f'masks:{tmp_path}')


def test_pages_in_colour_are_no_slices(tmp_path):
    write_stack(tmp_path, 'a')
    colours = np.zeros((*SHAPE, 3), np.uint8)
    path = save(tmp_path / 'images' / 'a.tif', colours, photometric='rgb')
    assert not tiff_files.is_stack(path)
    with pytest.raises(
        UserError, match=r'volumes alone, or none, and .*images/a\.tif is'
    ):
        opened(f'masks:{tmp_path}')


def test_a_stack_beside_a_flat_mask_is_refused(tmp_path):
    write_stack(tmp_path, 'a')
    (tmp_path / 'masks' / 'a.tif').unlink()
    write_mask(tmp_path / 'masks' / 'a.png', np.zeros(SHAPE[1:], np.uint8))
    with pytest.raises(UserError, match='expected volumes alone, or none'):
        opened(f'masks:{tmp_path}')


def test_damaged_stacks_are_named_in_one_line(tmp_path, capfd):
    voxels = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    whole = save(tmp_path / 'whole.tif', voxels).read_bytes()
    path = tmp_path / 'a.tif'
    refused = 0
    for length in range(8, len(whole), 97):
        path.write_bytes(whole[:length])
        try:
            # Whole voxels may come before what is cut off.
            np.testing.assert_array_equal(tiff_files.stack(path), voxels)
        except Unreadable as error:
            refused += 1
            assert '\n' not in str(error)
    assert refused > 20
    path.write_bytes(b'II*\0' + bytes(50))
    assert not tiff_files.is_stack(path)
    assert capfd.readouterr().err == ''


def test_a_huge_stack_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, shape=(2, 30_000, 30_000), dtype=np.uint8, bigtiff=True)
    with pytest.raises(Unreadable, match='1,800,000,000 values of 1 bytes are more'):
        tiff_files.stack(path)


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.tif', np.zeros(SHAPE, np.uint16))
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(UserError, match=r'extra `medical`: pip install -e'):
        tiff_files.stack(path)


def test_a_compression_that_needs_more_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.tif', np.zeros(SHAPE, np.uint16))

    def fail(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, 'asarray', fail)
    with pytest.raises(Unreadable, match='LZW.*pip install imagecodecs'):
        tiff_files.stack(path)
