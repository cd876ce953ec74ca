"""The times of a video's frames, by their timestamps: phones and screens record no fixed rate."""

import functools
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxvision.data import video_file

# [n + 1] seconds: frame i is shown from edges[i] to edges[i + 1].
Edges = Float[np.ndarray, 'm']

_SAME = 1e-6  # seconds between times that are computed differently
# The start or end of a cut moves to the edge of a frame that is this near, so that no frame
# flashes by. It is half a frame of the slowest videos.
_NEAR = 0.051  # seconds
_MOST_TIMES = 2**20  # of one video that are evenly spaced


def edges(video: video_file.File) -> Edges:
    """When each frame appears, and when the last one disappears.

    The file is decoded for it. The results for the last 64 paths are cached in memory
    until the files change.

    Args:
        video: a file's path or its bytes.

    Returns:
        [n + 1] seconds in ascending order, for n frames. 0 is the start of the file, as
        players show it; sound may start before the first frame.

    Raises:
        Unreadable: The file is damaged, cut off, no video, or has no frames.
    """
    if isinstance(video, bytes):
        return _edges(video)
    with video_file.as_unreadable():
        status = os.stat(video)
    return _edges_once(os.fspath(video), status.st_size, status.st_mtime_ns).copy()


def at(edges: Edges, seconds: Float[np.ndarray, 'k']) -> Int[np.ndarray, 'k']:
    """The numbers of the frames that are shown at some times.

    Args:
        edges: the times at which frames begin, and the end of the last one, as `edges`
            gives.
        seconds: the times. One before or after the video means its first or last frame.
            One on an edge means the frame that begins there.
    """
    # A time that is computed to lie on an edge belongs to the frame that begins there.
    rounding = 2 * np.spacing(np.abs(seconds).max(initial=0))
    later = seconds + max(_SAME, float(rounding))
    rows = np.searchsorted(edges, later, side='right') - 1
    return np.clip(rows, 0, len(edges) - 2)


def evenly(edges: Edges) -> Int[np.ndarray, 'k']:
    """The numbers of the frames that are shown at evenly spaced times.

    Args:
        edges: the times at which frames begin, and the end of the last one, as `edges`
            gives.

    Returns:
        All numbers in order, if each frame appears within half an interval of its even time.
        Otherwise the interval is the median one: frames that last longer come several
        times, and some that last shorter are passed over. These are at most 2^20.
    """
    starts = edges[:-1]
    numbers = np.arange(len(starts))
    if len(starts) < 3:
        return numbers
    interval = (starts[-1] - starts[0]) / (len(starts) - 1)
    even_starts = starts[0] + numbers * interval
    gap_to_even = np.abs(starts - even_starts).max()
    if gap_to_even <= interval / 2:
        return numbers
    gaps = np.diff(starts)
    duration = edges[-1] - edges[0]
    commonest = float(np.median(gaps[gaps > 0]))
    usual = max(commonest, duration / _MOST_TIMES)
    times = max(round(duration / usual), 1)
    middles = (np.arange(times) + 0.5) * usual
    return at(edges, edges[0] + middles)


def cut(edges: Edges, kept: Sequence[Sequence[float]]) -> tuple[list[int], list[float]]:
    """Keep stretches of time of a video, and drop the rest.

    A start or end moves to the edge of a frame within 0.051 seconds, if there is one.
    If both would move to one edge, neither does.

    Args:
        edges: the times at which frames begin, and the end of the last one, as `edges`
            gives.
        kept: the stretches, (start, end) in seconds. They do not overlap.

    Returns:
        (the numbers of the frames that are shown in the stretches, in ascending order;
        for how many seconds in all each of them is shown).
    """
    seconds = np.zeros(len(edges) - 1)
    for start, end in kept:
        first = _near_edge(edges, start)
        last = _near_edge(edges, end)
        if last - first <= _SAME:
            first = start
            last = end
        appears = np.maximum(edges[:-1], first)
        disappears = np.minimum(edges[1:], last)
        seconds += np.maximum(disappears - appears, 0)
    rows = np.flatnonzero(seconds > _SAME)
    return rows.tolist(), seconds[rows].tolist()


def _near_edge(edges: Edges, seconds: float) -> float:
    """The nearest edge of a frame, if it is near."""
    distances = np.abs(edges - seconds)
    nearest = edges[distances.argmin()]
    if abs(nearest - seconds) <= _NEAR:
        return float(nearest)
    return seconds


@functools.lru_cache(maxsize=64)
def _edges_once(path: str, size: int, changed: int) -> Edges:
    return _edges(path)


def _edges(video: video_file.File) -> Edges:
    starts = []
    with video_file.opened(video) as (container, stream):
        for frame in video_file.frames(container, stream):
            start = np.nan if frame.pts is None else frame.pts
            starts.append(start)
            unit = float(frame.time_base or stream.time_base)
            duration = frame.duration or 0
            last = duration * unit
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        origin = (container.start_time or 0) / 1e6
    return _repaired(np.array(starts) * unit - origin, last, 1 / rate)


def _repaired(starts: Float[np.ndarray, 'n'], last: float, usual: float) -> Edges:
    """Make edges of the times at which frames appear.

    Args:
        starts: NaN where the file does not tell.
        last: how long the last frame is shown, seconds; 0 where the file does not tell.
        usual: the seconds between frames if the timestamps do not tell.
    """
    is_known = np.isfinite(starts)
    numbers = np.arange(len(starts))
    if not is_known.any():
        starts = numbers * usual
    elif not is_known.all():
        starts = np.interp(numbers, numbers[is_known], starts[is_known])
    gaps = np.diff(starts)
    positive_gaps = gaps[gaps > 0]
    if positive_gaps.size:
        usual = float(np.median(positive_gaps))
    # Parts that were joined may each begin at 0.
    gaps = np.where(gaps < 0, usual, gaps)
    ends = np.cumsum([*gaps, last or usual])
    return starts[0] + np.concatenate([[0], ends])
