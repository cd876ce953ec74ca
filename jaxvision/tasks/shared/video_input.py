"""Preparing videos for a model: frames of one size, and removal of padding."""

import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.spec import Preprocessing
from jaxvision.data import decode, video


def make_frame_resize(preprocessing: Preprocessing) -> video.Resize:
    """Build the function that resizes a frame to the size of the model's input."""
    rules = {
        'none': make_resize_to(preprocessing.size),
        'stretch': decode.stretch,
        'central_square': functools.partial(decode.resize_center_crop, fraction=1.0),
    }
    return rules[preprocessing.resize]


def make_resize_to(size: tuple[int, int]) -> video.Resize:
    """Build a function that stretches frames to `size`, (height, width) in pixels."""

    def resize_to(frame, _, channels):
        pixels = decode.decode(frame, channels)
        if pixels.shape[:2] == size:
            return pixels
        return decode.resize(pixels, *size)

    return resize_to


def unpadded_frames(batch: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, 'n h w c']:
    """Return all frames of a batch without padding: padded frames and padded examples."""
    is_frame = batch['video_mask'] > 0
    return batch['video'][is_frame & batch['present'][:, None]]
