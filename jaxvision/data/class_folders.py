"""Read the tree ROOT/[SPLIT/]CLASS/FILE."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import walk
from jaxvision.data.labelled_files import Item, count, name_in, some, without_copies
from jaxvision.data.split_names import (
    SPLITS,
    are_splits,
    class_name,
    split_of,
    splits_in,
)

_TABLES = ('.csv', '.tsv', '.xls', '.xlsx')
_ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.rar', '.7z')


class ClassFolders:
    """The files of one kind in a tree, and notes of all else that it holds.

    Attributes:
        notes: what a user should know of how the tree was read. Reading adds to it.
        doubts: what looks wrong in the tree. Reading adds to it.
    """

    def __init__(self, root: Path, suffixes: Set[str], kind: str, table_hint: str = ''):
        """Say what to read; nothing is read yet.

        Args:
            root: the folder.
            suffixes: of the files to list, in lower case with the dot.
            kind: what such files are, in the plural.
            table_hint: what a note of a table that is not read ends with.
        """
        self.notes: list[str] = []
        self.doubts: list[str] = []
        self._table_hint = table_hint
        self._root = root
        self._suffixes = suffixes
        self._kind = kind
        self._written: list[str] = []
        self._broken: list[str] = []
        self._others: Counter[str] = Counter()

    def split_folders(self) -> dict[str, Path]:
        """Find the folder of each of 'train', 'validation' and 'test' that there is.

        A folder may have another usual name of its split, such as 'val'. Without split
        folders, the root itself is that of 'train'.

        Raises:
            UserError: There are split folders, but none for training, two for one
                split, or one that may be a missing split under another name. Or the
                root cannot be listed.
        """
        contents = self._contents(self._root)
        named = {split: [] for split in SPLITS}
        for name in contents.folders:
            if split_of(name):
                named[split_of(name)].append(name)
        if not any(named.values()):
            return {'train': self._root}
        for split, names in named.items():
            if len(names) > 1:
                folders = some([f'{name}/' for name in names])
                raise UserError(
                    f'{self._root}: {folders} are all the {split} split: expected one '
                    'folder a split. Rename or remove the others.'
                )
        if not named['train']:
            (name,) = named['validation'] or named['test']
            raise UserError(
                f'{self._root} has {name}/ but no train/. If {name} is a class, move '
                f'all class folders into {self._root / "train"}. If it is a split, add '
                'train/ beside it.'
            )
        self._check_others(contents, named)
        self._note_splits(contents, named)
        return {split: self._root / names[0] for split, names in named.items() if names}

    def in_classes(self, split: str, folder: Path) -> list[Item]:
        """List the files in the class folders of a split, at any depth.

        The name of the class folder is the label. The list is empty if there are no
        class folders.

        Args:
            split: 'train', 'validation' or 'test'.
            folder: of the split.

        Raises:
            UserError: A class folder holds no file of the kind, or holds split folders.
                All class folders have names of splits. Or a folder cannot be listed.
        """
        contents = self._contents(folder)
        self._check_are_classes(folder, contents.folders)
        items = []
        for name in contents.folders:
            found = self._in_class(split, folder / name)
            # Paths compare by their parts, unlike the walk's strings.
            items += sorted(found, key=_path)
        self._check_inner_folders(folder, contents.folders)
        return items

    def in_no_class(self, split: str, folder: Path) -> list[Item]:
        """List the files of the kind directly in a split's folder, without labels."""
        contents = self._contents(folder)
        return list(self._items(split, (), contents))

    def without_copies(self, items: Sequence[Item]) -> list[Item]:
        """Return the first item of each file, and note how many links are left out.

        Raises:
            UserError: A file is in two splits or has two labels.
        """
        kept = without_copies(items)
        if len(kept) < len(items):
            number = count(len(items) - len(kept), 'link')
            self.notes.append(f'{number} to files that are listed anyway: left out')
        return kept

    def note_left_out(self) -> None:
        """Add notes of what else class folders hold. Call it once, after reading."""
        if self._written:
            self.notes.append(
                f'{some(self._written)}: written by this program, left out'
            )
        if self._broken:
            self.notes.append(
                f'{count(len(self._broken), "broken link")} left out, such as '
                f'{self._broken[0]}'
            )
        if self._others:
            endings = some([ending for ending, _ in self._others.most_common()])
            number = count(self._others.total(), 'other file')
            self.notes.append(f'{number} in class folders left out: {endings}')

    def _contents(self, folder: Path) -> walk.Contents:
        """The contents of a folder, checked."""
        contents = walk.contents_of(folder)
        _check_listed(contents)
        self._note_written(contents)
        self._note_unread(contents)
        for name in sorted(contents.unreadable):
            if not os.path.splitext(name)[1] or split_of(name):
                raise UserError(
                    f'{folder / name} is a broken link or no file: expected a folder. '
                    'Mend or remove it.'
                )
        return contents

    def _note_written(self, contents: walk.Contents) -> None:
        names = [self._name(contents.join(name)) + '/' for name in contents.written]
        self._written += [name for name in names if name not in self._written]

    def _note_unread(self, contents: walk.Contents) -> None:
        """Note tables and archives beside folders, which may hold labels or a class."""
        tables = self._with_suffix(contents, _TABLES)
        if tables:
            self._note(
                f'{some(tables)} not read: labels come from the names of folders'
                f'{self._table_hint}'
            )
        archives = self._with_suffix(contents, _ARCHIVES)
        if archives:
            self._note(f'{some(archives)} not read: expected unpacked folders')

    def _with_suffix(
        self, contents: walk.Contents, suffixes: Sequence[str]
    ) -> list[str]:
        """The files of a folder with one of these suffixes."""
        return [
            self._name(contents.join(name))
            for name in contents.names
            if os.path.splitext(name)[1].lower() in suffixes
        ]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _check_inner_folders(self, split_folder: Path, names: Sequence[str]) -> None:
        """Add a doubt if all classes hold folders of the same names, which may be the classes."""
        if len(names) < 2:
            return
        inner = [set(walk.contents_of(split_folder / name).folders) for name in names]
        shared = sorted(set.intersection(*inner))
        if len(shared) < 2:
            return
        folders = some([f'{name}/' for name in names])
        inner_folders = some([f'{name}/' for name in shared])
        self.doubts.append(
            f'the classes are {folders}, and each of them holds {inner_folders}. If these '
            'are the classes, put the images of each into one folder'
        )

    def _check_others(
        self, contents: walk.Contents, named: dict[str, list[str]]
    ) -> None:
        """Check that no folder beside the splits is a further one under another name."""
        (train,) = named['train']
        train_has_classes = bool(walk.contents_of(self._root / train).folders)
        for name in contents.folders:
            meant = sorted(splits_in(name) - {'train'})
            missing = [
                split for split in meant if not split_of(name) and not named[split]
            ]
            below = walk.contents_of(self._root / name)
            if missing and (below.folders or not train_has_classes):
                split = missing[0]
                raise UserError(
                    f'{self._root}: {name}/ beside {train}/ may be the {split} split. '
                    f'Rename it to {split}, or move it elsewhere.'
                )

    def _note_splits(
        self, contents: walk.Contents, named: dict[str, list[str]]
    ) -> None:
        """Note which folder is which split, and which folders are none."""
        for split, names in named.items():
            if names and names[0] != split:
                self.notes.append(f'{names[0]}/ is the {split} split')
        others = [f'{name}/' for name in contents.folders if not split_of(name)]
        if others:
            verb = 'is no split' if len(others) == 1 else 'are no splits'
            self.notes.append(
                f'{some(others)} beside {named["train"][0]}/ {verb}: left out'
            )

    def _check_are_classes(self, folder: Path, names: Sequence[str]) -> None:
        """Check that class folders are not the folders of splits."""
        if are_splits(names):
            raise UserError(
                f'{folder}: its classes would be {some(names)}, which are names of '
                'splits. If they are splits, name them train, validation and test, '
                f'directly in {self._root}.'
            )

    def _in_class(self, split: str, folder: Path) -> Iterator[Item]:
        found = False
        written = len(self._written)
        broken = len(self._broken)
        labels = (class_name(folder.name),)
        for number, contents in enumerate(walk.walk(folder)):
            _check_listed(contents)
            if number == 0:
                self._check_holds_no_splits(folder, contents.folders)
            self._note_written(contents)
            self._count_others(contents)
            for item in self._items(split, labels, contents):
                found = True
                yield item
        if found:
            return
        if broken < len(self._broken):
            number = count(len(self._broken) - broken, 'link')
            raise UserError(
                f'the class folder {folder} has no {self._kind} but {number} to files '
                'that are not there; mend or remove it'
            )
        if written == len(self._written):
            raise UserError(
                f'the class folder {folder} has no {self._kind}; fill it or remove it'
            )

    def _check_holds_no_splits(self, folder: Path, names: Sequence[str]) -> None:
        if are_splits(names):
            splits = some([f'{name}/' for name in names])
            raise UserError(
                f'{folder} holds {splits}: expected SPLIT/CLASS/FILE, not CLASS/SPLIT/FILE. '
                f'If {folder.name} is no class, name {folder} as the folder of the '
                'source.'
            )

    def _items(
        self, split: str, labels: tuple[str, ...], contents: walk.Contents
    ) -> Iterator[Item]:
        """The files of the kind in one folder."""
        for name in contents.names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in self._suffixes:
                continue
            if name in contents.unreadable:
                self._broken.append(self._name(contents.join(name)))
            else:
                path = Path(contents.join(name))
                yield Item(path, labels, split, contents.real_path(name))

    def _count_others(self, contents: walk.Contents) -> None:
        for name in contents.names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in self._suffixes:
                self._others[suffix or name] += 1

    def _name(self, path: str) -> str:
        return name_in(self._root, Path(path))


def _check_listed(contents: walk.Contents) -> None:
    if contents.error:
        raise UserError(
            f'{contents.path} cannot be listed: {contents.error}. Permit it, or move '
            'the folder elsewhere.'
        )


def _path(item: Item) -> Path:
    return item.path
