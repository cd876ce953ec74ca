"""Boxes in COCO's format: its folders, those of Roboflow, and single files."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.core.types import Value
from jaxvision.data import segmentations, walk
from jaxvision.data.annotation_files import (
    as_list,
    as_object,
    check_files,
    clean_text,
    image_folder,
    inside,
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
    merge_splits,
)
from jaxvision.data.labelled_files import count
from jaxvision.data.split_names import split_of, splits_in

_PREFIX = 'instances_'
_ROBOFLOW = '_annotations.coco.json'
_LAYOUTS = (
    f'annotations/{_PREFIX}train*.json, annotations/{_PREFIX}val*.json, or a folder '
    f'for each split with {_ROBOFLOW}'
)


@dataclasses.dataclass(frozen=True)
class _File:
    """What one annotation file has.

    Attributes:
        images: with their objects.
        categories: {id: name}.
        notes: on the file.
    """

    images: Sequence[AnnotatedImage]
    categories: Mapping[int, str]
    notes: Sequence[str]


def read(place: str, images: str = '') -> BoxListing:
    """Read annotation files in COCO's format.

    Args:
        place: a JSON file, whose images are the split 'train'; or a folder in COCO's
            layout, with annotations/instances_*.json, or in Roboflow's, with
            SPLIT/_annotations.coco.json. The name of an instances file has to mean a
            split, as val2017 means 'validation'. If there is only one such file and its
            name means none, it is 'train'.
        images: `data.images`, the folder of the images; empty: the folder that the layout has.

    Returns:
        The images of each split with their boxes, in pixels. Images without boxes are
        among them. Classes are in the order of their ids. A category without boxes is
        left out with a note if another one has its name.

    Raises:
        UserError: There is no such file, it is not of that form, or an image is
            missing. Two files are of one split, a category has two names, or two
            categories with boxes have one name.
    """
    path = Path(place).expanduser()
    name = f'coco:{path}'
    read_files = {
        split: _read_file(file, image_folder(file, images, _PREFIX))
        for split, file in _files_by_split(path).items()
    }
    categories = _merged_categories(name, list(read_files.values()))
    categories, notes = _without_namesakes(name, categories, list(read_files.values()))
    for file in read_files.values():
        notes += file.notes
    images_by_split = {split: file.images for split, file in read_files.items()}
    return BoxListing(
        name=name,
        images=merge_splits(name, images_by_split),
        classes=dict(categories),
        category_ids=tuple(categories),
        notes=notes,
    )


def _files_by_split(path: Path) -> dict[str, Path]:
    """The annotation file of each split."""
    if path.is_file():
        return {'train': path}
    if not path.is_dir():
        raise UserError(f'data.source=coco:{path}: there is no such file or folder')
    files = _coco_files(path) or _roboflow_files(path)
    by_split: dict[str, Path] = {}
    for split, file in files:
        other = by_split.setdefault(split, file)
        if other is not file:
            raise UserError(
                f'{other} and {file} are both of the split {split}. Name one of them as '
                'coco:FILE, or remove it'
            )
    if not by_split:
        raise UserError(f'data.source=coco:{path}: expected {_LAYOUTS}')
    return by_split


def _coco_files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) of each annotations/instances_NAME.json."""
    annotations = folder / 'annotations'
    if not annotations.is_dir():
        annotations = folder
    names = [
        name
        for name in walk.contents_of(annotations).names
        if name.startswith(_PREFIX) and name.endswith('.json')
    ]
    files = []
    for name in names:
        splits = splits_in(name.removeprefix(_PREFIX).removesuffix('.json'))
        if len(splits) == 1:
            files.append((splits.pop(), annotations / name))
        elif len(names) == 1:
            files.append(('train', annotations / name))
        else:
            raise UserError(
                f'{annotations / name}: expected the name of one split, such as '
                f'{_PREFIX}train.json. Rename the file or name it as coco:FILE'
            )
    return files


