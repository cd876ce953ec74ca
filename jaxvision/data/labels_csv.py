"""Read labels.csv: a file, its classes and its split in each row."""

import dataclasses
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import tables
from jaxvision.data.labelled_files import Item, Listing, count
from jaxvision.data.split_names import class_name, split_of
from jaxvision.data.tables import stripped

NAME = 'labels.csv'

_OWN_COLUMNS = ('file', 'label', 'split')
# In lower case: columns that people give to other things than one class.
_NOT_CLASSES = frozenset(
    ('class', 'classes', 'class_id', 'class_name', 'labels', 'label_id', 'label_name')
    + ('category', 'categories', 'category_id', 'target', 'targets', 'filename')
    + ('file_name', 'fold', 'folds', 'subset', 'partition', 'is_train', 'is_training')
    + ('is_test', 'is_val', 'is_valid', 'is_validation', 'unnamed: 0')
)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row, checked.

    Attributes:
        line: where it begins.
        item: what it says.
    """

    line: int
    item: Item


def find(root: Path) -> Path | None:
    """Find the table labels.csv directly in a folder, its name in any case.

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


def read(table: Path) -> Listing:
    """Read the rows of a table.

    Its column `file` has paths relative to the table's folder. A column `label` names
    the class, or several joined by ; or |. Without that column, each class has a column
    of 0 and 1. A row without a `split` is 'train'.

    Rows of one file are merged, so that a file may have a row for each of its labels.
    With a column for each class, such rows have to agree. A file without a label is an
    error unless the dataset is multi-label.

    Returns:
        The files. The dataset is multi-label if a file has several labels, or if each
        class has a column.

    Raises:
        UserError: The table is no text, or a column is missing or there twice. A file
            is missing or in two splits, or a split or a label is wrong.
    """
    text, notes = tables.decode(table)
    cells = _parse(table, text)
    classes = _class_columns(table, cells.columns)
    folders: dict[Path, str] = {}
    rows = []
    for line, row in tables.as_dicts(table, cells):
        item = _item(f'{table}, line {line}', table.parent, row, classes)
        real = _real_path(item.path, folders)
        rows.append(_Row(line, dataclasses.replace(item, real=real)))
    merged, merging_notes = _merge(table, rows, bool(classes))
    notes += _notes_on_cells(cells) + _notes_on_labels(table, rows, bool(classes))
    notes += merging_notes
    items = [row.item for row in merged]
    if classes:
        if all(len(item.labels) == 1 for item in items):
            notes.append(
                f'{table.name}: every file has exactly one label, but a column for each '
                'class makes the dataset multi-label. A column `label` would not'
            )
        return Listing(items, notes, multi_label=True, columns=classes)
    multi_label = any(len(item.labels) > 1 for item in items)
    for row in merged:
        if not row.item.labels and not multi_label:
            raise UserError(
                f'{table}, line {row.line}: {row.item.path.name} has no label'
            )
    return Listing(items, notes, multi_label=multi_label)


def _parse(table: Path, text: str) -> tables.Table:
    """Split a text into cells, at the delimiter that gives a column `file`."""
    attempts = []
    for delimiter in tables.DELIMITERS:
        cells = tables.split(table, text, delimiter, _column)
        attempts.append(cells)
        if 'file' in cells.columns and len(cells.columns) > 1:
            return cells
    raise _no_column(table, attempts[0].columns)


def _column(name: str) -> str:
    """The name of a column; `file`, `label` and `split` may be in any case."""
    name = class_name(stripped(name))
    return name.lower() if name.lower() in _OWN_COLUMNS else name


