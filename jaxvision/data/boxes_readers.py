"""The readers of boxes by the scheme of `data.source`."""

from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import (
    boxes_coco,
    boxes_csv,
    boxes_labelme,
    boxes_voc,
    boxes_yolo,
    content,
)
from jaxvision.data.boxes_dataset import BoxDataset, BoxListing
from jaxvision.data.protocol import Identify


def open_dataset(
    scheme: str, place: str, images: str, identify: Identify = content.identify
) -> BoxDataset:
    """Read the annotation files of a dataset. No image is decoded.

    Args:
        scheme: 'boxes', 'coco', 'voc' or 'yolo'.
        place: the file or folder behind the scheme. With 'boxes' it is a CSV table, or
            a folder of LabelMe's JSON files.
        images: `data.images`, the folder of the images; empty: that of the format. The
            scheme 'voc' ignores it, and a folder of LabelMe must not have it.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: The dataset cannot be read, or has no training image with a box.
    """
    if scheme == 'coco':
        listing = boxes_coco.read(place, images)
    elif scheme == 'voc':
        listing = boxes_voc.read(place)
    elif scheme == 'yolo':
        listing = boxes_yolo.read(place, images)
    else:
        listing = _read_boxes(place, images)
    return BoxDataset(listing, identify)


def _read_boxes(place: str, images: str) -> BoxListing:
    """Read a table, or the files of LabelMe in a folder."""
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError(f'data.source=boxes:{path}: there is no such file or folder')
    if not path.is_dir():
        return boxes_csv.read(place, images)
    if images:
        raise UserError(
            f'data.images={images}: files of LabelMe name their images. Leave data.images '
            'empty, or name a table as boxes:LABELS.csv'
        )
    return boxes_labelme.read(place)
