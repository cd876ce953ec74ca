"""Boxes in the format of LabelMe: a JSON file for each image."""

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Value
from jaxvision.data import segmentations, walk
from jaxvision.data.annotation_files import (
    as_list,
    as_object,
    clean_text,
    inside,
    is_file,
    number,
    parsed_size,
    read_json,
    shown,
)
from jaxvision.data.boxes_checks import AnnotatedImage
from jaxvision.data.boxes_dataset import (
    BoxListing,
    Object,
    annotated,
    bounding_box,
    left_out,
    merge_splits,
    sorted_classes,
)
from jaxvision.data.files import image_suffixes
from jaxvision.data.labelled_files import count, name_in
from jaxvision.data.split_names import class_name, split_of

# The shapes that are read, with the fewest points of each.
_POINTS = {'rectangle': 2, 'polygon': 3, 'rotation': 4, 'oriented_rectangle': 4}


def read(place: str) -> BoxListing:
    """Read the JSON files of a folder, at any depth.

    A folder directly in `place` with the name of a split, such as train or val, is that
    split. JSON files outside of such folders are then left out with a note. Without
    such folders, all images are 'train'. A polygon or a rotated rectangle becomes its
    bounding box and its mask. Other shapes, such as circles, and images without a JSON
    file are left out with a note.

    Args:
        place: the folder.

    Returns:
        The images of each split with their boxes, in pixels.

    Raises:
        UserError: There is no JSON file, one is not of LabelMe's form, an image is missing,
            or the folders of splits are not directly in `place`.
    """
    root = Path(place).expanduser()
    files, unlabelled = _files(root)
    folders = {_top(root, file) for file in files}
    has_splits = any(split_of(name) for name in folders)
    if not has_splits:
        _refuse_nested_splits(root, files)
    other_shapes: Counter[str] = Counter()
    by_split: dict[str, list[AnnotatedImage]] = {}
    unread = []
    for file in files:
        split = split_of(_top(root, file))
        if not has_splits:
            split = 'train'
        if split:
            image = _read_file(root, file, other_shapes)
            by_split.setdefault(split, []).append(image)
        else:
            unread.append(file)
    notes = [
        f'{count(occurrences, "shape")} of the kind {shown(kind)} dropped: expected a '
        'rectangle or a polygon'
        for kind, occurrences in other_shapes.items()
    ]
    if unread:
        first = name_in(root, unread[0])
        notes.append(left_out(len(unread), 'JSON file', 'outside of the splits', first))
    images = list(itertools.chain.from_iterable(by_split.values()))
    known = {os.path.realpath(image.path) for image in images}
    unlisted = [path for path in unlabelled if os.path.realpath(path) not in known]
    if unlisted:
        first = name_in(root, unlisted[0])
        notes.append(left_out(len(unlisted), 'image', 'without a JSON file', first))
    return BoxListing(
        name=f'boxes:{root}',
        images=merge_splits(f'boxes:{root}', by_split),
        classes=sorted_classes(images),
        notes=notes,
    )


def _refuse_nested_splits(root: Path, files: list[Path]) -> None:
    """Refuse a folder whose splits are further down: all images would be 'train'."""
    for file in files:
        parents = file.relative_to(root).parts[:-1]
        if any(split_of(name) for name in parents):
            raise UserError(
                f'data.source=boxes:{root}: expected the folders of the splits directly in '
                f'it, and {name_in(root, file)} is in one further down. Give the folder '
                'that holds them'
            )


def _files(root: Path) -> tuple[list[Path], list[Path]]:
    """The JSON files and the images below a folder."""
    suffixes = image_suffixes()
    files = []
    images = []
    for contents in walk.walk(root):
        for name in contents.names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix == '.json':
                files.append(Path(contents.join(name)))
            elif suffix in suffixes:
                images.append(Path(contents.join(name)))
    if not files:
        raise UserError(
            f'data.source=boxes:{root}: expected JSON files of LabelMe in the folder. Name a '
            'table of boxes as boxes:LABELS.csv'
        )
    return files, images


def _top(root: Path, file: Path) -> str:
    """The first folder below the root in the path of a file; '' if there is none."""
    folders = file.parent.relative_to(root).parts
    return ''.join(folders[:1])


def _read_file(root: Path, file: Path, other_shapes: Counter[str]) -> AnnotatedImage:
    """Read a JSON file.

    Args:
        root: the folder of the dataset, which holds the image.
        file: the JSON file.
        other_shapes: counts the shapes that are no boxes, by kind.

    Raises:
        UserError: The file is not of LabelMe's form, or its image is missing.
    """
    fields = read_json(file)
    shapes = fields.get('shapes')
    name = fields.get('imagePath')
    if not isinstance(shapes, list) or not isinstance(name, str):
        raise UserError(
            f'{file} has no list `shapes` or no text `imagePath`: expected a file of '
            'LabelMe. A file of COCO is read by coco:FILE'
        )
    objects = []
    for shape in shapes:
        item = _object(file, shape, other_shapes)
        if item:
            objects.append(item)
    size = parsed_size(fields.get('imageHeight'), fields.get('imageWidth'))
    return annotated(_image(root, file, name), objects, size)


def _image(root: Path, file: Path, name: str) -> Path:
    """The image of a JSON file: the one that it names, or one of its own name beside it.

    The name may begin with `..` if the image still lies in the folder of the dataset.
    """
    path = PurePosixPath(name.replace('\\', '/'))
    folder = file.parent.relative_to(root).as_posix()
    relative = os.path.normpath(os.path.join(folder, path))
    places = [file.with_suffix(path.suffix)]
    if not path.is_absolute() and '\0' not in name:
        places.insert(0, inside(file, root, relative))
    elif path.is_absolute():
        places.insert(0, file.parent / path.name)
    for place in places:
        if is_file(place):
            return place
    raise UserError(f'{file}: there is no image {shown(name)}. Put it beside the file')


def _object(file: Path, shape: Value, other_shapes: Counter[str]) -> Object | None:
    """The bounding box of a shape; None, and counted, if it is no box or polygon."""
    fields = as_object(shape)
    label = fields.get('label')
    kind = fields.get('shape_type', 'polygon')
    if not isinstance(label, str) or not isinstance(kind, str):
        raise UserError(
            f'{file}: expected a text `label`, and a text `shape_type` if it is there, in the '
            f'shape {shown(shape)}'
        )
    if kind not in _POINTS:
        other_shapes[kind] += 1
        return None
    name = class_name(clean_text(label).strip())
    if not name:
        raise UserError(f'{file}: the label of a shape is empty')
    xs, ys = _coordinates(file, fields.get('points'), _POINTS[kind])
    outline = None
    if kind != 'rectangle':
        outline = segmentations.of_polygons([np.stack([xs, ys], axis=-1)])
    return Object(name, bounding_box(xs, ys), outline=outline)


def _coordinates(
    file: Path, points: Value, fewest: int
) -> tuple[Sequence[float], Sequence[float]]:
    """The x and the y of the points of a shape."""
    xs = []
    ys = []
    for point in as_list(points):
        pair = [number(value) for value in as_list(point)]
        if len(pair) != 2 or None in pair:
            raise UserError(
                f'{file}: a point of a shape is {shown(point)}, expected two numbers'
            )
        xs.append(pair[0])
        ys.append(pair[1])
    if len(xs) < fewest:
        raise UserError(
            f'{file}: a shape has {len(xs)} points, expected {fewest} or more'
        )
    return xs, ys
