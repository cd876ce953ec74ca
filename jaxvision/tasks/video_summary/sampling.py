"""Sampling of frames from a video, evenly spaced in time, on the host."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.fields import Config
from jaxvision.core.types import Example, Prepare
from jaxvision.data import video, video_times
from jaxvision.tasks.shared import video_input

# Smallest number of frames from a video file, so that a summary has at least three.
_FEWEST = 20
# Assumed frames per second of a video in an array, which does not state its rate.
_RATE_OF_ARRAYS = 25.0


def make_sample(options: Config, shape: Sequence[int]) -> Callable[[Example], Example]:
    """Build the function that samples frames of a video, evenly spaced in time.

    A video file is sampled with `task.frames_per_second`, but at least 20 frames if it has them.
    An array gives all its frames, at 25 frames per second. The number of frames in `shape` is
    the upper limit for both, and shorter results are padded to it.

    Args:
        options: `config.task`.
        shape: shape of the sampled video: (frames, height, width, channels).

    Returns:
        `(example) -> example` with only 'video' uint8 [T, H, W, C], stretched to the shape,
        'video_mask' uint8 [T], 0 for padding, 'spans' [T, 2] and, if the example has it,
        'importance' [T]. A span is the part of the video, (start, end) in seconds, that a
        frame represents.
    """
    most, height, width, channels = shape
    resize = video_input.make_resize_to((height, width))

    def sample(example):
        clip = example['video']
        if isinstance(clip, video.File):
            frame_edges = video_times.edges(clip)
            seconds = frame_edges[-1] - frame_edges[0]
            count = max(round(seconds * options.frames_per_second), _FEWEST)
        else:
            count = video.count(clip)
            frame_edges = np.arange(count + 1) / _RATE_OF_ARRAYS
        count = min(count, len(frame_edges) - 1, most)
        # Equal parts of the video, each with the frame in its middle.
        edges = np.linspace(frame_edges[0], frame_edges[-1], count + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        rows = video_times.at(frame_edges, middles)
        pixels = video.read(clip, rows, height, channels, resize)
        frames, mask = video.padded(pixels, most)
        spans = np.stack([edges[:-1], edges[1:]], 1)
        sampled = {
            'video': frames,
            'video_mask': mask.astype(np.uint8),
            'spans': _padded(spans, most),
        }
        if 'importance' in example:
            sampled['importance'] = _padded(example['importance'][rows], most)
        return sampled

    return sample


def _padded(values: np.ndarray, most: int) -> np.ndarray:
    """Pad the values of frames with zeros."""
    zeros = np.zeros((most - len(values), *values.shape[1:]))
    return np.concatenate([values, zeros]).astype(np.float32)


def make_prepare(options: Config, shape: Sequence[int]) -> Prepare:
    """Build the host function that samples the frames of a video, unless they are sampled.

    Args:
        options: `config.task`.
        shape: shape of the sampled video: (frames, height, width, channels).

    Returns:
        `(example, rng) -> example`, as `make_sample` makes it. `rng` is not used. An example with
        'video_mask' is returned unchanged.
    """
    sample = make_sample(options, shape)

    def prepare(example, rng):
        if 'video_mask' in example:
            return example
        return sample(example)

    return prepare
