"""Preparing videos for a model: frames of one size, and removal of padding."""

import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.spec import Preprocessing
from jaxvision.data import decode, resizing, video


def make_frame_resize(preprocessing: Preprocessing) -> video.Resize:
    """Build the function that resizes a frame to the size of the model's input.

    Args:
        preprocessing: its resize rule is 'none', 'stretch' or 'central_square'. With 'none',
            frames of another size are stretched to `size`.

    Returns:
        `(encoded frame or pixels, side, channels) -> uint8 [height, width, channels]`. With
        'none', the side is ignored.
    """
    rules = {
        'none': make_resize_to(preprocessing.size),
        'stretch': decode.stretch,
        'central_square': functools.partial(decode.resize_center_crop, fraction=1.0),
    }
    return rules[preprocessing.resize]


def make_resize_to(size: tuple[int, int]) -> video.Resize:
    """Build a function that stretches frames to `size`, (height, width) in pixels.

    Returns:
        `(encoded frame or pixels, side, channels) -> uint8 [height, width, channels]`, in which
        the side is ignored.
    """

    def resize_to(frame, _, channels):
        pixels = decode.decode(frame, channels)
        if pixels.shape[:2] == size:
            return pixels
        return resizing.resize(pixels, *size)

    return resize_to


def unpadded_frames(batch: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, 'n h w c']:
    """List the real frames of a batch, without padded frames and padded examples.

    Args:
        batch: with 'video' [B, T, H, W, C], 'video_mask' [B, T], above 0 for real frames, and
            'present' [B], False for padded examples.
    """
    is_frame = batch['video_mask'] > 0
    return batch['video'][is_frame & batch['present'][:, None]]
