"""Tables on a screen, printed row by row while the rows are computed."""

from collections.abc import Iterable, Mapping

WIDEST = 60  # characters; a wider column is not padded

Value = str | int | float
# A row of a table: {column: value}. The column None holds a remark.
Row = Mapping[str | None, Value]


class Table:
    """A table whose rows are printed as they arrive.

    The heading is printed once, before the rows of the first `print` that has a row
    with several columns and no remark. A remark is a value under the column None. It is
    printed at its place in the row, without a heading.
    """

    def __init__(self, first: str, values: Iterable[str]):
        """Begin a table.

        Args:
            first: name of the first column.
            values: all future values of this column, which set its width.
        """
        self._widths = {first: _width(map(printable, values))}
        self._has_heading = False

    def print(self, rows: Iterable[Row]) -> None:
        """Print more rows at once. A column becomes wider if a value needs it.

        Args:
            rows: {column: value}, in the order of the columns. A float gets four
                decimals. The column None holds a remark.
        """
        lines = list(map(_texts, rows))
        if not self._has_heading:
            for line in lines:
                if len(line) > 1 and None not in line:
                    lines.insert(0, {column: column for column in line})
                    self._has_heading = True
                    break
        for line in lines:
            for column, text in line.items():
                if column:
                    width = self._widths.get(column, 0)
                    self._widths[column] = max(width, _width([text]))
        for line in lines:
            cells = []
            for column, text in line.items():
                width = self._widths.get(column, 0)
                cells.append(text.ljust(width))
            print('  '.join(cells).rstrip(), flush=True)


def printable(text: str) -> str:
    """Return a text on one line, with control characters as escapes."""
    return ''.join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode('unicode_escape').decode()


def _texts(row: Row) -> dict[str | None, str]:
    return {column: _text(value) for column, value in row.items()}


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f'{value:.4f}'
    return printable(str(value))


def _width(texts: Iterable[str]) -> int:
    widths = [len(text) for text in texts]
    return min(max(widths, default=0), WIDEST)
