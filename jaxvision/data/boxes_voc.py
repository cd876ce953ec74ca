"""Boxes in the format of Pascal VOC: an XML file for each image.

VOC's coordinates are numbers of pixels from 1 on, and the last pixel belongs to the box. Many
programs write numbers from 0 on. A dataset with a coordinate below 1 is read as one of those, whose
coordinates are edges between pixels.

Objects that VOC marks as difficult are ordinary objects here, since COCO's evaluation has no such
objects. VOC's evaluation ignores them.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data import walk
from jaxvision.data.annotation_files import (
    clean_text,
    is_file,
    parsed_number,
    parsed_size,
    read_bytes,
    shown,
)
from jaxvision.data.boxes_checks import AnnotatedImage, Boxes, have_area
from jaxvision.data.boxes_dataset import (
    BoxListing,
    Object,
    annotated,
    left_out,
    merge_splits,
    sorted_classes,
)
from jaxvision.data.labelled_files import count
from jaxvision.data.split_names import class_name

_CORNERS = ('ymin', 'xmin', 'ymax', 'xmax')
# The files of ImageSets/Main that are read, and what they are called here.
_SPLITS = {
    'train': 'train',
    'val': 'validation',
    'test': 'test',
    'trainval': 'trainval',
}


@dataclasses.dataclass(frozen=True)
class _Document:
    """What one XML file has.

    Attributes:
        image: with its objects; coordinates as written.
        difficult: the number of objects that are marked as difficult.
    """

    image: AnnotatedImage
    difficult: int


def read(place: str) -> BoxListing:
    """Read a folder in the layout of Pascal VOC.

    Coordinates in the files are numbers of pixels from 1 on, ymax and xmax inclusive.
    If ymin or xmin of any box is in [0, 1), all coordinates are edges instead. Objects
    marked as difficult are ordinary ones. XML files that no split lists, and images
    without an XML file, are left out with a note.

    Args:
        place: a folder with Annotations/, JPEGImages/ and perhaps
            ImageSets/Main/{train,val,trainval,test}.txt. Without these, all images are 'train'.

    Returns:
        The images of each split with their boxes, in pixels, as edges between pixels.
        The list `val` is the split 'validation'. The list `trainval` is the split
        'train' if there is no train.txt, else the split 'trainval'.

    Raises:
        UserError: A folder or an image is missing, or an XML file is not of VOC's form.
    """
    root = Path(place).expanduser()
    name = f'voc:{root}'
    xml_folder = _folder(root, 'Annotations')
    files = _xml_files(xml_folder)
    images = _images(_folder(root, 'JPEGImages'))
    stems, notes = _stems_by_split(root, files)
    documents = {}
    for stem in sorted(set().union(*stems.values())):
        image = _image(files[stem], images, stem, root)
        documents[stem] = _read_document(files[stem], image)
    notes += _notes_on_files(files, images, documents)
    begin, note = _first_pixel(list(documents.values()))
    notes.append(note)
    difficult = sum(document.difficult for document in documents.values())
    if difficult:
        notes.append(
            f'{count(difficult, "object")} marked as difficult: read as ordinary objects'
        )
    by_stem = {}
    for stem, document in documents.items():
        boxes = _edges(document.image.boxes, begin)
        by_stem[stem] = dataclasses.replace(document.image, boxes=boxes)
    by_split = {}
    for split, listed in stems.items():
        by_split[split] = [by_stem[stem] for stem in listed]
    return BoxListing(
        name=name,
        images=merge_splits(name, by_split),
        classes=sorted_classes(by_stem.values()),
        notes=notes,
    )


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    if not folder.is_dir():
        raise UserError(
            f'data.source=voc:{root}: expected the folders Annotations and JPEGImages in '
            f'it, and there is no {name}. Name the folder that holds both'
        )
    return folder


def _xml_files(folder: Path) -> dict[str, Path]:
    """The XML files of a folder by their stems."""
    files = {}
    for name in walk.contents_of(folder).names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() == '.xml':
            files[stem] = folder / name
    if not files:
        raise UserError(f'{folder} has no XML files')
    return files


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their stems."""
    images = {}
    for name in walk.contents_of(folder).names:
        stem = os.path.splitext(name)[0]
        other = images.setdefault(stem, folder / name)
        if other.name != name:
            raise UserError(
                f'{other} and {folder / name} have one name but for the suffix. Remove one '
                'of them, since an XML file belongs to one image'
            )
    return images


