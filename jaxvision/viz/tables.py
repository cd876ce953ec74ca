"""Tables on a screen, printed while their rows are still being made."""

from collections.abc import Iterable, Mapping

WIDEST = 60  # characters that a column is padded to


class Table:
    """Rows {column: value}; the first row that has more than its first column gives the heading.

    A value under the column None stands at the end of a row of its own kind, like a remark.
    """

    def __init__(self, first: str, values: Iterable[str]):
        """`values` are all that the first column will hold, which sets its width."""
        self._widths = {first: _width(map(printable, values))}
        self._has_heading = False

    def print(self, rows: Iterable[Mapping[str | None, str | int | float]]) -> None:
        rows = [{column: _text(value) for column, value in row.items()} for row in rows]
        full = next((row for row in rows if len(row) > 1 and None not in row), None)
        if full and not self._has_heading:
            self._has_heading = True
            rows.insert(0, {column: column for column in full})
        for column in {column for row in rows for column in row if column}:
            texts = (row[column] for row in rows if column in row)
            self._widths[column] = max(self._widths.get(column, 0), _width(texts))
        for row in rows:
            print(
                '  '.join(
                    text.ljust(self._widths.get(column, 0))
                    for column, text in row.items()
                ).rstrip(),
                flush=True,
            )


def printable(text: str) -> str:
    """On one line, and nothing in it that a terminal obeys."""
    return ''.join(
        character
        if character.isprintable()
        else character.encode('unicode_escape').decode()
        for character in text
    )


def _text(value: str | int | float) -> str:
    return f'{value:.4f}' if isinstance(value, float) else printable(str(value))


def _width(texts: Iterable[str]) -> int:
    return max((min(len(text), WIDEST) for text in texts), default=0)
