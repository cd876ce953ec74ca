"""Frames that stand for a whole video, on the host."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.fields import Config
from jaxvision.core.types import Example, Prepare
from jaxvision.data import video
from jaxvision.tasks.shared import video_input

_FEWEST = 20  # frames of a video file; a summary of fewer has less than three


def make_sample(options: Config, shape: Sequence[int]) -> Callable[[Example], Example]:
    """Build the function that samples the frames of a video, evenly spaced.

    `task.rate` frames per second are sampled of a video file, and all frames of an array. The
    number of frames in `shape` is the upper limit.

    Args:
        options: of the task.
        shape: of the sampled video: (frames, height, width, channels).

    Returns:
        `sample(example)`, an example with 'video', 'video_mask', 'spans' [T, 2] (from when
        to when, in seconds, a frame stands for the video) and, where it is known,
        'importance' [T].
    """
    most, height, width, channels = shape
    resize = video_input.make_resize_to((height, width))

    def sample(example):
        clip = example['video']
        total = video.count(clip)
        rate = 25.0
        count = total
        if isinstance(clip, video.File):
            rate = video.rate(clip)
            count = max(round(total / rate * options.rate), _FEWEST)
        count = min(count, total, most)
        edges = np.arange(count + 1) * total / count
        rows = ((edges[:-1] + edges[1:]) / 2).astype(int)
        pixels = video.read(clip, rows, height, channels, resize)
        frames, mask = video.padded(pixels, most)
        sampled = {
            'video': frames,
            'video_mask': mask.astype(np.uint8),
            'spans': _padded(np.stack([edges[:-1], edges[1:]], 1) / rate, most),
        }
        if 'importance' in example:
            sampled['importance'] = _padded(example['importance'][rows], most)
        return sampled

    return sample


def _padded(values: np.ndarray, most: int) -> np.ndarray:
    """Values of frames, with zeros for the padding."""
    zeros = np.zeros((most - len(values), *values.shape[1:]))
    return np.concatenate([values, zeros]).astype(np.float32)


def make_prepare(options: Config, shape: Sequence[int]) -> Prepare:
    """Sample the frames of a video, unless they are sampled already.

    The arguments are those of `make_sample`.
    """
    sample = make_sample(options, shape)

    def prepare(example, rng):
        return example if 'video_mask' in example else sample(example)

    return prepare
