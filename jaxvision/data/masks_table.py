"""The table `classes.csv` of a folder of masks: a class, and the values or colours it has."""

import collections
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import tables
from jaxvision.data.annotation_files import is_file, shown
from jaxvision.data.labelled_files import count, some
from jaxvision.data.masks_reading import MOST_VALUE
from jaxvision.data.split_names import class_name
from jaxvision.data.tables import stripped

NAME = 'classes.csv'
# In the column `value`: every value above 0 is the number of an object of this class.
OBJECTS = 'objects'

# What people call the columns, in lower case.
_COLUMNS = {
    'name': ('name', 'class', 'class_name', 'label'),
    'value': ('value', 'id', 'index', 'class_id', 'label_id', 'pixel'),
    'r': ('r', 'red'),
    'g': ('g', 'green'),
    'b': ('b', 'blue'),
}
_COLUMN_OF = {name: column for column, names in _COLUMNS.items() for name in names}
# Names of pixels without a class, in lower case without separators.
_VOID = frozenset(
    ('void', 'ignore', 'ignored', 'unlabeled', 'unlabelled', 'dontcare', 'donotcare')
)


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """The classes of a table.

    Attributes:
        path: the table.
        names: of the classes, in their order.
        values: {value: name}; empty without such a column.
        colors: {packed colour: name}; empty without such columns.
        objects: the class whose objects are numbered; empty if masks hold classes.
        void: names whose pixels are ignored.
        notes: what a user should know of how the table was read: a sentence each.
    """

    path: Path
    names: tuple[str, ...]
    values: dict[int, str]
    colors: dict[int, str]
    objects: str = ''
    void: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find(root: Path) -> Path | None:
    """Find the table classes.csv directly in a folder, its name in any case.

    Returns:
        Its path; None if there is none.

    Raises:
        UserError: There are two.
    """
    names = sorted(entry.name for entry in root.iterdir() if entry.name.lower() == NAME)
    if len(names) > 1:
        raise UserError(f'{root} has {" and ".join(names)}: expected one of them')
    if not names:
        return None
    return root / names[0]


def read(path: Path) -> ClassTable:
    """Read a table with a column `name`, and a column `value` or columns `r`, `g` and `b`.

    Without a value or a colour, the value of a class is the number of its row, from 0. Classes are
    in the order of their values, or else of the rows. A class may have several rows. Pixels of a
    class that is called void, ignore, unlabelled or so are ignored if two other classes remain.

    Raises:
        UserError: The table is no text, a column is missing, a cell is no number, or a value or a
            colour occurs twice.
    """
    if not is_file(path):
        raise UserError(f'{path}: expected a file')
    text, notes = tables.decode(path)
    cells = _parse(path, text)
    rows = tables.as_dicts(path, cells)
    if not rows:
        raise UserError(f'{path} has no classes. Add a row for each class')
    unread = [name for name in cells.columns if name and name not in _COLUMNS]
    if unread:
        notes.append(f'{path.name}: columns that are not read: {some(unread)}')
    has_colors = {'r', 'g', 'b'} <= set(cells.columns)
    names = [_name(path, line, row) for line, row in rows]
    objects = ''
    values: dict[int, str] = {}
    if 'value' in cells.columns:
        objects, values = _values(path, rows, names)
    elif not has_colors:
        notes.append(
            f'{path.name} has no column `value`: the first class has the value 0'
        )
        values = dict(enumerate(names))
    colors = {}
    if has_colors:
        colors = _colors(path, rows, names)
    repeated = [name for name, times in collections.Counter(names).items() if times > 1]
    if repeated:
        notes.append(
            f'{path.name}: {count(len(repeated), "class", "classes")} in several rows, whose '
            f'values are one class: {some(repeated)}'
        )
    ordered = list(dict.fromkeys(names))
    if values:
        ordered = list(dict.fromkeys(values[value] for value in sorted(values)))
    void = [name for name in ordered if _is_void(name)]
    if void and len(ordered) - len(void) >= 2:
        notes.append(
            f'{path.name}: pixels of {some(void)} are ignored: they neither train nor count. '
            'Give the class another name to train it'
        )
    else:
        void = []
    return ClassTable(
        path=path,
        names=tuple(name for name in ordered if name not in void),
        values=values,
        colors=colors,
        objects=objects,
        void=tuple(void),
        notes=tuple(notes),
    )


