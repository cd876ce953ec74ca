"""Tensors whose numbers stay in the file until they are read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class LazyTensor(NamedTuple):
    """A tensor of an open file.

    Attributes:
        shape: axes in the order of the file; unchecked, so a hostile file may put any
            object here.
        read: read the numbers; bfloat16 become float32, which NumPy can add.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
