"""What datasets of a user's own files have in common: splits, classes, notes and contents."""

from collections.abc import Sequence
from pathlib import Path

from jaxvision.data import class_names
from jaxvision.data.labelled_files import (
    Item,
    Listing,
    by_split,
    contradictions,
    find_split,
    listed,
    not_held_out,
    printable,
)
from jaxvision.data.protocol import Identify, Source, fingerprint
from jaxvision.data.split_names import SPLITS


class FileDataset:
    """A dataset of files in one folder. A subclass says what a split opens as.

    Attributes:
        splits: those that there are, of 'train', 'validation' and 'test'.
        notes: what a user should know of how the folder was read. Opening a split may add to it.
        doubts: what looks wrong in the folder. Opening a split may add to it.
    """

    def __init__(self, root: Path, listing: Listing, identify: Identify):
        """Take the files of a dataset.

        Args:
            root: the folder.
            listing: its files, some of them for training.
            identify: called with paths when a split is opened; gives a text for each
                that identifies its content.
        """
        self.notes = printable(listing.notes)
        self.doubts = printable(listing.doubts)
        self._root = root
        self._identify = identify
        self._items = by_split(listing.items)
        self.splits = tuple(split for split in SPLITS if self._items[split])

    def open(self, split: str) -> Source:
        """Open a split by its name, or a usual other name: 'val' for 'validation'.

        Files with equal bytes but different labels add a sentence to `doubts`.

        Raises:
            UserError: There is no such split.
        """
        split = find_split(str(self._root), split, self.splits)
        items = self._items[split]
        contents = self._identify([item.path for item in items])
        self._doubt(contradictions(self._root, items, contents))
        listing = listed(self._root, items, contents)
        return self._source(split, items, contents, fingerprint(split, listing))

    def has_answers(self, split: str) -> bool:
        """Whether a split has examples, whether or not the dataset has classes.

        Raises:
            UserError: There is no such split.
        """
        return bool(self._items[find_split(str(self._root), split, self.splits)])

    def overlap(self, split: str, other: str) -> bool:
        """Whether two names mean the same split; no file is in two splits.

        Raises:
            UserError: There is no such split.
        """
        first, second = (
            find_split(str(self._root), name, self.splits) for name in (split, other)
        )
        return first == second

    def _source(
        self, split: str, items: Sequence[Item], contents: Sequence[str], hashed: str
    ) -> Source:
        """The source of a split.

        Args:
            split: the split.
            items: its files.
            contents: what identifies each of them.
            hashed: the fingerprint of the split.
        """
        raise NotImplementedError

    def _note(self, notes: Sequence[str]) -> None:
        """Add notes that are new."""
        new = [note for note in printable(notes) if note not in self.notes]
        self.notes += tuple(new)

    def _doubt(self, doubts: Sequence[str]) -> None:
        """Add doubts that are new."""
        new = [doubt for doubt in printable(doubts) if doubt not in self.doubts]
        self.doubts += tuple(new)

    def _note_classes(self, classes: Sequence[str], is_single_label: bool) -> None:
        """Add doubts about the names of classes, and a note of those that are too small."""
        self._doubt(class_names.doubtful(classes))
        if is_single_label and self.splits == ('train',):
            self._note(not_held_out(self._items['train']))
