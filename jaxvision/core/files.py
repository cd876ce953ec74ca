"""Files that are there whole or not at all, JSON, and the user's cache."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxvision.core.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    with whole_file(path) as file:
        file.write(text)


@contextlib.contextmanager
def whole_file(path: Path, mode: str = 'w') -> Iterator[IO]:
    """A file to write into, which is there once all of it is written."""
    partial = path.with_name(path.name + '.partial')
    try:
        with partial.open(mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: dict) -> None:
    write_whole(path, json.dumps(value, indent=1))


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f'{path.parent} is not a run: it has no {path.name}') from None
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is damaged: {error}') from None


def cache_folder(name: str) -> Path:
    """The cache's folder of embedded data sets ('data'), networks ('runs') or programs ('xla')."""
    return (
        Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        / 'jaxvision'
        / name
    )
