"""Atomic writes of files and folders, JSON, and the user's cache."""

import contextlib
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxvision.core.errors import UserError
from jaxvision.core.types import Json

ABANDONED = 24 * 3600  # seconds after which a partial folder is taken for abandoned


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a partial file, which becomes `path` when the block ends.

    The file at `path` is complete or absent at any moment. An error in the block removes the
    partial file and leaves an older file at `path` as it was. A killed process also leaves the
    older file, and a hidden partial file beside it.

    Args:
        path: where the file is to be; its folder exists.
        durable: whether the file survives a power cut too. False saves some 10 ms a file, for
            pictures and videos that the same command makes again.

    Yields:
        A path in the same folder. The block writes the file there.
    """
    partial = _partial_path(path)
    try:
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        _sync(path.parent)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = 'w', durable: bool = True) -> Iterator[IO]:
    """Open a partial file, which becomes `path` when the block ends.

    Args:
        path: as for `atomic_path`.
        mode: 'w' for text, 'wb' for bytes.
        durable: as for `atomic_path`.

    Yields:
        The open file.
    """
    with atomic_path(path, durable) as partial, partial.open(mode) as file:
        yield file


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder, which becomes `path` when the block ends.

    An error in the block removes the new folder and leaves an older one at `path` as it was.
    Partial folders of killed processes are removed when they are a day old.

    Args:
        path: where the folder is to be; its parent exists.
        replace: whether the new folder takes the place of an older one. False keeps the older
            one, for processes that prepare the same folder at once.

    Yields:
        A folder in the same parent. The block writes the contents there.
    """
    older = _older_path(path)
    if older.exists() and not path.exists():
        os.rename(older, path)  # A process was killed between two renames below.
    _remove_abandoned(path)
    partial = _partial_path(path)
    partial.mkdir()
    try:
        yield partial
        for part in [*partial.rglob('*'), partial]:
            _sync(part)
        if replace:
            _replace_folder(partial, path)
        else:
            _rename_unless_present(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> Json:
    """Read a JSON file of a run.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f'{path.parent} is not a run: it has no {path.name}') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} is damaged: {error}') from None
    if not isinstance(value, dict):
        raise UserError(f'{path} is damaged: expected an object of JSON')
    return value


def cache_folder(name: str) -> Path:
    """The folder of the user's cache for datasets ('data'), networks ('runs') or programs ('xla').

    It lies in $XDG_CACHE_HOME or ~/.cache, and need not exist yet.
    """
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'jaxvision' / name


def _partial_path(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses."""
    return path.with_name(f'.{path.name}.{secrets.token_hex(4)}.partial')


def _remove_abandoned(path: Path) -> None:
    """Remove the partial folders beside `path` that no process has written for a day."""
    for partial in path.parent.glob(f'.{glob.escape(path.name)}.*.partial'):
        if partial.is_dir() and time.time() - partial.stat().st_mtime > ABANDONED:
            shutil.rmtree(partial, ignore_errors=True)


def _older_path(path: Path) -> Path:
    """Where the older folder lies while a new one takes its place."""
    return path.with_name(f'.{path.name}.old')


def _replace_folder(source: Path, path: Path) -> None:
    older = _older_path(path)
    shutil.rmtree(older, ignore_errors=True)
    if path.exists():
        os.rename(path, older)
    os.rename(source, path)
    shutil.rmtree(older, ignore_errors=True)


def _rename_unless_present(source: Path, path: Path) -> None:
    try:
        os.rename(source, path)
    except OSError:
        if not path.exists():
            raise


def _sync(path: Path) -> None:
    """Wait until a file's or a folder's contents are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
