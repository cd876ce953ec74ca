"""Tables of a user: CSV files in any usual encoding, as text and as cells."""

import codecs
import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError

DELIMITERS = ',;\t'
# Characters without width, which some programs leave in cells.
_INVISIBLE = '\u200b\u2060\ufeff'
_BOMS = {
    codecs.BOM_UTF8: 'utf-8-sig',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}


@dataclasses.dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        columns: their names; '' for a column without a name and without content.
        rows: (line, cells) of each row below the header that is not blank. Lines count
            from 1. The cells are as in the file, and may be more or fewer than columns.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Sequence[str]]]


def decode(table: Path) -> tuple[str, list[str]]:
    """Read the text of a table in UTF-8, UTF-16 or Windows-1252.

    Returns:
        (the text, notes for the user). There is one note if the encoding is guessed as
        Windows-1252, else none.

    Raises:
        UserError: The file cannot be read, or is no text in these encodings.
    """
    try:
        data = table.read_bytes()
    except OSError as error:
        raise UserError(f'{table} cannot be read: {error.strerror}') from error
    encodings = [name for bom, name in _BOMS.items() if data.startswith(bom)]
    if not encodings and data[1:2] == b'\0':
        encodings = ['utf-16-le']
    if not encodings and data[:1] == b'\0':
        encodings = ['utf-16-be']
    for encoding in encodings or ('utf-8', 'cp1252'):
        try:
            text = data.decode(encoding)
        except ValueError:
            continue
        if '\0' in text:
            break
        guessed = encoding == 'cp1252'
        note = f'{table.name} is not in UTF-8: read as Windows-1252'
        return text, [note] if guessed else []
    raise UserError(
        f'{table} is no text in UTF-8, UTF-16 or Windows-1252. Save it as CSV in UTF-8.'
    )


def split(
    table: Path, text: str, delimiter: str, column: Callable[[str], str]
) -> Table:
    """Split a text into a header and rows of cells. Blank rows are left out.

    Args:
        table: the file, for the message.
        text: its content.
        delimiter: between cells.
        column: `(cell of the header) -> name of the column`.

    Returns:
        The names of the columns, from the first row that is not blank, and (line,
        cells) of each further row. Lines count from 1. A blank text has no columns and
        no rows.

    Raises:
        UserError: The text is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True)
    rows = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f'{table} is no CSV: {error}') from error
    if not rows:
        return Table((), ())
    (_, header), *rows = rows
    return Table(tuple(map(column, header)), rows)


def as_dicts(table: Path, cells: Table) -> list[tuple[int, dict[str, str]]]:
    """Read each row as a dictionary from the names of columns to stripped cells.

    Args:
        table: the file, for the message.
        cells: its columns and rows.

    Returns:
        (line, cells by column) of each row. A row that is too short lacks its last
        columns.

    Raises:
        UserError: A cell without a column is not blank, or a cell holds a line break.
    """
    rows = []
    for line, values in cells.rows:
        extra = [
            value
            for column, value in enumerate(values)
            if column >= len(cells.columns) or not cells.columns[column]
        ]
        if ''.join(extra).strip():
            raise UserError(
                f'{table}, line {line}: {extra[-1]!r} is in no column. Name the column, '
                'or quote a cell that holds a separator.'
            )
        by_column = dict(zip(cells.columns, map(stripped, values), strict=False))
        for name, cell in by_column.items():
            if '\n' in cell or '\r' in cell:
                raise UserError(
                    f'{table}, line {line}: the column `{name}` holds a line break: '
                    f'{cell!r}. Close its quote on the same line.'
                )
        rows.append((line, by_column))
    return rows


def stripped(cell: str) -> str:
    """A cell without spaces and invisible characters around it."""
    return cell.strip().strip(_INVISIBLE).strip()
