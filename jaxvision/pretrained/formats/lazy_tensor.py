"""Tensors whose numbers are read from the file on demand."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class LazyTensor(NamedTuple):
    """A tensor of an open file.

    Attributes:
        shape: the shape, unchecked: a hostile file may put any object here.
        read: `() -> array` reads the numbers, bfloat16 as float32, since NumPy has no bfloat16.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
