"""Boxes in a table: a file, a class and the edges of one box in each row."""

import itertools
import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import tables, walk
from jaxvision.data.annotation_files import (
    check_files,
    inside,
    is_file,
    parsed_number,
    parsed_size,
    shown,
)
from jaxvision.data.boxes_dataset import (
    BoxListing,
    Object,
    annotated,
    left_out,
    merge_splits,
    sorted_classes,
)
from jaxvision.data.files import image_suffixes
from jaxvision.data.labelled_files import count, name_in
from jaxvision.data.split_names import class_name, split_of

_EDGES = ('ymin', 'xmin', 'ymax', 'xmax')
_NEEDED = ('file', 'class', *_EDGES)
# The spellings of each column, in lower case without separators.
_SPELLINGS = {
    'file': ('file', 'filename', 'filepath', 'path', 'image', 'img', 'imagename')
    + ('imagefile', 'imagepath'),
    'class': ('class', 'classname', 'label', 'labelname', 'category', 'categoryname'),
    'xmin': ('xmin', 'x1', 'minx', 'left', 'bboxxmin'),
    'ymin': ('ymin', 'y1', 'miny', 'top', 'bboxymin'),
    'xmax': ('xmax', 'x2', 'maxx', 'right', 'bboxxmax'),
    'ymax': ('ymax', 'y2', 'maxy', 'bottom', 'bboxymax'),
    'split': ('split', 'subset'),
    'width': ('width', 'imagewidth', 'imgwidth'),
    'height': ('height', 'imageheight', 'imgheight'),
}
_MEANING: dict[str, str] = {}
for _name, _spellings in _SPELLINGS.items():
    _MEANING |= dict.fromkeys(_spellings, _name)


class _Image:
    """The rows of one image.

    Attributes:
        line: of the first of them.
        split: the split that they say.
        size: (height, width) that the first one says; None: it says none.
        objects: the boxes.
    """

    def __init__(self, line: int, split: str, size: tuple[int, int] | None):
        self.line = line
        self.split = split
        self.size = size
        self.objects: list[Object] = []


def read(place: str, images: str = '') -> BoxListing:
    """Read a table of boxes.

    Args:
        place: a CSV file with the columns file, class, xmin, ymin, xmax and ymax, in
            any order and usual spelling. It may have split, width and height (of the
            image). Coordinates are edges in pixels. A row without edges stands for an
            image without objects. A row without a split is 'train'; any other has to
            mean 'train', 'validation' or 'test', such as 'val'.
        images: `data.images`, the folder that files are relative to; empty: that of the table.

    Returns:
        The images of each split with their boxes, in pixels. Images below the folder
        that the table does not list are left out with a note.

    Raises:
        UserError: A column is missing or there twice, a cell is wrong, or an image is
            missing or in two splits. Or all coordinates are in [0, 1].
    """
    table = Path(place).expanduser()
    root = Path(images).expanduser() if images else table.parent
    if not root.is_dir():
        raise UserError(f'data.images={images}: there is no such folder')
    if not is_file(table):
        raise UserError(f'{table}: expected a file')
    text, notes = tables.decode(table)
    cells = _parse(table, text)
    unread = [name for name in cells.columns if name and name not in _SPELLINGS]
    if unread:
        names = ', '.join(map(shown, unread))
        notes.append(f'{table.name}: not read: the columns {names}')
    rows, empty = _rows(table, root, cells)
    if empty:
        notes.append(
            f'{table.name}: {count(empty, "row")} with a class and without a box: read as '
            'images without objects'
        )
    check_files(table, root, list(rows), 'Name their folder as data.images=DIR')
    _check_pixels(table, rows)
    notes += _notes_on_unlisted(table, root, rows)
    by_split = {}
    for path, image in rows.items():
        by_split.setdefault(image.split, []).append(
            annotated(path, image.objects, image.size)
        )
    return BoxListing(
        name=f'boxes:{table}',
        images=merge_splits(f'boxes:{table}', by_split),
        classes=sorted_classes(itertools.chain.from_iterable(by_split.values())),
        notes=notes,
    )


