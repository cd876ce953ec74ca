"""The datasets behind `masks:`, by the kind of their images."""

from pathlib import Path

from jaxvision.data import (
    content,
    masks_dicom,
    masks_folder,
    masks_table,
    masks_volumes,
)
from jaxvision.data.masks_dataset import MaskDataset
from jaxvision.data.protocol import Identify


def open_folder(
    place: str, identify: Identify = content.identify
) -> 'MaskDataset | masks_volumes.VolumeDataset':
    """List the images and masks of a folder, and read its table of classes.

    Args:
        place: the folder behind `masks:`, see `masks_folder.read`.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: The folder has another layout, classes.csv cannot be read, or some images are
            volumes or DICOM files, and others are not.
    """
    root = Path(place).expanduser()
    listing = masks_folder.read(root)
    path = masks_table.find(root)
    table = masks_table.read(path) if path else None
    if masks_volumes.are_volumes(listing):
        return masks_volumes.VolumeDataset(listing, table, identify)
    if masks_dicom.are_dicom(listing):
        return masks_dicom.DicomDataset(listing, table, identify)
    return MaskDataset(listing, table, identify)
