"""A user's own files: which files a command line names, their bytes, and names for pictures."""

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import walk
from jaxvision.data.protocol import Unreadable

Say = Callable[[str], object]

# Six bytes, uncompressed 16-bit RGB, for each of the most pixels that Pillow accepts.
MOST_BYTES = 2**29

_NOT_A_FILE = {
    stat.S_IFDIR: 'a folder that cannot be listed',
    stat.S_IFIFO: 'a named pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}


def find(names: Sequence[str], out: str, say: Say | None = None) -> list[str]:
    """List the files that names of files, folders and globs mean, each file once.

    A folder means all files below it, whatever their suffix, but for hidden ones. Files
    directly in `out` are left out. Folders that this program wrote are left out, too,
    unless `names` has them.

    Args:
        names: as the user typed them.
        out: the folder that predictions are written into.
        say: called with a line on each folder that is left out; None: nothing is said.

    Returns:
        The paths, in the order of the names. Broken links and folders that cannot be listed are
        among them, so that a report can name them.

    Raises:
        UserError: A name means no file, or `out` itself or a file directly in it.
    """
    found = {}
    written = {}
    for name in names:
        paths = []
        left_out = {}
        for top in _matches(name):
            found_below, written_below = _files(top, out)
            paths += found_below
            left_out |= written_below
        if not paths and left_out:
            raise UserError(
                f'{name} holds no files but those that this program wrote. Name '
                f'{next(iter(left_out))} itself to read them.'
            )
        if not paths:
            raise UserError(f'{name} holds no files')
        written |= left_out
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    for folder, kind in written.items():
        if say:
            say(f'{folder}: {kind} of this program, left out')
    return list(found.values())


def read(path: str) -> bytes:
    """Read the bytes of an image file.

    Raises:
        Unreadable: The path is no file, which is then not opened. Or the file is empty, too
            large for an image, or not permitted.
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
    """The size of a file in bytes.

    Raises:
        Unreadable: The path is no file, or the file is empty.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise Unreadable(error.strerror) from error
    kind = _NOT_A_FILE.get(stat.S_IFMT(status.st_mode))
    if kind:
        raise Unreadable(f'{kind}, not a file')
    if not status.st_size:
        raise Unreadable('an empty file')
    return status.st_size


def image_suffixes() -> frozenset[str]:
    """The suffixes of the files that Pillow reads, in lower case with the dot."""
    from PIL import Image

    return frozenset(
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN
    )


def picture_paths(paths: Sequence[str], out: Path) -> list[Path]:
    """Name a picture for each file, all names different. Nothing is read or written.

    A picture of a/cat.jpg is cat.png, and a second one, of b/cat.tif, is cat-2.png.
    Names differ in more than their case, because some file systems ignore it.
    Characters other than letters, digits and _.=+- become _. A name has at most 50
    characters before '-2' and '.png'.

    Args:
        paths: the files.
        out: the folder of the pictures.

    Returns:
        A path OUT/NAME.png for each of `paths`, in their order.
    """
    copies = Counter()
    taken = set()
    pictures = []
    for path in paths:
        stem = re.sub(r'[^\w.=+-]+', '_', Path(path).stem)[:50]
        name = stem
        while name.casefold() in taken:
            copies[stem.casefold()] += 1
            name = f'{stem}-{copies[stem.casefold()] + 1}'
        taken.add(name.casefold())
        pictures.append(out / f'{name}.png')
    return pictures


def _matches(name: str) -> list[str]:
    if os.path.lexists(name):
        return [name]
    if not any(character in name for character in '*?['):
        raise UserError(f'there is no file or folder {name}')
    matches = sorted(glob.glob(name, recursive=True))
    if not matches:
        raise UserError(f'no file matches {name}')
    return matches


def _files(top: str, out: str) -> tuple[list[str], dict[str, str]]:
    """The file `top`, or all files below it; and the folders that this program wrote.

    Folders that cannot be listed come last.
    """
    out = os.path.realpath(out)
    is_folder = os.path.isdir(top)
    folder = top if is_folder else os.path.dirname(top) or '.'
    if os.path.realpath(folder) == out:
        raise UserError(
            f'{top}: answers are written into {out}, and would replace files there. '
            'Give another --out'
        )
    if not is_folder:
        return [top], {}
    found = []
    unlisted = []
    written = {}
    for contents in walk.walk(top):
        if contents.error:
            unlisted.append(contents.path)
        if contents.real != out:
            found += map(contents.join, contents.names)
        for name in contents.written:
            if contents.real_path(name) != out:
                path = contents.join(name)
                written[path] = walk.written_as(path)
    return found + unlisted, written
