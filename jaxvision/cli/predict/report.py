"""What is said of the answers: a table on the screen, predictions.json, how far it is."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write
from jaxvision.data.protocol import Unreadable
from jaxvision.viz.tables import Table

EVERY = 10.0  # seconds between lines of progress


class Plan(NamedTuple):
    """What will be written, known before anything is; the entries are made as they are asked for.

    An entry tells of one image: {'file' or 'picture': which, 'answer': {...}} or {'file': which,
    'error': why there is no answer}.
    """

    column: str  # 'file' or 'picture': by which entries are named
    names: Sequence[str]  # all that this column will hold
    pictures: Sequence[Path]  # that will be written
    entries: Iterable[Sequence[dict]]  # some at a time
    about: dict = {}  # of all of them


def attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """(what `read` returns, '') or (None, why it did not)."""
    try:
        return read(), ''
    except Unreadable as error:
        return None, str(error)
    except Exception as error:  # one file, whatever is in it, does not stop the others
        return None, f'{type(error).__name__}: {error}'


def check_replaceable(out: Path, pictures: Iterable[Path]) -> None:
    """Raises a UserError if what is about to be written would replace a person's own file."""
    known = written(out)
    strange = next(
        (
            path
            for path in (out / 'predictions.json', *pictures)
            if path not in known and os.path.lexists(path)
        ),
        None,
    )
    if strange:
        raise UserError(
            f'{strange} is there, and of no earlier answer: remove it, or give another '
            '--out'
        )


def written(out: Path) -> set[Path]:
    """What an earlier answer wrote into this folder; nothing where that is not known."""
    report = out / 'predictions.json'
    try:
        return {report, *map(Path, _written(json.loads(report.read_text())))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # not written here, so it is somebody's


def _written(told: dict) -> Iterable[str]:
    yield from (told['grid'],) if 'grid' in told else ()
    for entry in told['files']:
        yield from (entry[name] for name in ('picture', 'restored') if name in entry)
        for path in entry.get('saved', ()):
            yield from (path, str(Path(path).parent))


def write(plan: Plan, model: str, out: Path) -> int:
    """Carries out a plan, some images at a time; how many there was an answer for."""
    answered, done = 0, 0
    table, progress = (
        Table(plan.column, plan.names),
        Progress(len(plan.names), f'{plan.column}s'),
    )
    with atomic_write(out / 'predictions.json') as file:
        head = json.dumps({'model': model, **plan.about})
        file.write(f'{head[:-1]},\n"files": [')
        for entries in plan.entries:
            for entry in entries:
                file.write((',' if done else '') + '\n' + json.dumps(entry))
                answered, done = answered + ('answer' in entry), done + 1
            table.print(_row(plan.column, entry) for entry in entries)
            progress.show(done)
        file.write(f'],\n"answered": {answered}, "unanswered": {done - answered}}}\n')
    return answered


def _row(column: str, entry: dict) -> dict:
    """Of an entry, what one line of the table can hold."""
    if 'error' in entry:
        return {column: entry[column], None: f'no answer: {entry["error"]}'}
    cells = {name: entry[name] for name in (column, 'restored') if name in entry}
    for name, value in entry['answer'].items():
        if isinstance(value, str | int | float):
            cells[name] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            cells[name] = ', '.join(value) or '-'
    return cells


class Progress:
    """Now and then how far it is, on stderr, which is seen where the table goes to a file."""

    def __init__(self, total: int, what: str, of: str = ''):
        self._total, self._what, self._of = total, what, of
        self._start = self._shown = time.monotonic()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown >= EVERY:
            self._shown = now
            speed = done / (now - self._start)
            print(
                f'{self._of}{done}/{self._total} {self._what}  {speed:,.1f} {self._what}/s',
                file=sys.stderr,
                flush=True,
            )