def _parse(table: Path, text: str) -> tables.Table:
    """Split a text into cells, at the delimiter that gives the most known columns.

    Raises:
        UserError: A column is missing, or two columns mean the same.
    """
    attempts = [
        tables.split(table, text, delimiter, _column) for delimiter in tables.DELIMITERS
    ]
    best = max(attempts, key=_known_columns)
    missing = [name for name in _NEEDED if name not in best.columns]
    if missing:
        raise UserError(
            f'{table} has no column {", ".join(missing)}. Its first line has to name the '
            f'columns {", ".join(_NEEDED)}, and has {shown(", ".join(best.columns))}'
        )
    for name in best.columns:
        if name and best.columns.count(name) > 1:
            spellings = ', '.join(_SPELLINGS.get(name, (name,)))
            raise UserError(
                f'{table} has two columns that mean {shown(name)} ({spellings}): remove one'
            )
    return best


def _column(name: str) -> str:
    """The meaning of a column, or its name if the meaning is unknown."""
    name = class_name(tables.stripped(name))
    return _MEANING.get(re.sub(r'[ _.-]', '', name).lower(), name)


def _known_columns(cells: tables.Table) -> int:
    return len(set(cells.columns) & set(_SPELLINGS))


def _rows(
    table: Path, root: Path, cells: tables.Table
) -> tuple[dict[Path, _Image], int]:
    """The rows by image, and how many have a class but no box.

    Args:
        table: the file, for messages.
        root: the folder of the images.
        cells: the content of the table.

    Raises:
        UserError: A cell is wrong, or an image is in two splits.
    """
    images: dict[Path, _Image] = {}
    empty = 0
    for line, row in tables.as_dicts(table, cells):
        where = f'{table}, line {line}'
        path = _path(where, root, row.get('file', ''))
        split = split_of(row.get('split') or 'train')
        if not split:
            raise UserError(
                f'{where}: the split {shown(row["split"])} is none of train, validation and '
                'test'
            )
        size = parsed_size(row.get('height', ''), row.get('width', ''))
        image = images.setdefault(path, _Image(line, split, size))
        if image.split != split:
            raise UserError(
                f'{table}, lines {image.line} and {line}: {path.name} is in {image.split} '
                f'and in {split}: it would be measured on what it was trained on. '
                'Write one split in all rows of an image'
            )
        item = _object(where, row)
        if item:
            image.objects.append(item)
        else:
            empty += bool(row.get('class'))
    return images, empty


def _path(where: str, root: Path, name: str) -> Path:
    """The image of a row. macOS writes some names in another Unicode form."""
    if not name:
        raise UserError(f'{where}: the column `file` is empty')
    for form in ('NFC', 'NFD'):
        path = inside(where, root, unicodedata.normalize(form, name))
        if is_file(path):
            return path
    return inside(where, root, name)


def _object(where: str, row: Mapping[str, str]) -> Object | None:
    """The box of a row, None if the row has no edges."""
    texts = [row.get(edge, '') for edge in _EDGES]
    if not any(texts):
        return None
    edges = [parsed_number(text) for text in texts]
    ymin, xmin, ymax, xmax = edges
    if ymin is None or xmin is None or ymax is None or xmax is None:
        raise UserError(
            f'{where}: expected four numbers for ymin, xmin, ymax and xmax, not '
            f'{shown(", ".join(texts))}'
        )
    name = class_name(row.get('class', ''))
    if not name:
        raise UserError(f'{where}: the column `class` is empty')
    return Object(name, (ymin, xmin, ymax, xmax))


def _check_pixels(table: Path, images: Mapping[Path, _Image]) -> None:
    """Check that coordinates are no fractions of the image."""
    edges: list[float] = []
    for image in images.values():
        for item in image.objects:
            edges += item.box
    if edges and max(edges) <= 1 and min(edges) >= 0:
        raise UserError(
            f'{table}: no coordinate is above 1. Expected pixels, not fractions of the image'
        )


def _notes_on_unlisted(table: Path, root: Path, listed: Collection[Path]) -> list[str]:
    """A note of the images beside the table that it does not list."""
    suffixes = image_suffixes()
    known = {os.path.realpath(path) for path in listed}
    unlisted = []
    for contents in walk.walk(root):
        for name in contents.names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and contents.real_path(name) not in known:
                unlisted.append(Path(contents.join(name)))
    if not unlisted:
        return []
    first = name_in(root, unlisted[0])
    return [left_out(len(unlisted), 'image', f'not in {table.name}', first)]
