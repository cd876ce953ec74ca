"""What the rest of the package asks of data: a source is a random-access list of examples."""

from collections.abc import Sequence
import dataclasses
import hashlib
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

Example = dict[str, Any]
Rows = Sequence[int] | Int[np.ndarray, 'm']
Labels = Int[np.ndarray, 'n'] | Float[np.ndarray, 'n k']


class Unreadable(Exception):
    """One example that cannot be read or decoded; the pipeline says which, or replaces it."""


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a split without reading it.

    `image_shape` is (height, width, channels), None where images differ. `fingerprint` is a hash
    of the listing of the data: two runs with the same one saw the same examples in the same rows.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    multi_label: bool
    fingerprint: str


@runtime_checkable
class Source(Protocol):
    """A split, by row. Reading is safe from several threads at once.

    An example is {'image': encoded bytes or uint8 [H, W, C], 'label': int32, or float32 [K] of
    zeros and ones where `info.multi_label`}. Reading raises `Unreadable`.
    """

    info: SourceInfo

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Example: ...

    def read(self, rows: Rows) -> list[Example]:
        """Several rows at once, which some formats do faster."""

    def labels(self) -> Labels:
        """Every row's label, without decoding an image."""

    def where(self, row: int) -> str:
        """The row's place in words, for messages: a file's path, or 'cifar10 test, row 17'."""


@runtime_checkable
class Dataset(Protocol):
    """A data set on disk: named splits, each of which opens as a `Source`."""

    splits: tuple[str, ...]

    def open(self, split: str) -> Source: ...

    def overlap(self, split: str, other: str) -> bool:
        """Whether some example is in both splits."""


def fingerprint(*parts: Any) -> str:
    """A short hash of the parts' text forms."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
