"""NIfTI volumes: slices are upright, whole volumes are held out, and labels keep their numbers."""

import itertools
import sys

import numpy as np
import pytest
from helpers.box_files import opened
from helpers.data_config import data_config
from helpers.mask_files import write_mask

from jaxvision.core.errors import UserError
from jaxvision.data import sources, volumes
from jaxvision.data.protocol import Unreadable, annotation_of, groups_of

nibabel = pytest.importorskip('nibabel', reason='the extra `medical`')

SHAPE = (5, 4, 3)  # right, front, up
SPACING = (0.5, 0.75, 2.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    monkeypatch.setattr(volumes, 'cache_folder', lambda name: folder / name)
    return folder / 'volumes'


def save(path, voxels, axes='RAS', spacing=SPACING):
    """Write voxels [right, front, up] with the axes of the file in another order and direction."""
    affine = np.diag([*spacing, 1.0])
    image = nibabel.Nifti1Image(voxels, affine)
    start = nibabel.orientations.axcodes2ornt('RAS')
    end = nibabel.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(start, end))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(turned, path)
    return path


def labelled(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1000, shape).astype(np.int16), rng.integers(
        0, 3, shape
    ).astype(np.uint8)


def write_volume(root, name, seed=0, folder='', shape=SHAPE, **options):
    image, labels = labelled(seed, shape)
    save(root / folder / 'images' / f'{name}.nii.gz', image, **options)
    save(root / folder / 'masks' / f'{name}.nii', labels, **options)
    return image, labels


def test_the_front_is_at_the_top_and_the_right_side_on_the_left(tmp_path):
    voxels = np.zeros(SHAPE, np.int16)
    voxels[-1, -1, -1] = 100  # the most right, front and upper voxel
    voxels[0, -1, 0] = 50  # the most left, front and lower voxel
    slices = volumes.image(save(tmp_path / 'a.nii', voxels), '')
    assert slices.shape == (3, 4, 5) and slices.dtype == np.uint8
    assert np.argwhere(slices).tolist() == [[0, 0, 4], [2, 0, 0]]


@pytest.mark.parametrize('axes', ['RAS', 'LPS', 'LAS', 'SRP', 'IPL', 'ASR'])
def test_the_axes_of_the_file_do_not_matter(tmp_path, axes):
    image, labels = labelled()
    path = save(tmp_path / f'{axes}.nii.gz', labels, axes)
    header = volumes.read_header(path)
    assert header == volumes.Header((3, 4, 5), (0.75, 0.5), 2.0)
    slices = volumes.labels(path, '')
    for x, y, z in itertools.product(*map(range, SHAPE)):
        assert slices[z, SHAPE[1] - 1 - y, SHAPE[0] - 1 - x] == labels[x, y, z]


def test_the_window_is_of_the_whole_volume(tmp_path):
    voxels = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    voxels[0, 0, 0] = np.nan
    voxels[0, 0, 1] = 1e9
    slices = np.asarray(volumes.image(save(tmp_path / 'a.nii', voxels), ''))
    low, high = np.percentile(voxels[np.isfinite(voxels)], (0.5, 99.5))
    expected = np.rint(np.clip((voxels - low) / (high - low), 0, 1) * 255)
    turned = expected[::-1, ::-1].transpose(2, 1, 0)
    difference = np.abs(np.nan_to_num(turned) - slices.astype(float))
    assert difference.max() <= 1 and slices.min() == 0 and slices.max() == 255
    constant = volumes.image(save(tmp_path / 'b.nii', np.full(SHAPE, 7.0)), '')
    assert not np.any(constant)


def test_an_example_is_a_slice(tmp_path):
    _, labels = write_volume(tmp_path, 'a')
    write_volume(tmp_path, 'b', 1, shape=(5, 4, 2))
    source = opened(f'masks:{tmp_path}')
    info = source.info
    assert len(source) == 5 and info.image_shape == (4, 5, 1)
    assert info.semantic_names == ('class 0', 'class 1', 'class 2')
    example = source[1]
    assert set(example) == set(info.holds)
    assert example['image'].shape == (4, 5, 1) and example['image'].dtype == np.uint8
    np.testing.assert_array_equal(example['semantic'], labels[::-1, ::-1, 1].T)
    assert example['spacing'].tolist() == [0.75, 0.5]
    assert example['spacing'].dtype == np.float32
    numbers = [
        (int(item['volume']), int(item['slice'])) for item in source.read(range(5))
    ]
    assert numbers == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert groups_of(source).tolist() == [0, 0, 0, 1, 1]
    assert source.where(4).endswith('images/b.nii.gz, slice 1')
    assert set(annotation_of(source, 0)) == set(info.holds) - {'image'}


