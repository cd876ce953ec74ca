"""What the rest of the package asks of data: a source is a random-access list of examples."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from jaxvision.core.errors import UserError

Example = dict[str, Any]
Rows = Sequence[int] | Int[np.ndarray, 'm']
Labels = Int[np.ndarray, 'n'] | Float[np.ndarray, 'n k']


class Unreadable(Exception):
    """One example that cannot be read or decoded; the pipeline says which, or replaces it."""


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a split without reading it.

    `image_shape` is (height, width, channels), of a clip that of its frames; None where images
    differ. `fingerprint` is a hash of the listing of the data: two runs with the same one saw the
    same examples in the same rows. `holds` names what an example has. `frames` is the length of
    every clip, None where clips differ and 0 where there are only images. `new_classes`: no example
    is of a class that training has.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    multi_label: bool
    fingerprint: str
    holds: tuple[str, ...] = ('image', 'label')
    frames: int | None = 0
    new_classes: bool = False

    def check_holds(self, *names: str) -> None:
        """Raises:
        UserError: an example does not have all of these.
        """
        missing = [name for name in names if name not in self.holds]
        if missing:
            raise UserError(
                f'{self.name} holds {", ".join(self.holds)}: this task needs '
                f'{", ".join(missing)}'
            )


@runtime_checkable
class Source(Protocol):
    """A split, by row. Reading is safe from several threads at once.

    An example is a dict of what `info.holds` names. 'image' is encoded bytes or uint8 [H, W, C];
    'video' uint8 [T, H, W, C], encoded frames, or a film's path; 'label' int32, or float32 [K] of
    zeros and ones where `info.multi_label`; 'captions' a list of texts; 'importance' float32 [T]
    of a video's frames. Reading raises `Unreadable`.
    """

    info: SourceInfo

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Example: ...

    def read(self, rows: Rows) -> list[Example]:
        """Several rows at once, which some formats do faster."""

    def labels(self) -> Labels:
        """Every row's label, without decoding an image; only where there are labels."""

    def where(self, row: int) -> str:
        """The row's place in words, for messages: a file's path, or 'cifar10 test, row 17'."""


@runtime_checkable
class Dataset(Protocol):
    """A data set: named splits, each of which opens as a `Source`."""

    splits: tuple[str, ...]

    def open(self, split: str) -> Source: ...

    def overlap(self, split: str, other: str) -> bool:
        """Whether some example is in both splits."""


def fingerprint(*parts: Any) -> str:
    """A short hash of the parts' text forms."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
