"""DICOM in `masks:`: slices with a mask each, and series with a volume of labels."""

import numpy as np
import pytest
from helpers.box_files import opened
from helpers.data_config import data_config
from helpers.dicom_images import write_series, write_slice
from helpers.mask_files import write_mask

from jaxvision.core.errors import UserError
from jaxvision.data import dicom_series, sources, volumes
from jaxvision.data.protocol import Unreadable, groups_of

pytest.importorskip('pydicom', reason='the extra `medical`')
nibabel = pytest.importorskip('nibabel', reason='the extra `medical`')

SHAPE = (4, 5, 6)  # slices, rows, columns
SPACING = (2.0, 0.5, 0.75)
CORONAL = (1, 0, 0, 0, 0, -1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, 'cache_folder', lambda name: tmp_path / 'cache' / name)


def voxels(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 1000, SHAPE).astype(np.int16)


def write_pairs(root, case, seed=0, **options):
    """Slices of a series, each with a mask of its own."""
    values = voxels(seed)
    folder = write_series(root / 'images' / case, values, SPACING, **options)
    for path in folder.iterdir():
        labels = np.full(SHAPE[1:], 3, np.uint8)
        labels[0] = int(path.stem)
        write_mask(root / 'masks' / case / f'{path.stem}.png', labels)
    return values


def test_slices_have_the_order_of_the_body(tmp_path):
    first = write_pairs(tmp_path, 'a', series='1.1')
    second = write_pairs(tmp_path, 'b', 1, series='1.2')
    source = opened(f'masks:{tmp_path}')
    assert len(source) == 8 and source.info.image_shape == (*SHAPE[1:], 1)
    assert groups_of(source).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    for row, values in enumerate((*first, *second)):
        example = source[row]
        assert set(example) == set(source.info.holds)
        assert (example['volume'], example['slice']) == (row // 4, row % 4)
        assert example['spacing'].tolist() == [0.5, 0.75]
        low, high = np.percentile(values, (0.5, 99.5))
        expected = 255 * np.clip((values - low) / (high - low), 0, 1)
        assert np.abs(example['image'][..., 0] - expected).max() <= 0.51
        # The mask is that of the file, whatever its name.
        assert example['semantic'][0, 0] == int(source.where(row)[-7:-4])


def test_whole_series_are_held_out_and_a_window_is_chosen(tmp_path):
    for number in range(5):
        write_pairs(tmp_path, f'{number}', number, series=f'1.{number + 1}')
    data = data_config(source=f'masks:{tmp_path}', window='0,500')
    parts = sources.Parts(data)
    train, test = parts.open('train'), parts.open('test')
    assert (len(train), len(test)) == (16, 4)
    seen = {test.where(row).split('/')[-2] for row in range(4)}
    assert len(seen) == 1
    values = voxels(int(seen.pop()))
    expected = 255 * np.clip((values[0] + 250) / 500, 0, 1)
    assert np.abs(test[0]['image'][..., 0] - expected).max() <= 0.51
    assert any(
        'values around 0 are shown, 500 wide' in note for note in train.info.notes
    )
    other = sources.Parts(data_config(source=f'masks:{tmp_path}')).open('train')
    assert other.info.fingerprint != train.info.fingerprint
    with pytest.raises(
        UserError, match=r'data\.window=0,500: expected a source of volu'
    ):
        sources.Parts(data_config(source='digits', window='0,500'))


def save_labels(path, labels, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels, affine), path)


