"""Boxes in the format of YOLO: a YAML file, and a text label file for each image."""

import itertools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from jaxvision.core.errors import UserError
from jaxvision.core.types import Json, Value
from jaxvision.data import segmentations, walk
from jaxvision.data.annotation_files import (
    check_files,
    clean_text,
    inside,
    is_file,
    parsed_number,
    read_bytes,
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
)
from jaxvision.data.files import image_suffixes
from jaxvision.data.labelled_files import count
from jaxvision.data.split_names import class_name

_SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}
_NOTHING = ('', '~', 'null')  # what YAML calls no value
_MOST_BYTES = 10_000_000  # of a YAML file, which is slow to read


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, so that a class may be called `no`, and refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Json:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(
                problem='a key is there twice', problem_mark=node.start_mark
            )
        return mapping


def read(place: str, images: str = '') -> BoxListing:
    """Read a dataset in the layout of Ultralytics.

    The labels of images/NAME.jpg are in labels/NAME.txt, or beside the image if no folder `images`
    is in its path. An image without such a file has no objects. A polygon becomes its
    bounding box and its mask. With `kpt_shape`, key points are not read.

    Args:
        place: the YAML file, with `names`, `train`, `val` and perhaps `path` and `test`.
        images: `data.images`, which replaces `path`; empty: `path`, which has to lie in
            the folder of the file. A `path` that ends with the name of that folder
            means that folder.

    Returns:
        The images of the splits 'train', 'validation' (`val`) and 'test' with their
        boxes, as fractions of the image.

    Raises:
        UserError: There is no such file, it is not of that form, an image is missing,
            or no image has a label file.
    """
    file = Path(place).expanduser()
    fields = _parse(file)
    root, notes = _root(file, _text(file, fields, 'path'), images)
    names = _class_names(file, fields.get('names', ''))
    paths = {
        split: _image_paths(file, root, fields[key])
        for key, split in _SPLITS.items()
        if _is_given(fields.get(key))
    }
    if not paths:
        raise UserError(f'{file} has no `train`: expected a folder of images')
    all_paths = itertools.chain.from_iterable(paths.values())
    labels = {path: _label_file(root, path) for path in all_paths}
    if not any(map(is_file, labels.values())):
        example = next(iter(labels.values()), root / 'labels')
        raise UserError(
            f'{file}: no image has a label file, such as {example}. Put the files there'
        )
    has_keypoints = _is_given(fields.get('kpt_shape'))
    by_split = {}
    for split, split_paths in paths.items():
        by_split[split] = [
            _annotated(path, labels[path], has_keypoints) for path in split_paths
        ]
    notes += _notes_on_labels(labels)
    return BoxListing(
        name=f'yolo:{file}',
        images=merge_splits(f'yolo:{file}', by_split),
        classes=dict(names),
        category_ids=tuple(names),
        notes=notes,
        is_relative=True,
    )


def _parse(file: Path) -> Json:
    """The fields of a YAML file, all scalars as text."""
    data = read_bytes(file)
    if len(data) > _MOST_BYTES:
        raise UserError(f'{file}: {len(data):,} bytes are too many for a YAML file')
    try:
        fields = yaml.load(data, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'{file} is no YAML: {reason}') from error
    if not isinstance(fields, dict):
        raise UserError(
            f'{file}: expected fields such as `names: ...` and `train: ...`, and this YAML file '
            'has none. Give the YAML file of the dataset as data.source=yolo:FILE'
        )
    return fields


def _is_given(value: Value) -> bool:
    """Whether a field has a value other than YAML's null."""
    return bool(value) and value not in _NOTHING


def _text(file: Path, fields: Json, key: str) -> str:
    """A field that is a text; '' if it is not given."""
    value = fields.get(key, '')
    if not _is_given(value):
        return ''
    if not isinstance(value, str):
        raise UserError(
            f'{file}: `{key}`: expected one text, not a list or mapping: {shown(value)}'
        )
    return value


def _root(file: Path, path: str, images: str) -> tuple[Path, list[str]]:
    """The folder that the paths of the YAML file begin at, and notes.

    Args:
        file: the YAML file.
        path: its field `path`.
        images: `data.images`.

    Raises:
        UserError: The folder does not exist, or lies outside of that of the file.
    """
    folder = file.parent
    if images:
        root = Path(images).expanduser()
        if not root.is_dir():
            raise UserError(f'data.images={images}: there is no such folder')
        return root, []
    if not path or PurePosixPath(path) == PurePosixPath('.'):
        return folder, []
    pure = PurePosixPath(path.replace('\\', '/'))
    is_below = not pure.is_absolute() or pure.is_relative_to(folder.absolute())
    is_inside = is_below and '..' not in pure.parts
    if is_inside and '\0' not in path and os.path.isdir(folder / pure):
        return folder / pure, []
    if pure.name == folder.absolute().name:
        return folder, [f'path: {shown(path)} is read as the folder of {file.name}']
    raise UserError(
        f'{file}: `path` is {shown(path)}, which is no folder beside the file. Set '
        'data.images to the folder that `path` means'
    )


