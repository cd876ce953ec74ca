"""The report of the predictions: a table on the screen, predictions.json, progress."""

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
    """Lines of progress on stderr, which are visible even if the table goes to a file."""

    def __init__(self, total: int, unit: str, prefix: str = ''):
        """Start the clock.

        Args:
            total: number of things to do.
            unit: their name in the plural.
            prefix: text before each line.
        """
        self._total = total
        self._unit = unit
        self._prefix = prefix
        self._start = time.monotonic()
        self._shown = self._start

    def show(self, done: int) -> None:
        """Print a line if the last one, or the start, is older than 10 seconds.

        An example is 'a.jpg: 20/90 views  3.1 views/s'.

        Args:
            done: number of things done so far.
        """
        now = time.monotonic()
        if now - self._shown < EVERY:
            return
        self._shown = now
        speed = done / (now - self._start)
        progress = f'{self._prefix}{done}/{self._total} {self._unit}'
        line = f'{progress}  {speed:,.1f} {self._unit}/s'
        print(line, file=sys.stderr, flush=True)


class Report:
    """The table and predictions.json, written while the predictions are made.

    Attributes:
        done: number of entries so far.
        answered: number of entries so far with a prediction.
    """

    def __init__(self, file: IO, model: str, predictor: Predictor):
        """Write the start of predictions.json.

        Args:
            file: predictions.json, opened to write.
            model: name of the model.
            predictor: its column, names and `about` are read.
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
        """Write some entries, and print their rows of the table and the progress.

        Args:
            entries: the next entries. An entry without 'answer' counts as unanswered.
        """
        for entry in entries:
            comma = ',' if self.done else ''
            self._file.write(f'{comma}\n{json.dumps(entry)}')
            self.done += 1
            self.answered += 'answer' in entry
        self._table.print(_row(self._column, entry) for entry in entries)
        self._progress.show(self.done)

    def close(self) -> None:
        """Write the end of predictions.json, after all entries. The file stays open."""
        unanswered = self.done - self.answered
        self._file.write(
            f'],\n"answered": {self.answered}, "unanswered": {unanswered}}}\n'
        )


@contextlib.contextmanager
def open_report(out: Path, model: str, predictor: Predictor) -> Iterator[Report]:
    """Open predictions.json in a folder; an error keeps the earlier one unchanged.

    Args:
        out: the folder, which must exist.
        model: name of the model.
        predictor: its column, names and `about` are read. It is not run.

    Yields:
        The report. The block runs the predictor and adds the entries.
    """
    with atomic_write(out / NAME) as file:
        report = Report(file, model, predictor)
        yield report
        report.close()


def check_replaceable(
    out: Path, outputs: Iterable[Path], name: str = NAME, command: str = 'predict'
) -> None:
    """Check that only files of an earlier report will be replaced.

    Args:
        out: the folder of the report.
        outputs: files and folders that will be written beside the report.
        name: of the report.
        command: the command that writes such reports.

    Raises:
        UserError: The report or an output exists, and no earlier report in the folder
            names it.
    """
    earlier = outputs_of_report(out, name)
    for path in (out / name, *outputs):
        if path not in earlier and os.path.lexists(path):
            raise UserError(
                f'--out={out}: expected a folder without {path}, which `{command}` did not '
                'write. Remove it, or give another --out.'
            )


def outputs_of_report(out: Path, name: str = NAME) -> set[Path]:
    """Return the files and folders that an earlier report names, and the report itself.

    The set is empty if the folder has no report of this name.
    """
    report = out / name
    try:
        paths = map(Path, _output_names(json.loads(report.read_text())))
        return {report, *paths}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # There is no report, or another program wrote the file.


def _output_names(report: dict[str, Any]) -> Iterator[str]:
    if 'grid' in report:
        yield report['grid']
    yield from report.get('written', ())
    for entry in report['files']:
        for name in ('picture', 'restored'):
            if name in entry:
                yield entry[name]
        for path in entry.get('saved', ()):
            yield path
            yield str(Path(path).parent)


def _row(column: str, entry: Entry) -> dict[str | None, str | int | float]:
    """The row of an entry in the table."""
    if 'error' in entry:
        return {column: entry[column], None: f'no prediction: {entry["error"]}'}
    cells = {name: entry[name] for name in (column, 'restored') if name in entry}
    for name, value in entry['answer'].items():
        if isinstance(value, str | int | float):
            cells[name] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            cells[name] = ', '.join(value) or '-'
    return cells
