"""Atomic writes of files and folders, JSON files, and the cache folder of the user."""

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

# Age in seconds at which a partial folder counts as abandoned.
ABANDONED = 24 * 3600


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a partial file, which becomes `path` when the block ends.

    The block must create the partial file. The file at `path` is complete or absent at
    any moment. An error in the block removes the partial file and keeps an older file
    at `path`. A killed process also keeps the older file, and leaves a hidden partial
    file beside it.

    Args:
        path: the path of the file, in an existing folder.
        durable: whether the file must survive a power cut. False saves about 10 ms per file,
            for pictures and videos that the same command can make again.

    Yields:
        A path in the same folder, where the block writes the file.
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

    It replaces an older file at `path`. An error in the block keeps the older file.

    Args:
        path: the path of the file, in an existing folder.
        mode: 'w' for text, 'wb' for bytes.
        durable: whether the file must survive a power cut. False saves about 10 ms.

    Yields:
        The open file.
    """
    with atomic_path(path, durable) as partial, partial.open(mode) as file:
        yield file


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder, which becomes `path` when the block ends.

    An error in the block removes the new folder and keeps an older folder at `path`.
    A later call for the same path removes partial folders that are older than a day.

    Args:
        path: the path of the folder, in an existing folder.
        replace: whether to replace an older folder. False keeps the older one, for processes
            that prepare the same folder at the same time.

    Yields:
        A folder in the same parent, where the block writes the contents.
    """
    older = _older_path(path)
    if older.exists() and not path.exists():
        # A process was killed between the two renames of `_replace_folder`.
        os.rename(older, path)
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
    """Write a text file atomically, over an older one. Its folder must exist."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file atomically, over an older one. Its folder must exist."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> Json:
    """Read a JSON object from a file of a run.

    Raises:
        UserError: The file is missing or damaged, or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f'{path.parent} is not a run: it has no {path.name}. Check the path'
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path} is damaged or cannot be read: {error}. Restore the file, or train '
            'the run again'
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            f'{path} is damaged: expected a JSON object. Restore the file, or train the run '
            'again'
        )
    return value


def cache_folder(name: str) -> Path:
    """Name the folder jaxvision/NAME of the user's cache, $XDG_CACHE_HOME or ~/.cache.

    The folder may not exist yet.

    Args:
        name: the content, such as 'data' (datasets), 'runs' (networks) or 'xla' (programs).
    """
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'jaxvision' / name


def _partial_path(path: Path) -> Path:
    """Make a hidden name beside `path` that no other process uses."""
    token = secrets.token_hex(4)
    return path.with_name(f'.{path.name}.{token}.partial')


def _remove_abandoned(path: Path) -> None:
    """Remove the partial folders beside `path` that no process wrote for a day."""
    pattern = f'.{glob.escape(path.name)}.*.partial'
    for partial in path.parent.glob(pattern):
        if not partial.is_dir():
            continue
        age = time.time() - partial.stat().st_mtime
        if age > ABANDONED:
            shutil.rmtree(partial, ignore_errors=True)


def _older_path(path: Path) -> Path:
    """Name the place of the older folder while a new one takes its path."""
    return path.with_name(f'.{path.name}.old')


def _replace_folder(source: Path, path: Path) -> None:
    """Rename `source` to `path`, and remove the folder that was there."""
    older = _older_path(path)
    shutil.rmtree(older, ignore_errors=True)
    if path.exists():
        os.rename(path, older)
    os.rename(source, path)
    shutil.rmtree(older, ignore_errors=True)


def _rename_unless_present(source: Path, path: Path) -> None:
    """Rename `source` to `path`, unless another process made `path` first."""
    try:
        os.rename(source, path)
    except OSError:
        if not path.exists():
            raise


def _sync(path: Path) -> None:
    """Wait until the contents of a file or folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
