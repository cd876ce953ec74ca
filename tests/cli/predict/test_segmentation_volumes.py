"""`predict` of volumes: labels lie where the voxels do, and the table is in millimetres."""

import csv
import json

import numpy as np
import pytest
import tifffile
from helpers import color_maps
from helpers.dicom_images import write_series, write_slice
from PIL import Image

from jaxvision.cli.predict import command
from jaxvision.data import dicom_series

nibabel = pytest.importorskip('nibabel', reason='the extra `medical`')
pytest.importorskip('pydicom', reason='the extra `medical`')

# Axes to the front, the feet and the left, turned a little, with sides of three lengths.
TURN = nibabel.eulerangles.euler2mat(0.1, 0.05, -0.08)
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.array([[0, 0, -0.7], [1.5, 0, 0], [0, -3.0, 0]])
AFFINE[:3, 3] = [12, -7, 40]
SHAPE = (32, 5, 24)  # in the axes of the file: slices go along the second one


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """Run the command with the network of colours, for which bright grey is red."""

    def run(*arguments, size=32, with_objects=False, window=()):
        opened = color_maps.model(size=size, with_objects=with_objects, window=window)
        monkeypatch.setattr(command, '_open', lambda _: opened)
        fixed = ['--workdir', str(tmp_path), '--out', str(tmp_path / 'out')]
        code = command.main([*map(str, arguments), *fixed])
        return code, json.loads((tmp_path / 'out' / 'predictions.json').read_text())

    return run


def bright_block(shape=SHAPE):
    """Dark voxels with a bright block, which is not in the middle of any axis."""
    voxels = np.full(shape, -900, np.int16)
    voxels[3:15, 1:4, 10:21] = 600
    return voxels


def save(path, voxels, affine=AFFINE):
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units('mm')
    image.header['sform_code'] = 2
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize('options', [(), ('--tile', '32', '--overlap', '8')])
def test_labels_have_the_grid_of_their_volume(predict, tmp_path, options):
    voxels = bright_block()
    path = save(tmp_path / 'scan.nii.gz', voxels)
    code, report = predict(path, *options)
    assert code == 0
    (entry,) = report['files']
    labels = nibabel.load(entry['saved'][0])
    assert entry['saved'][0].endswith('out/scan-labels.nii.gz')
    original = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), voxels > 0)
    np.testing.assert_array_equal(labels.affine, original.affine)
    for name in ('sform_code', 'qform_code', 'xyzt_units', 'pixdim'):
        np.testing.assert_array_equal(labels.header[name], original.header[name])
    assert labels.get_data_dtype() == np.uint8
    # The second axis goes to the feet, so the last of its voxels are the first slice.
    answer = entry['answer']
    assert answer['size'] == [24, 32, 5]
    assert [item['slices'] for item in answer['classes']] == [[0, 4], [1, 3]]