@pytest.mark.parametrize(
    'axes', [(1, 0, 0, 0, 1, 0), CORONAL], ids=['axial', 'coronal']
)
def test_a_series_meets_its_labels_where_both_lie(tmp_path, axes):
    """The labels are the bright voxels, written by another program with other axes."""
    values = voxels()
    values[:, :, 3:] = 1000
    folder = write_series(
        tmp_path / 'images' / 'a', values, SPACING, axes, (10, -20, 30), series='1.1'
    )
    series = dicom_series.read(dicom_series.files_of(folder))
    stored = series.voxels()
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), values)
    labels = nibabel.Nifti1Image((stored == 1000).astype(np.uint8), series.affine)
    start = nibabel.io_orientation(series.affine)
    end = nibabel.orientations.axcodes2ornt('PIR')
    turned = labels.as_reoriented(nibabel.orientations.ornt_transform(start, end))
    path = tmp_path / 'masks' / 'a.nii.gz'
    save_labels(path, np.asarray(turned.dataobj), turned.affine)
    source = opened(f'masks:{tmp_path}')
    assert len(source) == 4 and source.info.image_shape == (5, 6, 1)
    for row in range(4):
        # Slices are those of the files, in the order of the body.
        example = source[row]
        np.testing.assert_array_equal(example['semantic'], values[row] == 1000)
        assert (example['image'][values[row] == 1000] == 255).all()
        assert example['spacing'].tolist() == [0.5, 0.75]
    # The same labels a little aside are refused.
    shifted = turned.affine.copy()
    shifted[0, 3] += 1
    save_labels(path, np.asarray(turned.dataobj), shifted)
    with pytest.raises(UserError, match=r'masks/a\.nii\.gz: its voxels lie up to 1 mm'):
        opened(f'masks:{tmp_path}')


def test_the_affine_map_is_that_of_the_standard(tmp_path):
    """PS3.3, C.7.6.2.1.1: the place of a pixel from its column and its row."""
    axes = (0.8, 0.6, 0, 0, 0, -1)
    folder = write_series(tmp_path, voxels(), SPACING, axes, (10, -20, 30))
    series = dicom_series.read(dicom_series.files_of(folder))
    normal = np.cross(axes[:3], axes[3:])
    for column, row, number in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (2, 3, 1)):
        place = np.array([10, -20, 30]) + 2.0 * number * normal
        place = (
            place + 0.75 * column * np.array(axes[:3]) + 0.5 * row * np.array(axes[3:])
        )
        found = series.affine @ [column, row, number, 1]
        np.testing.assert_allclose(found[:3], place * [-1, -1, 1], atol=1e-9)


def damage(folder, kind):
    paths = sorted(folder.iterdir())
    place = {'ImageOrientationPatient': [1, 0, 0, 0, 1, 0], 'PixelSpacing': [0.5, 0.75]}
    if kind == 'missing':
        series = dicom_series.read(paths)
        series.paths[1].unlink()
    elif kind == 'twice':
        (folder / 'copy.dcm').write_bytes(paths[0].read_bytes())
    elif kind == 'two series':
        write_slice(folder / 'z.dcm', voxels()[0], '9.9', **place)
    elif kind == 'no place':
        write_slice(paths[0], voxels()[0], '1.1')
    elif kind == 'other size':
        write_slice(
            paths[0], voxels()[0, :3], '1.1', ImagePositionPatient=[0, 0, 0], **place
        )
    else:
        paths[0].write_bytes(paths[0].read_bytes()[:-20])


@pytest.mark.parametrize(
    'kind, says',
    [
        ('missing', 'slices are 2 to 4 mm apart: expected equal'),
        ('twice', 'two slices at one place'),
        ('two series', 'files of 2 series: expected one'),
        ('no place', 'lack ImageOrientationPatient or ImagePositionPatient'),
        ('other size', 'differ in size, spacing, direction or kind'),
        ('cut', r'\d+\.dcm: The number of bytes of pixel data is less'),
    ],
)
def test_files_that_are_no_volume_are_named(tmp_path, kind, says):
    folder = write_series(tmp_path / 'a', voxels(), SPACING, series='1.1')
    damage(folder, kind)
    with pytest.raises(Unreadable, match=says):
        dicom_series.read(dicom_series.files_of(folder)).voxels()


def test_other_images_beside_dicom_are_refused(tmp_path):
    write_pairs(tmp_path, 'a')
    write_mask(tmp_path / 'images' / 'b.png', np.zeros(SHAPE[1:], np.uint8))
    write_mask(tmp_path / 'masks' / 'b.png', np.zeros(SHAPE[1:], np.uint8))
    with pytest.raises(
        UserError, match=r'expected DICOM files alone, or none, and .*b\.png'
    ):
        opened(f'masks:{tmp_path}')