def _parse(path: Path, text: str) -> tables.Table:
    """Split a text into cells, at the delimiter that gives a column `name`."""
    attempts = []
    for delimiter in tables.DELIMITERS:
        cells = tables.split(path, text, delimiter, _column)
        attempts.append(cells)
        if 'name' in cells.columns and len(cells.columns) > 1:
            break
    else:
        cells = attempts[0]
    for name in _COLUMNS:
        if cells.columns.count(name) > 1:
            raise UserError(f'{path} has two columns for {name!r}: remove one')
    colors = {'r', 'g', 'b'} & set(cells.columns)
    if 'name' not in cells.columns or len(colors) in (1, 2):
        raise UserError(
            f'{path}: expected the columns name and value, or name, r, g and b, but it has '
            f'{", ".join(filter(None, cells.columns)) or "none"}'
        )
    return cells


def _column(name: str) -> str:
    """The name of a column as it is called here."""
    name = class_name(stripped(name))
    return _COLUMN_OF.get(name.lower(), name)


def _name(path: Path, line: int, row: dict[str, str]) -> str:
    name = class_name(row.get('name', ''))
    if not name:
        raise UserError(f'{path}, line {line}: expected the name of a class')
    return name


def _values(
    path: Path, rows: Sequence[tuple[int, dict[str, str]]], names: Sequence[str]
) -> tuple[str, dict[int, str]]:
    """(the class whose objects are numbered, '' for none; {value: name})."""
    objects = []
    values = {}
    for (line, row), name in zip(rows, names, strict=True):
        text = row.get('value', '')
        if text.lower() == OBJECTS:
            objects.append(name)
            continue
        value = _number(path, line, 'value', text, MOST_VALUE)
        if value in values:
            raise UserError(
                f'{path}, line {line}: the value {value} is there twice, for '
                f'{values[value]!r} and {name!r}. Give each value to one class'
            )
        values[value] = name
    if not objects:
        return '', values
    if len(objects) > 1 or set(values) - {0}:
        raise UserError(
            f'{path}: expected one class with the value {OBJECTS!r}, beside at most the '
            f'background with the value 0. The number of an object has no class'
        )
    return objects[0], values


def _colors(
    path: Path, rows: Sequence[tuple[int, dict[str, str]]], names: Sequence[str]
) -> dict[int, str]:
    """{packed colour: name} of the rows."""
    colors = {}
    for (line, row), name in zip(rows, names, strict=True):
        red, green, blue = (
            _number(path, line, channel, row.get(channel, ''), 255) for channel in 'rgb'
        )
        color = (red << 16) | (green << 8) | blue
        if color in colors:
            raise UserError(
                f'{path}, line {line}: the colour {red}, {green}, {blue} is there twice, for '
                f'{colors[color]!r} and {name!r}. Give each colour to one class'
            )
        colors[color] = name
    return colors


def _number(path: Path, line: int, column: str, text: str, most: int) -> int:
    """A whole number from 0 to `most` of a cell."""
    value = -1
    if re.fullmatch(r'[0-9]{1,9}', text):
        value = int(text)
    if not 0 <= value <= most:
        raise UserError(
            f'{path}, line {line}: expected a whole number from 0 to {most} in the column '
            f'`{column}`, not {shown(text)}'
        )
    return value


def _is_void(name: str) -> bool:
    return re.sub(r"[\s_'’-]+", '', name).casefold() in _VOID