def test_the_table_is_in_millimetres(predict, tmp_path):
    voxels = bright_block()
    path = save(tmp_path / 'scan.nii', voxels)
    affine = nibabel.load(path).affine  # of 32 bits
    _, report = predict(path)
    (entry,) = report['files']
    _, red = entry['answer']['classes']
    indices = np.argwhere(voxels > 0)
    places = nibabel.affines.apply_affine(affine, indices)
    sides = nibabel.affines.voxel_sizes(affine)
    assert red['class'] == 'red' and red['voxels'] == len(indices)
    assert red['fraction'] == pytest.approx(len(indices) / voxels.size, abs=1e-6)
    assert red['volume_mm3'] == pytest.approx(len(indices) * np.prod(sides), rel=1e-5)
    np.testing.assert_allclose(red['centroid_mm'], places.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(red['centroid'], indices.mean(0), atol=0.006)
    extent = (np.ptp(indices, 0) + 1) * sides
    np.testing.assert_allclose(red['extent_mm'], extent, rtol=1e-5)
    with open(entry['saved'][1]) as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == ['background', 'red']
    assert float(rows[1]['volume_mm3']) == red['volume_mm3']
    assert [float(rows[1][f'centroid_mm_{axis}']) for axis in 'xyz'] == red[
        'centroid_mm'
    ]


def test_a_volume_of_another_unit_and_a_fourth_axis_keeps_both(predict, tmp_path):
    voxels = bright_block()
    image = nibabel.Nifti1Image(voxels[..., None], AFFINE)
    image.header.set_xyzt_units('micron')
    nibabel.save(image, tmp_path / 'scan.nii')
    _, report = predict(tmp_path / 'scan.nii')
    labels = nibabel.load(report['files'][0]['saved'][0])
    assert labels.shape == (*SHAPE, 1)
    assert labels.header.get_xyzt_units()[0] == 'micron'
    original = nibabel.load(tmp_path / 'scan.nii')
    np.testing.assert_array_equal(labels.affine, original.affine)
    _, red = report['files'][0]['answer']['classes']
    expected = (voxels > 0).sum() * abs(np.linalg.det(AFFINE)) * 1e-9
    assert red['volume_mm3'] == pytest.approx(expected, rel=1e-5)


def test_a_series_becomes_one_volume(predict, tmp_path):
    voxels = bright_block((4, 30, 32))  # slices, rows, columns
    folder = write_series(
        tmp_path / 'case', voxels, (3.0, 0.5, 0.75), (0, 1, 0, 0, 0, -1), (5, 6, 7)
    )
    write_slice(folder / 'other.dcm', voxels[0], series='9.9', PixelSpacing=[0.5, 0.25])
    code, report = predict(folder, size=32)
    assert code == 0
    alone, series = report['files']
    assert alone['file'].endswith('other.dcm') and series['file'] == str(folder)
    labels = nibabel.load(series['saved'][0])
    assert series['saved'][0].endswith('out/case-labels.nii.gz')
    stored = np.asarray(labels.dataobj)
    np.testing.assert_array_equal(stored, voxels.transpose(2, 1, 0) > 0)
    paths = [path for path in folder.iterdir() if path.name != 'other.dcm']
    np.testing.assert_allclose(
        labels.affine, dicom_series.read(paths).affine, atol=1e-5
    )
    _, red = series['answer']['classes']
    assert red['volume_mm3'] == pytest.approx(red['voxels'] * 3 * 0.5 * 0.75, rel=1e-5)
    # A file alone is an image, whose areas are in its spacing.
    areas = {item['class']: item for item in alone['answer']['classes']}
    assert areas['background']['area_mm2'] == areas['background']['area'] / 8


def test_the_window_of_the_run_is_used(predict, tmp_path):
    voxels = bright_block()
    voxels[..., 0] = 3000
    path = save(tmp_path / 'scan.nii', voxels)
    for window, expected in (
        ((0.0, 2000.0), voxels > -300),
        ((2000.0, 100.0), voxels == 3000),
    ):
        _, report = predict(path, window=window)
        labels = nibabel.load(report['files'][0]['saved'][0])
        np.testing.assert_array_equal(np.asarray(labels.dataobj), expected)


def test_objects_of_a_stack_are_numbered_through_its_pages(predict, tmp_path):
    pages = np.zeros((3, 32, 28), np.uint8)
    pages[:, 3:12, 4:13] = 250
    pages[1, 18:27, 12:24] = 250
    tifffile.imwrite(tmp_path / 'stack.tif', pages, photometric='minisblack')
    code, report = predict(tmp_path / 'stack.tif', with_objects=True)
    assert code == 0
    (entry,) = report['files']
    labels, objects = (
        tifffile.imread(path) for path in entry['saved'] if path.endswith('.tif')
    )
    np.testing.assert_array_equal(labels > 0, pages > 0)
    np.testing.assert_array_equal(objects > 0, pages > 0)
    instances = entry['answer']['instances']
    assert [(item['number'], item['slice']) for item in instances] == [
        (1, 0),
        (2, 1),
        (3, 1),
        (4, 2),
    ]
    for item in instances:
        ys, xs = np.nonzero(objects[item['slice']] == item['number'])
        assert item['area'] == len(ys)
        assert item['bbox'][:2] == [xs.min(), ys.min()]
    assert 'volume_mm3' not in entry['answer']['classes'][1]
    with Image.open(entry['picture']) as picture:
        assert np.ptp(np.asarray(picture)) > 0


def test_damaged_volumes_do_not_stop_the_others(predict, tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    save(folder / 'a.nii.gz', bright_block())
    data = (folder / 'a.nii.gz').read_bytes()
    (folder / 'cut.nii.gz').write_bytes(data[: len(data) // 2])
    (folder / 'text.nii').write_text('Dear Sir or Madam')
    save(folder / 'four.nii', np.zeros((4, 4, 4, 3), np.int16))
    flat = nibabel.Nifti1Image(bright_block(), np.eye(4))
    flat.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), 'scanner')
    (folder / 'flat.nii').write_bytes(flat.to_bytes())
    gap = write_series(folder / 'gap', bright_block((4, 30, 32)))
    dicom_series.read(sorted(gap.iterdir())).paths[1].unlink()
    code, report = predict(folder)
    assert code == 1
    errors = {
        entry['file'].rsplit('/', 1)[-1]: entry['error']
        for entry in report['files']
        if 'error' in entry
    }
    assert errors.keys() == {'cut.nii.gz', 'text.nii', 'four.nii', 'flat.nii', 'gap'}
    assert all('\n' not in text for text in errors.values())
    assert 'three dimensions' in errors['four.nii']
    assert 'mm apart' in errors['gap']
    assert report['answered'] == 1
