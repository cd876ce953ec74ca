"""What datasets of annotated files have in common: the image files of their splits."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data.labelled_files import find_split


class SplitFiles:
    """Base of a dataset that knows the image files of its splits.

    Attributes:
        splits: those that there are, such as 'train', 'validation' and 'test'.
    """

    def __init__(
        self, name: str, paths: Mapping[str, Sequence[Path]], noun: str = 'images'
    ):
        """Take the files of a dataset.

        Args:
            name: the dataset, in messages.
            paths: the image files of each split.
            noun: what the files are, for the message.

        Raises:
            UserError: There is no split called train.
        """
        self._name = name
        self._paths = paths
        self.splits = tuple(paths)
        if 'train' not in self.splits:
            raise UserError(
                f'{name} has no training {noun}. The splits with annotated {noun} are: '
                f'{", ".join(self.splits) or "none"}. Add a split called train'
            )

    def has_answers(self, split: str) -> bool:
        """Whether a split has annotated files.

        Raises:
            UserError: There is no such split.
        """
        return bool(self._paths[self._find(split)])

    def overlap(self, split: str, other: str) -> bool:
        """Whether some file is in both splits, by its name or as the target of links.

        Raises:
            UserError: There is no such split.
        """
        return not self._real_paths(split).isdisjoint(self._real_paths(other))

    def _find(self, split: str) -> str:
        """The split of a name, or of a usual other name: 'val' for 'validation'."""
        return find_split(self._name, split, self.splits)

    def _real_paths(self, split: str) -> set[str]:
        """The paths of a split's files, without links."""
        return {os.path.realpath(path) for path in self._paths[self._find(split)]}