def test_whole_volumes_are_held_out(tmp_path):
    for number in range(10):
        write_volume(tmp_path, f'{number}', number)
    parts = sources.Parts(data_config(source=f'masks:{tmp_path}', validation='25%'))
    seen = {}
    for split in ('train', 'validation', 'test'):
        source = parts.open(split)
        seen[split] = {source.where(row).split(',')[0] for row in range(len(source))}
        assert len(source) == 3 * len(seen[split])
    assert [len(names) for names in seen.values()] == [6, 2, 2]
    assert len(set().union(*seen.values())) == 10


def test_a_table_names_the_labels_and_void_is_ignored(tmp_path):
    _, labels = write_volume(tmp_path, 'a', folder='train')
    (tmp_path / 'classes.csv').write_text('name,value\nbody,0\nliver,1\nvoid,2')
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('body', 'liver')
    expected = np.array([0, 1, 255])[labels[::-1, ::-1, 0].T]
    np.testing.assert_array_equal(source[0]['semantic'], expected)


def test_a_converted_volume_is_kept(tmp_path, cache):
    write_volume(tmp_path, 'a')
    source = opened(f'masks:{tmp_path}')
    first = source[0]
    files = sorted(cache.iterdir())
    assert len(files) == 2
    for path in tmp_path.glob('*/a.nii*'):
        path.write_bytes(b'damaged')
    np.testing.assert_array_equal(source[0]['image'], first['image'])


def damaged(kind):
    """Labels that cannot be read, or do not fit."""
    voxels = np.zeros(SHAPE, np.float32)
    if kind == 'half':
        voxels[0, 0, 0] = 0.5
    elif kind == 'negative':
        voxels[0, 0, 0] = -1
    elif kind == 'nan':
        voxels[0, 0, 0] = np.nan
    return voxels


@pytest.mark.parametrize('kind', ['half', 'negative', 'nan'])
def test_labels_are_whole_numbers(tmp_path, kind):
    write_volume(tmp_path, 'a')
    save(tmp_path / 'masks' / 'a.nii', damaged(kind))
    with pytest.raises(UserError, match=r'masks/a\.nii: expected whole numbers from 0'):
        opened(f'masks:{tmp_path}')


def test_volumes_that_cannot_be_read_are_counted(tmp_path):
    write_volume(tmp_path, 'a')
    write_volume(tmp_path, 'b')
    (tmp_path / 'images' / 'b.nii.gz').write_bytes(b'damaged')
    source = opened(f'masks:{tmp_path}')
    assert len(source) == 3
    note = 'train: 1 volume cannot be read and left out, such as b.nii.gz: '
    assert any(text.startswith(note) and '\n' not in text for text in source.info.notes)
    save(tmp_path / 'images' / 'a.nii.gz', np.zeros((2, 3), np.int16)[..., None, None])
    save(tmp_path / 'images' / 'b.nii.gz', np.zeros((2, 3, 4, 5), np.int16))
    with pytest.raises(UserError, match='no volume can be read'):
        (tmp_path / 'masks' / 'a.nii').write_bytes(b'')
        opened(f'masks:{tmp_path}')


def test_a_cut_volume_is_unreadable(tmp_path):
    path = write_volume(tmp_path, 'a') and tmp_path / 'images' / 'a.nii.gz'
    source = opened(f'masks:{tmp_path}')
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Unreadable, match=r'images/a\.nii\.gz: '):
        source[0]


def test_sizes_and_kinds_that_do_not_fit(tmp_path):
    write_volume(tmp_path, 'a')
    save(tmp_path / 'masks' / 'a.nii', np.zeros((5, 4, 2), np.uint8))
    message = r'masks/a\.nii: it has the slices, height and width \(2, 4, 5\), and .*a\.nii\.gz'
    with pytest.raises(UserError, match=message):
        opened(f'masks:{tmp_path}')
    (tmp_path / 'masks' / 'a.nii').unlink()
    write_mask(tmp_path / 'masks' / 'a.png', np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match='expected volumes alone, or none'):
        opened(f'masks:{tmp_path}')


def test_without_nibabel_the_extra_is_named(tmp_path, monkeypatch):
    write_volume(tmp_path, 'a')
    monkeypatch.setitem(sys.modules, 'nibabel', None)
    with pytest.raises(
        UserError, match=r"Install the extra `medical`: pip install -e '\.\[med"
    ):
        opened(f'masks:{tmp_path}')


@pytest.mark.parametrize('kept_bytes', [0, 10, 150])
def test_a_truncated_file_of_the_cache_is_written_again(tmp_path, cache, kept_bytes):
    write_volume(tmp_path, 'a')
    path = tmp_path / 'images' / 'a.nii.gz'
    expected = np.array(volumes.image(path, ''))
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:kept_bytes])
    np.testing.assert_array_equal(volumes.image(path, ''), expected)
    np.testing.assert_array_equal(np.load(file), expected)
