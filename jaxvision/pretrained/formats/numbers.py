"""Numbers as files hold them."""

import numpy as np


def from_bytes(data: bytes, dtype: str, count: int) -> np.ndarray:
    """`count` numbers, read-only; 'bfloat16', which NumPy has not, as float32.

    Raises:
        ValueError: there are more bytes, or fewer.
    """
    stored = np.dtype('<u2' if dtype == 'bfloat16' else dtype)
    if len(data) != count * stored.itemsize:
        raise ValueError(
            f'{count} numbers have {len(data)} bytes: it is cut off, or lies'
        )
    numbers = np.frombuffer(data, stored)
    # A bfloat16 is the upper half of a float32.
    return (numbers.astype('<u4') << 16).view('<f4') if dtype == 'bfloat16' else numbers