def _image(file: Path, images: Mapping[str, Path], stem: str, root: Path) -> Path:
    path = images.get(stem)
    if path is None or not is_file(path):
        raise UserError(f'{file}: there is no image {root / "JPEGImages" / stem}.jpg')
    return path


def _stems_by_split(
    root: Path, files: Mapping[str, Path]
) -> tuple[dict[str, list[str]], list[str]]:
    """The names of the images of each split, without suffix, and notes."""
    folder = root / 'ImageSets' / 'Main'
    stems = {}
    for name, split in _SPLITS.items():
        table = folder / f'{name}.txt'
        if is_file(table):
            stems[split] = _listed(table, files)
    if not stems:
        return {'train': list(files)}, []
    if 'train' not in stems and 'trainval' in stems:
        stems['train'] = stems.pop('trainval')
        return stems, ['there is no train.txt: trainval.txt is the training split']
    return stems, []


def _listed(table: Path, files: Mapping[str, Path]) -> list[str]:
    """The names that a file of ImageSets/Main lists, each once.

    Raises:
        UserError: A name has no XML file.
    """
    stems = {}
    text = read_bytes(table).decode(errors='replace').lstrip('\ufeff')
    for line in text.splitlines():
        stem = line.strip()
        if not stem:
            continue
        if stem not in files:
            stem = stem.split()[0]  # VOC writes -1, 0 or 1 behind some names.
        if stem not in files:
            raise UserError(f'{table}: there is no Annotations/{shown(stem)[1:-1]}.xml')
        stems[stem] = True
    return list(stems)


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds a tree, and refuses a document that declares a type and perhaps entities."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError('a DOCTYPE is not allowed')


def _parse(file: Path) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        UserError: The file cannot be read, is no XML, or has a DOCTYPE.
    """
    data = read_bytes(file)
    try:
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f'{file} is no XML of Pascal VOC: {error}') from error


def _read_document(file: Path, image: Path) -> _Document:
    """Read the objects of an image, with coordinates as the XML file has them.

    Args:
        file: the XML file.
        image: the image that it is about.

    Raises:
        UserError: The file is not of VOC's form.
    """
    root = _parse(file)
    if root.tag != 'annotation':
        raise UserError(
            f'{file} is no XML of Pascal VOC: its root is {shown(root.tag)}, not annotation'
        )
    objects = []
    difficult = 0
    for element in root.iterfind('object'):
        name = class_name(clean_text(element.findtext('name', '').strip()))
        if not name:
            raise UserError(f'{file}: an object has no name')
        corners = [
            parsed_number(element.findtext(f'bndbox/{corner}')) for corner in _CORNERS
        ]
        ymin, xmin, ymax, xmax = corners
        if ymin is None or xmin is None or ymax is None or xmax is None:
            raise UserError(
                f'{file}: the object {shown(name)} has no bndbox of four numbers'
            )
        objects.append(Object(name, (ymin, xmin, ymax, xmax)))
        difficult += element.findtext('difficult', '').strip() == '1'
    size = parsed_size(
        root.findtext('size/height', ''), root.findtext('size/width', '')
    )
    return _Document(annotated(image, objects, size), difficult)


def _first_pixel(documents: Sequence[_Document]) -> tuple[int, str]:
    """The coordinate of the first pixel in a dataset, 0 or 1, and a note that says it."""
    boxes = np.concatenate([document.image.boxes for document in documents])
    corners = boxes[:, :2]
    if ((corners >= 0) & (corners < 1)).any():
        return 0, 'coordinates begin at 0: read as edges between pixels'
    return 1, 'coordinates begin at 1: read as the first and the last pixel of a box'


def _edges(boxes: Boxes, begin: int) -> Boxes:
    """The edges of boxes.

    A box whose last pixel is its first, as written, has no area: no object is so narrow. It stays
    so.

    Args:
        boxes: as the files have them.
        begin: the coordinate of the first pixel.
    """
    edges = boxes.copy()
    edges[have_area(boxes), :2] -= begin
    return edges


def _notes_on_files(
    files: Mapping[str, Path], images: Mapping[str, Path], read_stems: Mapping
) -> list[str]:
    """Notes of annotation files and images that no split has."""
    notes = []
    unread = [path.name for stem, path in files.items() if stem not in read_stems]
    if unread:
        notes.append(
            left_out(len(unread), 'XML file', 'that no split lists', unread[0])
        )
    unlabelled = [path.name for stem, path in images.items() if stem not in files]
    if unlabelled:
        reason = 'without an XML file'
        notes.append(left_out(len(unlabelled), 'image', reason, unlabelled[0]))
    return notes