def _class_names(file: Path, names: Value) -> dict[int, str]:
    """{number: name} of the classes, from a list or a mapping."""
    if isinstance(names, list):
        names = {str(row): name for row, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise UserError(f'{file}: `names` is no list of class names: {shown(names)}')
    classes = {}
    for key, name in names.items():
        is_number = isinstance(key, str) and re.fullmatch(r'\d{1,9}', key)
        if not is_number or not isinstance(name, str) or not name:
            raise UserError(
                f'{file}: `names` has {shown(key)}: {shown(name)}, expected the number of a '
                'class and its name'
            )
        if int(key) in classes:
            raise UserError(f'{file}: `names` has the number {int(key)} twice')
        classes[int(key)] = class_name(clean_text(name))
    return dict(sorted(classes.items()))


def _image_paths(file: Path, root: Path, entries: Value) -> list[Path]:
    """The images of a split, sorted in each folder.

    Args:
        file: the YAML file.
        root: the folder that paths begin at.
        entries: a folder, a text file that lists images, or a list of these.

    Raises:
        UserError: There is no such folder or file, or it has no images.
    """
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, list):
        raise UserError(
            f'{file}: expected the path of a folder or of a list of images, not '
            f'{shown(entries)}. Write one path, or a list of paths'
        )
    paths = {}
    for entry in entries:
        if not isinstance(entry, str):
            raise UserError(
                f'{file}: expected the path of a folder or of a list of images, not '
                f'{shown(entry)}. Write each path as a text'
            )
        place = _place(file, root, entry)
        if is_file(place):
            listed = _listed(place, root)
        else:
            listed = _in_folder(place)
        if not listed:
            raise UserError(f'{file}: {place} has no images')
        paths |= dict.fromkeys(listed)
    return list(paths)


def _place(file: Path, root: Path, entry: str) -> Path:
    """The folder or list that an entry names. Roboflow writes ../train/images for train/images."""
    name = entry.replace('\\', '/').removeprefix('../')
    place = inside(file, root, name)
    if not is_file(place) and not os.path.isdir(place):
        raise UserError(
            f'{file}: there is no folder or list {shown(entry)} in {root}. Set data.images to '
            'the folder in which this path begins'
        )
    return place


def _in_folder(folder: Path) -> list[Path]:
    """The images in a folder, at any depth."""
    suffixes = image_suffixes()
    paths = []
    for contents in walk.walk(folder):
        for name in contents.names:
            if os.path.splitext(name)[1].lower() in suffixes:
                paths.append(Path(contents.join(name)))
    return paths


def _listed(table: Path, root: Path) -> list[Path]:
    """The images that a text file lists, each once; relative to the file or to the dataset."""
    paths = {}
    text = read_bytes(table).decode(errors='replace').lstrip('\ufeff')
    for line in text.splitlines():
        name = line.strip()
        if not name:
            continue
        path = inside(table, root, name)
        if not is_file(path) and not PurePosixPath(name).is_absolute():
            beside = inside(table, table.parent, name)
            if is_file(beside):
                path = beside
        paths[path] = True
    check_files(table, root, list(paths), 'Correct the list')
    return list(paths)


def _label_file(root: Path, image: Path) -> Path:
    """The label file of an image: `labels` in place of the last folder `images`."""
    relative = image
    if image.is_relative_to(root):
        relative = image.relative_to(root)
    parts = list(relative.with_suffix('.txt').parts)
    folders = parts[:-1]
    if 'images' in folders:
        last = len(folders) - 1 - folders[::-1].index('images')
        parts[last] = 'labels'
        return root.joinpath(*parts)
    return image.with_suffix('.txt')


def _annotated(image: Path, labels: Path, has_keypoints: bool) -> AnnotatedImage:
    """An image with the objects of its label file; none if there is no such file."""
    if not is_file(labels):
        return annotated(image, [])
    text = read_bytes(labels).decode(errors='replace').lstrip('\ufeff')
    objects = [
        _object(f'{labels}, line {row}', line.split(), has_keypoints)
        for row, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    return annotated(image, objects)


def _object(where: str, words: Sequence[str], has_keypoints: bool) -> Object:
    """Read one line of labels.

    Args:
        where: the file and the line, for messages.
        words: class, x centre, y centre, width and height; or class and the points of a polygon.
        has_keypoints: whether the points of a skeleton follow the box.

    Raises:
        UserError: The line is neither.
    """
    numbers = [value for value in map(parsed_number, words) if value is not None]
    if len(numbers) != len(words):
        raise UserError(f'{where}: expected numbers, not {shown(" ".join(words))}')
    if has_keypoints:
        numbers = numbers[:5]
    is_polygon = len(numbers) >= 7 and len(numbers) % 2 == 1
    if len(numbers) != 5 and not is_polygon:
        raise UserError(
            f'{where}: expected a class and four numbers of a box, or a class and the points '
            f'of a polygon, not {len(numbers)} numbers'
        )
    label, *coordinates = numbers
    if not label.is_integer():
        raise UserError(f'{where}: expected the number of a class, not {words[0]}')
    if is_polygon:
        xs = coordinates[0::2]
        ys = coordinates[1::2]
        outline = segmentations.of_polygons([np.stack([xs, ys], axis=-1)])
        return Object(int(label), bounding_box(xs, ys), outline=outline)
    x, y, width, height = coordinates
    box = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    return Object(int(label), box)


def _notes_on_labels(labels: Mapping[Path, Path]) -> list[str]:
    """Notes of images without a label file, and of such files without an image."""
    notes = []
    unlabelled = [path for path, file in labels.items() if not is_file(file)]
    if unlabelled:
        notes.append(
            f'{count(len(unlabelled), "image")} without a label file: read as images '
            f'without objects, such as {unlabelled[0].name}'
        )
    unused = _unused(set(labels.values()))
    if unused:
        reason = 'without an image of any split'
        notes.append(left_out(len(unused), 'label file', reason, unused[0].name))
    return notes


def _unused(known: Collection[Path]) -> list[Path]:
    """The label files that belong to no image, in the folders of those that do."""
    folders = dict.fromkeys(file.parent for file in known if 'labels' in file.parts)
    unused = []
    for folder in folders:
        for name in walk.contents_of(folder).names:
            is_label_file = name.endswith('.txt') and name != 'classes.txt'
            if is_label_file and folder / name not in known:
                unused.append(folder / name)
    return unused
