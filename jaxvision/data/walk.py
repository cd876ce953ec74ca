"""The walk over a user's folders that training sources, --support and predict share.

Hidden files and folders, and what operating systems leave behind, are skipped. Links to folders
are followed, each folder once. Folders that this program wrote are recognised, so that a dataset
in the current folder does not gain the classes `runs` and `predictions`.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

# In lower case. What begins with a dot, such as .DS_Store, is hidden anyway.
_LEFT_BEHIND = {
    'thumbs.db',
    'ehthumbs.db',
    'desktop.ini',
    '__macosx',
    '__pycache__',
    '@eadir',
    '#recycle',
    '$recycle.bin',
    'system volume information',
    'lost+found',
}
_RUN = ('config.json', 'spec.json')
# The first key of a file that this program wrote. Other programs write files of these names.
_REPORTS = {
    'predictions.json': ('predictions', '"model"'),
    'explanations.json': ('explanations', '"model"'),
    'export.json': ('an export', '"run"'),
    'attack.json': ('an attack', '"attack"'),
    'calibrate.json': ('a calibration', '"calibrated"'),
    'certify.json': ('certificates', '"certify"'),
    'corrupt.json': ('corruptions', '"corrupt"'),
    'metrics.json': ('an evaluation', '"step"'),
    'report.json': ('a report', '"summary"'),
}
# Names that few other programs use: such a file counts although it is damaged.
_DISTINCT = ('predictions.json', 'explanations.json', 'export.json')
_HEAD = 200  # bytes of a report that are read


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of a folder, but for hidden files and leftovers of systems.

    All names are sorted.

    Attributes:
        path: the folder.
        real: its path without links.
        names: of all that is no folder.
        unreadable: those of `names` that are no files: broken links, pipes, devices.
        links: those of `names` that are links.
        folders: the names of the folders, and of links to folders.
        written: the names of the folders that this program wrote, which are none of `folders`.
        error: why the folder cannot be listed; empty if it can.
    """

    path: str
    real: str
    names: tuple[str, ...] = ()
    unreadable: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    error: str = ''

    def join(self, name: str) -> str:
        """The path of something that the folder holds."""
        return os.path.join(self.path, name)

    def real_path(self, name: str) -> str:
        """The path without links of something that the folder holds."""
        path = os.path.join(self.real, name)
        if name in self.links:
            path = os.path.realpath(path)
        return path


def walk(top: str | Path) -> Iterator[Contents]:
    """Yield the contents of a folder and of all folders below it, from the top down.

    Each folder is yielded once, by whatever links it is reached, and directly followed
    by those below it. A folder that holds `top`, `is_skipped` or was written by this
    program is not yielded. One that cannot be listed has `error` and no contents.

    Args:
        top: a folder. It is listed even if this program wrote it.
    """
    real = os.path.realpath(top)
    seen = {real, *map(str, Path(real).parents)}
    pending = [(os.fspath(top), real)]
    while pending:
        contents = _list(*pending.pop())
        yield contents
        below = []
        for name in contents.folders:
            path = contents.join(name)
            real = os.path.join(contents.real, name)
            if os.path.islink(path):
                real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                below.append((path, real))
        pending += reversed(below)


def contents_of(folder: str | Path) -> Contents:
    """The contents of a folder, without those of the folders in it.

    A folder that cannot be listed, or is missing, gives contents with `error`.
    """
    return _list(os.fspath(folder), os.path.realpath(folder))


def is_skipped(name: str) -> bool:
    """Whether a name begins with a dot, or is one that systems leave behind.

    Such a name, in any case, is Thumbs.db or __pycache__.
    """
    return name.startswith('.') or name.lower() in _LEFT_BEHIND


def written_as(folder: str | Path) -> str:
    """The kind of folder that this program wrote; '' for another folder.

    It is 'a run', 'predictions', 'explanations', 'an export', 'an evaluation' or 'a
    report'.
    """
    if all(os.path.isfile(os.path.join(folder, name)) for name in _RUN):
        return 'a run'
    for name, (kind, first_key) in _REPORTS.items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        key = _first_key(path)
        if key == first_key or (not key and name in _DISTINCT):
            return kind
    return ''


def _first_key(path: str) -> str:
    """The first key of a JSON file, in its quotes; '[' for a list; '' if it is damaged."""
    try:
        with open(path, 'rb') as file:
            head = file.read(_HEAD).decode(errors='replace')
    except OSError:
        return ''
    start = re.match(r'\s*(?:(\[)|\{\s*("[^"]*"))', head)
    if not start:
        return ''
    return start[1] or start[2]


def _list(path: str, real: str) -> Contents:
    names = []
    unreadable = set()
    links = set()
    folders = []
    written = []
    try:
        with os.scandir(path) as entries:
            visible = [entry for entry in entries if not is_skipped(entry.name)]
    except OSError as error:
        return Contents(path, real, error=error.strerror or str(error))
    for entry in sorted(visible, key=_name):
        if _is_folder(entry):
            if not (entry.is_symlink() and _leads_up(entry.path, real)):
                kept = folders
                if written_as(entry.path):
                    kept = written
                kept.append(entry.name)
            continue
        names.append(entry.name)
        if entry.is_symlink():
            links.add(entry.name)
        if not _is_file(entry):
            unreadable.add(entry.name)
    return Contents(
        path,
        real,
        names=tuple(names),
        unreadable=frozenset(unreadable),
        links=frozenset(links),
        folders=tuple(folders),
        written=tuple(written),
    )


def _name(entry: os.DirEntry) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _leads_up(link: str, folder: str) -> bool:
    """Whether a link leads to the folder that it lies in, or to one that holds this one."""
    target = os.path.realpath(link)
    return folder == target or folder.startswith(target.rstrip(os.sep) + os.sep)
