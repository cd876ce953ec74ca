"""DICOM files of one image, written for tests of their readers."""

import numpy as np

AXIAL = (1, 0, 0, 0, 1, 0)


def write_slice(path, stored, series='1.2.3', **elements):
    """Write an uncompressed DICOM file of int16 or uint16 [H, W] pixels.

    Args:
        path: of the file.
        stored: the pixels, before any rescaling.
        series: the number of the series.
        elements: further elements by their keywords, such as PixelSpacing.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = '1.2.3.4'
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b'\0' * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = '1.2.3.4'
    dataset.Modality = 'CT'
    dataset.SeriesInstanceUID = series
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = 'MONOCHROME2'
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(stored.dtype == np.int16)
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


def write_series(
    folder, voxels, spacing=(2.0, 0.5, 0.75), axes=AXIAL, origin=(0, 0, 0), **more
):
    """Write int16 voxels [slice, row, column] as files in an order other than that of the body.

    Args:
        folder: of the files.
        voxels: the slices along the normal of their plane.
        spacing: of slices, rows and columns, millimetres.
        axes: direction of a row and of a column, to the left, the back and the head.
        origin: place of the first voxel.
        more: as for `write_slice`.
    """
    normal = np.cross(axes[:3], axes[3:])
    order = np.random.default_rng(0).permutation(len(voxels))
    for name, number in enumerate(order.tolist()):
        position = np.array(origin) + spacing[0] * number * normal
        write_slice(
            folder / f'{name:03}.dcm',
            voxels[number],
            ImagePositionPatient=position.tolist(),
            ImageOrientationPatient=list(axes),
            PixelSpacing=[spacing[1], spacing[2]],
            InstanceNumber=name,
            **more,
        )
    return folder