def _class_columns(table: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """The classes, if they have a column each: without a column `label`."""
    for name in columns:
        if name and columns.count(name) > 1:
            raise UserError(f'{table} has the column {name!r} twice: remove one')
    if 'label' in columns:
        return ()
    for name in columns:
        if name.lower() in _NOT_CLASSES:
            raise UserError(
                f'{table} has no column `label`, and its column {name!r} is hardly the name '
                'of a class. Name the column with the labels `label` and the one with the '
                'splits `split`, and remove what is neither.'
            )
    classes = tuple(name for name in columns if name not in (*_OWN_COLUMNS, ''))
    if not classes:
        raise _no_column(table, columns)
    return classes


def _no_column(table: Path, columns: Sequence[str]) -> UserError:
    return UserError(
        f'{table} needs a column `file` and a column `label`, or one column a '
        f'class; it has {", ".join(columns) or "nothing"}'
    )


def _item(where: str, root: Path, row: dict[str, str], classes: Sequence[str]) -> Item:
    """Read one row.

    Args:
        where: the file and the line, for messages.
        root: the folder that paths are relative to.
        row: the cells by column; none for those that are missing.
        classes: the columns of 0 and 1, if the classes have a column each.

    Raises:
        UserError: The file, the split or the labels are wrong.
    """
    path = _find_file(where, root, row.get('file', ''))
    name = row.get('split') or 'train'
    split = split_of(name)
    if not split:
        raise UserError(
            f'{where}: the split {name!r} is none of train, validation and test'
        )
    if classes:
        names = _marked(where, row, classes)
    else:
        cells = row.get('label', '').replace('|', ';').split(';')
        names = [class_name(cell.strip()) for cell in cells if cell.strip()]
    return Item(path, tuple(dict.fromkeys(names)), split)


def _real_path(path: Path, folders: dict[Path, str]) -> str:
    """A path without links. `folders` keeps those of the folders."""
    if path.is_symlink():
        return os.path.realpath(path)
    if path.parent not in folders:
        folders[path.parent] = os.path.realpath(path.parent)
    return os.path.join(folders[path.parent], path.name)


def _find_file(where: str, root: Path, name: str) -> Path:
    """The file of a row. macOS and Windows write some names otherwise."""
    if '\0' in name or not name:
        raise UserError(f'{where}: the column `file` is empty')
    for form in (name, name.replace('\\', '/')):
        for spelling in (form, *_spellings(form)):
            path = root / spelling
            if os.path.isfile(path):  # Unlike pathlib's, it takes names of any length.
                return path
    raise UserError(f'{where}: there is no file {root / name}')


def _spellings(name: str) -> list[str]:
    """A name in Unicode's composed and its decomposed form."""
    return [unicodedata.normalize(form, name) for form in ('NFC', 'NFD')]


def _marked(where: str, row: dict[str, str], classes: Sequence[str]) -> list[str]:
    """The classes whose column holds a 1."""
    names = []
    for name in classes:
        mark = row.get(name, '')
        if mark not in ('0', '1'):
            raise UserError(f'{where}: {name!r} is {mark!r}, not 0 or 1')
        if mark == '1':
            names.append(name)
    return names


def _merge(
    table: Path, rows: Sequence[_Row], has_class_columns: bool
) -> tuple[list[_Row], list[str]]:
    """Merge the rows of one file, and note how many were merged.

    Args:
        table: for messages.
        rows: all rows.
        has_class_columns: whether a row says of every class whether the file has it.

    Raises:
        UserError: A file is in two splits. With a column for each class: its rows differ.
    """
    merged: dict[str, _Row] = {}
    repeated = 0
    further = []
    for row in rows:
        first = merged.setdefault(row.item.real, row)
        if first is row:
            continue
        lines = f'lines {first.line} and {row.line}: {row.item.path.name}'
        _check_agree(f'{table}, {lines}', first.item, row.item, has_class_columns)
        if set(row.item.labels) <= set(first.item.labels):
            repeated += 1
            continue
        further.append(lines)
        labels = dict.fromkeys((*first.item.labels, *row.item.labels))
        item = dataclasses.replace(first.item, labels=tuple(labels))
        merged[row.item.real] = dataclasses.replace(first, item=item)
    notes = []
    if repeated:
        notes.append(f'{table.name}: {count(repeated, "repeated row")} counted once')
    if further:
        notes.append(
            f'{table.name}: {count(len(further), "row")} with a further label of a file, '
            f'which makes the dataset multi-label, such as {further[0]}'
        )
    return list(merged.values()), notes


def _check_agree(
    where: str, first: Item, second: Item, has_class_columns: bool
) -> None:
    """Check that two rows of one file do not contradict each other."""
    if first.split != second.split:
        raise UserError(
            f'{where} is in {first.split} and in {second.split}: it would be measured '
            'on what it was trained on. Remove one of the rows.'
        )
    if has_class_columns and set(first.labels) != set(second.labels):
        raise UserError(f'{where} has other labels in each. Remove one of the rows.')


def _notes_on_labels(
    table: Path, rows: Sequence[_Row], has_class_columns: bool
) -> list[str]:
    """A note of the cells with several labels, of which one makes a dataset multi-label."""
    several = [row for row in rows if len(row.item.labels) > 1]
    if has_class_columns or not several:
        return []
    first = several[0]
    all_rows = count(len(rows), 'row')
    labels = ', '.join(first.item.labels)
    return [
        f'{table.name}: {len(several):,} of {all_rows} with several labels, which makes '
        f'the dataset multi-label, such as line {first.line}: {labels}'
    ]


def _notes_on_cells(cells: tables.Table) -> list[str]:
    """Notes of what is not read, and of what is understood without being said."""
    notes = []
    columns = cells.columns
    if 'label' in columns:
        unread = [name for name in columns if name and name not in _OWN_COLUMNS]
        if unread:
            names = ', '.join(map(repr, unread))
            notes.append(f'{NAME}: not read: the columns {names}')
    if 'split' in columns:
        index = columns.index('split')
        unsaid = 0
        for _, row in cells.rows:
            # A row may end before the column.
            split = ''.join(row[index : index + 1])
            unsaid += not split.strip()
        if unsaid:
            notes.append(f'{NAME}: {count(unsaid, "row")} without a split: training')
    return notes
