"""What identifies the content of files: digests, kept in the user's cache.

Two datasets are the same only if their files hold the same bytes. A file is hashed once: its
digest is kept with its size, times and inode, and is hashed again when one of these changes.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxvision.core.files import atomic_write, cache_folder

# A file that was written this shortly before it was hashed may be written again without a
# change of its times. Its digest is not kept.
_SETTLED = 2.0  # seconds
_THREADS = 4
_BETWEEN_SAVES = 30.0  # seconds
_BETWEEN_REPORTS = 5.0  # seconds
_UNREADABLE = 'unreadable'

# (size, mtime, ctime, inode) of a file; the times in nanoseconds.
_Status = tuple[int, int, int, int]

Say = Callable[[str], object]


def identify(
    paths: Sequence[Path], limit: int | float = float('inf'), say: Say | None = None
) -> list[str]:
    """The identity of the content of each file, in the order of the paths.

    Args:
        paths: of the files.
        limit: bytes. If the files together have more, none is hashed. The text 'SIZE
            TIME_OF_MODIFICATION', in bytes and nanoseconds, identifies each instead.
        say: called with a line of progress now and then; None: nothing is said.

    Returns:
        A SHA-256 digest of each file's bytes, 64 hexadecimal digits; 'unreadable' for a
        file that cannot be read. Digests are cached on disk, in the user's cache
        folder.
    """
    if not paths:
        return []
    say = say or _ignore
    statuses = [_status(path) for path in paths]
    total = sum(status[0] for status in statuses if status)
    if total > limit:
        say(
            f'{len(paths):,} files of {_gigabytes(total)}: more than data.hash_limit, so '
            'their content is known by sizes and times alone'
        )
        return [_size_and_time(status) for status in statuses]
    return _digests(paths, statuses, say)


def is_digest(identity: str) -> bool:
    """Whether what identifies a file is a digest of its bytes, not its size and time."""
    return len(identity) == 64


def shared(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Find the files of `other` whose bytes equal those of a file of `one`.

    Identities that are no digests never match.

    Args:
        one: the results of `identify` for some files.
        other: the results of `identify` for the files to look for among those.

    Returns:
        (the first place in `one`, the place in `other`) of each file of `other` that is
        in `one`, in the order of `other`. Places count from 0.
    """
    first = {}
    for place, identity in enumerate(one):
        if is_digest(identity):
            first.setdefault(identity, place)
    return [
        (first[identity], place)
        for place, identity in enumerate(other)
        if identity in first
    ]


def _ignore(text: str) -> None:
    pass


def _size_and_time(status: _Status | None) -> str:
    """The identity of a file that is not hashed."""
    if status is None:
        return _UNREADABLE
    size, modified, *_ = status
    return f'{size} {modified}'


def _digests(
    paths: Sequence[Path], statuses: Sequence[_Status | None], say: Say
) -> list[str]:
    absolute = [os.path.abspath(path) for path in paths]
    cache = _Cache(absolute)
    digests: dict[str, str | None] = {}
    for path, status in zip(absolute, statuses, strict=True):
        digests[path] = _UNREADABLE
        if status:
            digests[path] = cache.digest(path, status)
    status_of = dict(zip(absolute, statuses, strict=True))
    missing = {
        path: status for path, status in status_of.items() if digests[path] is None
    }
    if missing:
        for path, digest in _hashed(missing, say):
            digests[path] = digest
            cache.add(path, missing[path], digest)
        cache.save()
    return [str(digests[path]) for path in absolute]


def _hashed(files: dict[str, _Status], say: Say) -> Iterator[tuple[str, str]]:
    """Yield (path, digest) of each file, and report the progress."""
    total = sum(size for size, *_ in files.values())
    done = 0
    reported = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, digest in zip(files, pool.map(_digest, files), strict=True):
            done += files[path][0]
            if time.monotonic() - reported > _BETWEEN_REPORTS:
                reported = time.monotonic()
                fraction = done / max(total, 1)
                say(f'hashing {_gigabytes(total)} of files: {fraction:.0%}')
            yield path, digest


def _digest(path: str) -> str:
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError:
        return _UNREADABLE


class _Cache:
    """The digests of the files below one folder, by path relative to it."""

    def __init__(self, paths: Sequence[str]):
        """Read the cache of the folder that holds all of these files, if there is one."""
        folders = [os.path.dirname(path) for path in paths]
        self._folder = os.path.commonpath(folders)
        digest = hashlib.sha256(os.fsencode(self._folder))
        name = digest.hexdigest()[:24]
        self._file = cache_folder('digests') / f'{name}.json'
        self._entries: dict[str, list[int | str]] = {}
        self._saved = time.monotonic()
        # A cache that is missing or damaged costs only time.
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(self._file.read_text())
            if isinstance(entries, dict):
                self._entries = entries

    def digest(self, path: str, status: _Status) -> str | None:
        """The digest of a file that has not changed since, or None."""
        match self._entries.get(self._key(path)):
            case [*kept, str(digest)] if tuple(kept) == status:
                return digest
        return None

    def add(self, path: str, status: _Status, digest: str) -> None:
        """Keep a digest, and write the cache now and then."""
        _, modified, changed, _ = status
        age = time.time() - max(modified, changed) / 1e9
        if digest != _UNREADABLE and age > _SETTLED:
            self._entries[self._key(path)] = [*status, digest]
        if time.monotonic() - self._saved > _BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        # A cache that cannot be written costs only time.
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._file, durable=False) as file:
                json.dump(self._entries, file)

    def _key(self, path: str) -> str:
        return path[len(self._folder) :].lstrip(os.sep)


def _status(path: Path) -> _Status | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _gigabytes(size: int) -> str:
    return f'{size / 1e9:.1f} GB'