def _roboflow_files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) of each SPLIT/_annotations.coco.json, or of one without SPLIT."""
    if (folder / _ROBOFLOW).is_file():
        return [('train', folder / _ROBOFLOW)]
    return [
        (split_of(name), folder / name / _ROBOFLOW)
        for name in walk.contents_of(folder).folders
        if split_of(name) and (folder / name / _ROBOFLOW).is_file()
    ]


def _read_file(file: Path, folder: Path) -> _File:
    """Read one annotation file.

    Args:
        file: the JSON file.
        folder: of the images.

    Raises:
        UserError: The file is not of COCO's form, or an image is missing.
    """
    fields = read_json(file)
    lists = [fields.get(key) for key in ('images', 'annotations', 'categories')]
    if not all(isinstance(entries, list) for entries in lists):
        raise UserError(
            f'{file}: expected the lists `images`, `annotations` and `categories` of '
            "COCO's format of boxes, and one is missing. Captions are read by "
            'captions:FILE'
        )
    image_entries, object_entries, category_entries = lists
    categories = _categories(file, category_entries)
    paths = {}
    sizes = {}
    for entry in image_entries:
        key, name = _image(file, entry)
        if key in paths:
            raise UserError(f'{file}: two images have the id {shown(key)}')
        paths[key] = inside(file, folder, name)
        sizes[key] = parsed_size(entry.get('height'), entry.get('width'))
    objects: dict[int | str, list[Object]] = {key: [] for key in paths}
    unlisted = []
    for entry in object_entries:
        key, item = _object(file, entry)
        if key in objects:
            objects[key].append(item)
        else:
            unlisted.append(key)
    remedy = 'Name their folder as data.images=DIR'
    check_files(file, folder, list(paths.values()), remedy)
    notes = []
    if unlisted:
        notes.append(
            f'{file.name}: {count(len(unlisted), "annotation")} of images that it does not '
            f'list dropped, the first of the image {shown(unlisted[0])}'
        )
    images = [annotated(paths[key], objects[key], sizes[key]) for key in paths]
    return _File(images, categories, notes)


def _categories(file: Path, entries: Sequence[Value]) -> dict[int, str]:
    """{id: name} of the categories of a file, in the order of the ids."""
    categories = {}
    for entry in entries:
        fields = as_object(entry)
        key = fields.get('id')
        name = fields.get('name')
        if not _is_id(key) or isinstance(key, str) or not isinstance(name, str):
            raise UserError(
                f'{file}: one of its categories has no number `id` or no text `name`: '
                f'{shown(entry)}'
            )
        if key in categories:
            raise UserError(f'{file}: two categories have the id {shown(key)}')
        categories[key] = clean_text(name)
    return dict(sorted(categories.items()))


def _image(file: Path, entry: Value) -> tuple[int | str, str]:
    """The id and the file name of an entry of `images`."""
    fields = as_object(entry)
    key = fields.get('id')
    name = fields.get('file_name')
    if not _is_id(key) or not isinstance(name, str):
        raise UserError(
            f'{file}: one of its images has no `id` or no `file_name`: {shown(entry)}'
        )
    return key, name


def _object(file: Path, entry: Value) -> tuple[int | str, Object]:
    """The id of the image of an entry of `annotations`, and the object."""
    fields = as_object(entry)
    image = fields.get('image_id')
    category = fields.get('category_id')
    crowd = fields.get('iscrowd', 0)
    area = fields.get('area')
    sides = [number(side) for side in as_list(fields.get('bbox'))]
    has_ids = _is_id(image) and _is_id(category)
    if not has_ids or len(sides) != 4 or None in sides:
        raise UserError(
            f'{file}: one of its annotations has no `image_id`, no `category_id` or no '
            f'`bbox` of four numbers: {shown(entry)}'
        )
    if crowd not in (0, 1):
        raise UserError(
            f'{file}: the `iscrowd` of an annotation is neither 0 nor 1: {shown(crowd)}'
        )
    x, y, width, height = sides
    edges = (y, x, y + height, x + width)
    outline = segmentations.of_coco(fields.get('segmentation'))
    return image, Object(category, edges, bool(crowd), _area(file, area), outline)


def _area(file: Path, value: Value) -> float:
    """The area of an annotation; NaN if it has none."""
    if value is None:
        return math.nan
    area = number(value)
    if area is None:
        raise UserError(
            f'{file}: the `area` of an annotation is no number: {shown(value)}'
        )
    if math.isnan(area):
        return -1.0  # The checks count an area that is there and no positive number.
    return area


def _is_id(value: Value) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _merged_categories(name: str, files: Sequence[_File]) -> dict[int, str]:
    """The categories of all files, in the order of the ids.

    Raises:
        UserError: A category has two names.
    """
    merged = {}
    for file in files:
        for key, category in file.categories.items():
            other = merged.setdefault(key, category)
            if other != category:
                raise UserError(
                    f'{name}: the category {key} is {other!r} in one file and '
                    f'{category!r} in another. Number the categories alike in all files'
                )
    return dict(sorted(merged.items()))


def _without_namesakes(
    name: str, categories: Mapping[int, str], files: Sequence[_File]
) -> tuple[dict[int, str], list[str]]:
    """Leave out a category without boxes that has the name of another one.

    Roboflow writes such a category for the project itself.

    Args:
        name: the dataset, for messages.
        categories: {id: name} of all files.
        files: all files.

    Returns:
        The categories, and notes of those that are left out.

    Raises:
        UserError: Two categories of one name have boxes.
    """
    used = {label for file in files for image in file.images for label in image.labels}
    chosen: dict[str, int] = {}
    notes = []
    for key in sorted(categories, key=lambda key: (key not in used, key)):
        other = chosen.setdefault(categories[key], key)
        if other == key:
            continue
        if key in used:
            raise UserError(
                f'{name}: the categories {other} and {key} are both called '
                f'{categories[key]!r}. Rename one of them'
            )
        notes.append(
            f'the category {key} is left out: it has no box, and the name of the category '
            f'{other}, {categories[key]!r}'
        )
    kept = set(chosen.values())
    return {key: text for key, text in categories.items() if key in kept}, notes
