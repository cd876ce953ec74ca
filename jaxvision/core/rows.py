"""Rows of a dataset."""

import numpy as np
from jaxtyping import Int


def evenly_spaced(count: int, most: int) -> Int[np.ndarray, 'n']:
    """Choose at most `most` of `count` rows, the first and the last among them.

    Returns:
        The numbers of the rows in ascending order, int [N]; all if they are at most `most`.
    """
    return np.linspace(0, count - 1, min(count, most)).astype(int)
