"""Frames that stand for a whole video, on the host."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.fields import Config
from jaxvision.core.types import Example, Prepare
from jaxvision.data import video, video_times
from jaxvision.tasks.shared import video_input

_FEWEST = 20  # frames of a video file; a summary of fewer has less than three
_RATE_OF_ARRAYS = 25.0  # frames a second, as an array does not tell


def make_sample(options: Config, shape: Sequence[int]) -> Callable[[Example], Example]:
    """Build the function that samples the frames of a video, evenly spaced in time.

    A video file gives `task.frames_per_second`, an array all its frames. The number of
    frames in `shape` is the upper limit.

    Args:
        options: `config.task`.
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
        if isinstance(clip, video.File):
            frame_edges = video_times.edges(clip)
            seconds = frame_edges[-1] - frame_edges[0]
            wanted = max(round(seconds * options.frames_per_second), _FEWEST)
        else:
            wanted = video.count(clip)
            frame_edges = np.arange(wanted + 1) / _RATE_OF_ARRAYS
        count = min(wanted, len(frame_edges) - 1, most)
        # Parts of equal time, each with the frame that is shown in its middle.
        edges = np.linspace(frame_edges[0], frame_edges[-1], count + 1)
        rows = video_times.at(frame_edges, (edges[:-1] + edges[1:]) / 2)
        pixels = video.read(clip, rows, height, channels, resize)
        frames, mask = video.padded(pixels, most)
        sampled = {
            'video': frames,
            'video_mask': mask.astype(np.uint8),
            'spans': _padded(np.stack([edges[:-1], edges[1:]], 1), most),
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
