"""What is said of the predictions: a table on the screen, predictions.json, progress."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from jaxvision.cli.predict.predictor import Entry, Predictor
from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write
from jaxvision.viz.tables import Table

EVERY = 10.0  # seconds between lines of progress
NAME = 'predictions.json'


class Progress:
    """Progress on stderr now and then, which is seen where the table goes to a file."""

    def __init__(self, total: int, unit: str, prefix: str = ''):
        """Start the clock.

        Args:
            total: the number of all.
            unit: their name, in the plural.
            prefix: of each line.
        """
        self._total = total
        self._unit = unit
        self._prefix = prefix
        self._start = time.monotonic()
        self._shown = self._start

    def show(self, done: int) -> None:
        """Print a line, if the last one is some seconds old."""
        now = time.monotonic()
        if now - self._shown < EVERY:
            return
        self._shown = now
        speed = done / (now - self._start)
        print(
            f'{self._prefix}{done}/{self._total} {self._unit}  {speed:,.1f} '
            f'{self._unit}/s',
            file=sys.stderr,
            flush=True,
        )


class Report:
    """The table and predictions.json, written while the predictions are made."""

    def __init__(self, file: IO, model: str, predictor: Predictor):
        """Write the head.

        Args:
            file: of predictions.json.
            model: the name of the model.
            predictor: whose entries will be added.
        """
        self.done = 0
        self.answered = 0
        self._file = file
        self._column = predictor.column
        self._table = Table(predictor.column, predictor.names)
        self._progress = Progress(len(predictor.names), f'{predictor.column}s')
        head = json.dumps({'model': model, **predictor.about})
        file.write(f'{head[:-1]},\n"files": [')

    def add(self, entries: list[Entry]) -> None:
        """Write some entries, and show them on the screen."""
        for entry in entries:
            comma = ',' if self.done else ''
            self._file.write(f'{comma}\n{json.dumps(entry)}')
            self.done += 1
            self.answered += 'answer' in entry
        self._table.print(_row(self._column, entry) for entry in entries)
        self._progress.show(self.done)

    def close(self) -> None:
        """Write the end of predictions.json."""
        unanswered = self.done - self.answered
        self._file.write(
            f'],\n"answered": {self.answered}, "unanswered": {unanswered}}}\n'
        )


@contextlib.contextmanager
def open_report(out: Path, model: str, predictor: Predictor) -> Iterator[Report]:
    """Write a report into a folder; after an error it holds the earlier one unchanged.

    Args:
        out: the folder.
        model: the name of the model.
        predictor: whose entries will be added.
    """
    with atomic_write(out / NAME) as file:
        report = Report(file, model, predictor)
        yield report
        report.close()


def check_replaceable(out: Path, outputs: Iterable[Path]) -> None:
    """Check that nothing will be replaced but what an earlier report names.

    Args:
        out: the folder of the report.
        outputs: what will be written beside predictions.json.

    Raises:
        UserError: There is another file or folder of such a name.
    """
    earlier = outputs_of_report(out)
    for path in (out / NAME, *outputs):
        if path not in earlier and os.path.lexists(path):
            raise UserError(
                f'--out={out}: expected a folder without {path}, which no earlier '
                'predict wrote. Remove it, or give another --out.'
            )


def outputs_of_report(out: Path) -> set[Path]:
    """The files and folders that an earlier report names, itself included."""
    report = out / NAME
    try:
        paths = map(Path, _output_names(json.loads(report.read_text())))
        return {report, *paths}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # There is none, or somebody else wrote this file.


def _output_names(report: dict[str, Any]) -> Iterator[str]:
    if 'grid' in report:
        yield report['grid']
    for entry in report['files']:
        for name in ('picture', 'restored'):
            if name in entry:
                yield entry[name]
        for path in entry.get('saved', ()):
            yield path
            yield str(Path(path).parent)


def _row(column: str, entry: Entry) -> dict[str | None, str | int | float]:
    """What one line of the table holds of an entry."""
    if 'error' in entry:
        return {column: entry[column], None: f'no answer: {entry["error"]}'}
    cells = {name: entry[name] for name in (column, 'restored') if name in entry}
    for name, value in entry['answer'].items():
        if isinstance(value, str | int | float):
            cells[name] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            cells[name] = ', '.join(value) or '-'
    return cells
