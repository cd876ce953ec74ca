"""DICOM files: values and windows are those of pydicom, and damage is named in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_images import write_slice

from jaxvision.core.errors import UserError
from jaxvision.data import dicom_files
from jaxvision.data.protocol import Unreadable
from jaxvision.data.windows import Window

pydicom = pytest.importorskip('pydicom', reason='the extra `medical`')

SHIPPED = Path(pydicom.__file__).parent / 'data' / 'test_files'
STORED = np.random.default_rng(0).integers(-1000, 3000, (20, 30)).astype(np.int16)


def shown_by_pydicom(path):
    """The image as pydicom applies the tables and windows of a file, in 0 to 255."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(path)
    values = apply_modality_lut(dataset.pixel_array, dataset)
    if dataset.get('VOILUTSequence'):
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:
        bits = dataset.BitsStored - dataset.PixelRepresentation
        low = -(2**bits) * dataset.PixelRepresentation
        slope = float(dataset.get('RescaleSlope', 1))
        intercept = float(dataset.get('RescaleIntercept', 0))
        low, high = (slope * end + intercept for end in (low, 2**bits - 1))
    shown = 255 * (apply_voi_lut(values, dataset) - low) / (high - low)
    if dataset.PhotometricInterpretation == 'MONOCHROME1':
        shown = 255 - shown
    return shown


WINDOW = {'WindowCenter': 400, 'WindowWidth': 1500}
RESCALE = {'RescaleSlope': 2, 'RescaleIntercept': -1024}


@pytest.mark.parametrize(
    'elements',
    [
        WINDOW,
        WINDOW | RESCALE,
        {'WindowCenter': [40, 600], 'WindowWidth': [300, 2800]},
        WINDOW | {'VOILUTFunction': 'LINEAR_EXACT'},
        WINDOW | {'VOILUTFunction': 'SIGMOID'} | RESCALE,
        WINDOW | {'PhotometricInterpretation': 'MONOCHROME1'},
        {'WindowCenter': 100, 'WindowWidth': 1},
    ],
    ids=['window', 'rescaled', 'several', 'exact', 'sigmoid', 'inverted', 'one value'],
)
def test_windows_are_those_of_pydicom(tmp_path, elements):
    path = write_slice(tmp_path / 'a.dcm', STORED, **elements)
    pixels = dicom_files.pixels(path)
    assert pixels.shape == (20, 30, 1) and pixels.dtype == np.uint8
    assert np.abs(pixels[..., 0] - shown_by_pydicom(path)).max() <= 0.501


@pytest.mark.parametrize(
    'name',
    ['MR_small.dcm', 'MR_small_RLE.dcm', 'MR_small_bigendian.dcm', 'CT_small.dcm'],
)
def test_values_of_other_programs_are_those_of_pydicom(name):
    from pydicom.pixels import apply_modality_lut

    path = SHIPPED / name
    dataset = pydicom.dcmread(path)
    expected = apply_modality_lut(dataset.pixel_array, dataset)
    values = dicom_files.read(path)
    is_padding = np.isnan(values)
    np.testing.assert_array_equal(values[~is_padding], expected[~is_padding])
    if is_padding.any():
        assert set(dataset.pixel_array[is_padding]) == {dataset.PixelPaddingValue}
    header = dicom_files.read_header(path)
    assert header.size == expected.shape
    assert list(header.spacing) == list(dataset.PixelSpacing)
    if header.window:
        gap = np.abs(dicom_files.pixels(path)[..., 0] - shown_by_pydicom(path))
        assert gap[~is_padding].max() <= 0.501


def test_a_table_of_the_file_is_applied(tmp_path):
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new('LUTDescriptor', 'US', [256, 0, 8])
    table.add_new('LUTData', 'US', [255 - value // 2 for value in range(256)])
    stored = STORED.clip(0, 255).astype(np.uint16)
    path = write_slice(tmp_path / 'a.dcm', stored, VOILUTSequence=[table])
    pixels = dicom_files.pixels(path)[..., 0]
    np.testing.assert_array_equal(pixels, 255 - stored // 2)


def test_without_a_window_few_values_are_black_and_white(tmp_path):
    padding = int(STORED[0, 0])
    path = write_slice(tmp_path / 'a.dcm', STORED, PixelPaddingValue=padding)
    pixels = dicom_files.pixels(path)[..., 0]
    is_padding = padding == STORED
    low, high = np.percentile(STORED[~is_padding], (0.5, 99.5))
    expected = 255 * np.clip((STORED - low) / (high - low), 0, 1)
    expected[is_padding] = 0
    assert np.abs(pixels - expected).max() <= 0.501


def test_a_window_of_the_user_comes_before_that_of_the_file(tmp_path):
    path = write_slice(tmp_path / 'a.dcm', STORED, **WINDOW, **RESCALE)
    pixels = dicom_files.pixels(path, Window.parse('40,400'))[..., 0]
    values = 2.0 * STORED - 1024
    assert np.abs(pixels - 255 * np.clip((values + 160) / 400, 0, 1)).max() <= 0.501
    for text in ('40', '40,0', '40,x', 'nan,4', '1,2,3'):
        with pytest.raises(UserError, match=r'data\.window=.*CENTER,WIDTH'):
            Window.parse(text)


def test_colours_are_rgb():
    path = SHIPPED / 'SC_rgb_small_odd.dcm'
    pixels = dicom_files.pixels(path)
    np.testing.assert_array_equal(pixels, pydicom.dcmread(path).pixel_array)
    with pytest.raises(Unreadable, match='expected grey'):
        dicom_files.read(path)


@pytest.mark.parametrize(
    'name, says',
    [
        ('MR_small_jpeg_ls_lossless.dcm', 'JPEG-LS.*cannot be decoded.*pylibjpeg'),
        ('JPEG-lossy.dcm', 'cannot be decoded.*12-bit precision'),
        ('MR_truncated.dcm', 'less than expected'),
        ('SC_rgb_rle_2frame.dcm', 'it has 2 frames: expected one image a file'),
        ('image_dfl.dcm', 'deflated'),
        ('examples_palette.dcm', 'PALETTE COLOR: expected grey or RGB'),
        ('rtplan.dcm', 'it holds no image'),
        ('README.txt', 'no DICOM file'),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(name, says):
    with pytest.raises(Unreadable, match=says) as caught:
        dicom_files.pixels(SHIPPED / name)
    assert '\n' not in str(caught.value)


def test_damaged_files_end_in_one_line(tmp_path):
    data = write_slice(tmp_path / 'a.dcm', STORED, **WINDOW).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / 'b.dcm'
    for number in range(60):
        damaged = bytearray(data[: int(rng.integers(1, len(data)))])
        if number % 2:
            damaged = bytearray(data)
            for place in rng.integers(132, 900, 8).tolist():
                damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            dicom_files.pixels(path)
        except Unreadable as error:
            assert '\n' not in str(error)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    path = write_slice(tmp_path / 'a.dcm', STORED, Rows=60_000, Columns=60_000)
    with pytest.raises(Unreadable, match='60000x60000 pixels are more'):
        dicom_files.pixels(path)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = write_slice(tmp_path / 'a.dcm', STORED)
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(UserError, match=r'extra `medical`: pip install -e'):
        dicom_files.pixels(path)
