"""Tables on a screen, printed while their rows are still being made."""

from collections.abc import Iterable, Mapping

WIDEST = 60  # characters that a column is padded to

Value = str | int | float


class Table:
    """Rows {column: value}, whose heading is printed before the first row of several columns.

    A value under the column None is a remark. It stands at the end of its row, without a heading.
    """

    def __init__(self, first: str, values: Iterable[str]):
        """Begin a table.

        Args:
            first: the name of the first column.
            values: all values that this column will hold. They set its width.
        """
        self._widths = {first: _width(map(printable, values))}
        self._has_heading = False

    def print(self, rows: Iterable[Mapping[str | None, Value]]) -> None:
        """Print more rows. A column may become wider than it was before."""
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
                    self._widths[column] = max(
                        self._widths.get(column, 0), _width([text])
                    )
        for line in lines:
            cells = [
                text.ljust(self._widths.get(column, 0)) for column, text in line.items()
            ]
            print('  '.join(cells).rstrip(), flush=True)


def printable(text: str) -> str:
    """The text on one line, with control characters written out."""
    return ''.join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode('unicode_escape').decode()


def _texts(row: Mapping[str | None, Value]) -> dict[str | None, str]:
    return {column: _text(value) for column, value in row.items()}


def _text(value: Value) -> str:
    return f'{value:.4f}' if isinstance(value, float) else printable(str(value))


def _width(texts: Iterable[str]) -> int:
    return max((min(len(text), WIDEST) for text in texts), default=0)
