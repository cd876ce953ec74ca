"""A person's own files: which ones the names on a command line mean, their bytes, and names for
the pictures made of them."""

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Unreadable

MOST_BYTES = (
    2**29
)  # 6 for each of the pixels that Pillow takes at most: 16-bit RGB, uncompressed

_NO_FILES = {
    stat.S_IFDIR: 'a folder that cannot be listed',
    stat.S_IFIFO: 'a named pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}


def find(names: Sequence[str], out: str) -> list[str]:
    """The paths behind names of files, folders and globs, each path once, in order.

    Of a folder these are all files below it, whatever their suffix, but hidden ones and those that
    lie in `out` itself. Links to folders are followed, each folder once.

    Args:
        names: as typed.
        out: the folder that answers are written into.
    Raises:
        UserError: a name that means no file, or one that lies in `out`.
    """
    found = {}
    for name in names:
        paths = [path for top in _matches(name) for path in _files(top, out)]
        if not paths:
            raise UserError(f'{name} holds no files')
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def read(path: str) -> bytes:
    """The bytes of a file; anything else that a path can mean is not even opened.

    Raises:
        Unreadable: it is no file, empty, too large for an image, or may not be read.
    """
    length = size(path)
    if length > MOST_BYTES:
        raise Unreadable(f'{length:,} bytes are too many for an image')
    try:
        with open(path, 'rb') as file:
            return file.read(length)
    except OSError as error:
        raise Unreadable(error.strerror) from error


def size(path: str | os.PathLike) -> int:
    """The bytes that a file has.

    Raises:
        Unreadable: it is no file, or empty.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise Unreadable(error.strerror) from error
    kind = _NO_FILES.get(stat.S_IFMT(status.st_mode))
    if kind:
        raise Unreadable(f'{kind}, not a file')
    if not status.st_size:
        raise Unreadable('an empty file')
    return status.st_size


def picture_paths(paths: Sequence[str], out: Path) -> list[Path]:
    """A name of its own for each picture: cat.png of a/cat.jpg, then cat-2.png of b/cat.tif."""
    counts, taken, found = Counter(), set(), []
    for path in paths:
        stem = name = re.sub(r'[^\w.=+-]+', '_', Path(path).stem)[:50]
        while (
            name.casefold() in taken
        ):  # some file systems take Cat.png and cat.png for one
            counts[stem.casefold()] += 1
            name = f'{stem}-{counts[stem.casefold()] + 1}'
        taken.add(name.casefold())
        found.append(out / f'{name}.png')
    return found


def _matches(name: str) -> list[str]:
    if os.path.lexists(name):
        return [name]
    if not any(character in name for character in '*?['):
        raise UserError(f'there is no file or folder {name}')
    matches = sorted(glob.glob(name, recursive=True))
    if not matches:
        raise UserError(f'no file matches {name}')
    return matches


def _files(top: str, out: str) -> Iterator[str]:
    out = os.path.realpath(out)
    is_folder = os.path.isdir(top)
    if os.path.realpath(top if is_folder else os.path.dirname(top) or '.') == out:
        raise UserError(
            f'{top}: answers are written into {out}, and would replace files there. '
            'Give another --out'
        )
    if not is_folder:
        yield top
        return
    unlisted, seen = [], set()
    _is_new(top, seen)
    for folder, below, names in os.walk(
        top, onerror=lambda error: unlisted.append(error.filename), followlinks=True
    ):
        below[:] = sorted(
            name
            for name in below
            if not name.startswith('.') and _is_new(os.path.join(folder, name), seen)
        )
        if os.path.realpath(folder) != out:
            yield from (
                os.path.join(folder, name)
                for name in sorted(names)
                if not name.startswith('.')
            )
    yield from unlisted


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether it is the first path to this folder; a link may lead back to one above it."""
    status = os.stat(folder)
    key = status.st_dev, status.st_ino
    is_new = key not in seen
    seen.add(key)
    return is_new
