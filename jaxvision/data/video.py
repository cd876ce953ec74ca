"""Video files to uint8 frames on the host, with PyAV: upright, RGB, only the frames needed."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_path
from jaxvision.data import decode, video_file, video_times
from jaxvision.data.protocol import Unreadable
from jaxvision.data.video_file import File

# Numbers of frames of a video.
FrameNumbers = Int[np.ndarray, 'n']

Frames = UInt8[np.ndarray, 't h w c']
Video = File | Sequence[bytes] | Frames  # also encoded frames, or pixels
Resize = Callable[[decode.Encoded, int, int], decode.Pixels]  # as decode.stretch

SUFFIXES = frozenset(
    (
        '.mp4',
        '.m4v',
        '.mov',
        '.3gp',
        '.avi',
        '.mkv',
        '.webm',
        '.gif',
        '.mpg',
        '.mpeg',
        '.wmv',
        '.flv',
        '.ogv',
    )
)

_MP4_TICKS = 90_000  # in a second
_GIF_TICKS = 100


def read(
    video: Video,
    frames: Sequence[int] | FrameNumbers | None = None,
    size: int | None = None,
    channels: int = 3,
    resize: Resize = decode.stretch,
) -> UInt8[np.ndarray, 'n height width {channels}']:
    """Read frames of a video, upright. Each is resized before the next one is decoded.

    A file is decoded from its start to the last frame that is needed.

    Args:
        video: a file's path, its bytes, a list of encoded frames, or an array.
        frames: the numbers of one or more frames, from 0, in any order and as often as
            wanted. None is all frames.
        size: side of the squares to resize them to, in pixels. None keeps their size.
        channels: 1 (luma) or 3 (RGB).
        resize: `decode.stretch` or `decode.resize_center_crop`.

    Returns:
        The frames, in the order of `frames`.

    Raises:
        Unreadable: The file is damaged, cut off, no video, ends before one of the
            frames, or has frames of several sizes. A file of MKV, WebM, GIF or WMV that
            is cut off looks like a shorter one.
        UserError: `frames` is empty.
    """
    if frames is not None and not len(frames):
        raise UserError(
            'frames=[]: expected the number of at least one frame. Leave it out for all '
            'frames.'
        )
    decoded = {}
    for number, frame in _encoded_frames(video, frames):
        if size is None:
            decoded[number] = decode.decode(frame, channels)
        else:
            decoded[number] = resize(frame, size, channels)
    if len({frame.shape for frame in decoded.values()}) > 1:
        raise Unreadable('its frames are of several sizes')
    numbers = decoded if frames is None else frames
    try:
        return np.stack([decoded[int(number)] for number in numbers])
    except KeyError as error:
        raise Unreadable(f'it ends before frame {error}') from error


def clip(
    video: Video,
    frames: int,
    stride: int,
    size: int,
    channels: int,
    rng: np.random.Generator | None = None,
    resize: Resize = decode.stretch,
) -> tuple[
    UInt8[np.ndarray, '{frames} {size} {size} {channels}'], Bool[np.ndarray, '{frames}']
]:
    """Read a clip of fixed shape from a video of any length.

    Args:
        video: a file's path, its bytes, a list of encoded frames, or an array.
        frames: the length of the clip.
        stride: the distance of its frames among the evenly timed frames of `even_rows`.
        size: side of its squares in pixels.
        channels: 1 (luma) or 3 (RGB).
        rng: draws the start of the clip. None takes the middle of the video.
        resize: makes squares of frames: `decode.stretch` or
            `decode.resize_center_crop`.

    Returns:
        (the clip, black after the end of a short video; True for each frame that is
        real).

    Raises:
        Unreadable: The video is damaged, cut off, no video, or has no frames.
    """
    rows = even_rows(video)
    chosen = rows[clip_rows(len(rows), frames, stride, rng)]
    return padded(read(video, chosen, size, channels, resize), frames)


def stream(
    video: Video, frames: Sequence[int] | FrameNumbers | None = None
) -> Iterator[UInt8[np.ndarray, 'h w 3']]:
    """Yield RGB frames upright, in the video's order, each once and one at a time.

    Args:
        video: a file's path, its bytes, a list of encoded frames, or an array.
        frames: the numbers of the frames, from 0, in any order; None: all frames.
            Numbers after the end of the video are left out.

    Raises:
        Unreadable: The file is damaged, cut off, or no video. It is raised when the
            damaged frame is reached.
    """
    for _, frame in _encoded_frames(video, frames):
        yield decode.decode(frame, 3)


def count(video: Video) -> int:
    """Count the frames that can be read.

    A file is decoded for it, because headers and packets are not always right. The
    count for a path is cached in memory until the file changes.

    Raises:
        Unreadable: The video is damaged, cut off, no video, or has no frames.
    """
    if isinstance(video, bytes):
        return _count(video)
    if not isinstance(video, str | os.PathLike):
        return _length(video)
    with video_file.as_unreadable():
        status = os.stat(video)
    return _count_once(os.fspath(video), status.st_size, status.st_mtime_ns)


def even_rows(video: Video) -> FrameNumbers:
    """The numbers of the frames that are shown at evenly spaced times.

    These are all frames in order, unless a file stores them at a variable rate. Then
    frames that last long come several times, and some that last shorter are passed
    over. The numbers for a path are cached in memory until the file changes.

    Raises:
        Unreadable: The video is damaged, cut off, no video, or has no frames.
    """
    if not isinstance(video, File):
        return np.arange(_length(video))
    if isinstance(video, bytes):
        return video_times.evenly(video_times.edges(video))
    with video_file.as_unreadable():
        status = os.stat(video)
    rows = _even_rows_once(os.fspath(video), status.st_size, status.st_mtime_ns)
    if isinstance(rows, int):
        return np.arange(rows)
    return rows.copy()


def rate(video: File) -> float:
    """The frames a second, on average by their timestamps. The whole file is decoded.

    Raises:
        Unreadable: The file is damaged, cut off, no video, or has no frames.
    """
    edges = video_times.edges(video)
    frames = len(edges) - 1
    seconds = edges[-1] - edges[0]
    return float(frames / seconds)


def clip_rows(
    total: int, frames: int, stride: int = 1, rng: np.random.Generator | None = None
) -> FrameNumbers:
    """The numbers of the frames that make a clip.

    Args:
        total: the length of the video.
        frames: the length of the clip.
        stride: the distance of its frames in the video.
        rng: draws the first frame. None takes the clip from the middle.

    Returns:
        The numbers in ascending order. A video too short for `frames` of this stride
        gives fewer, from its start and with this stride. `padded` then adds the rest.
    """
    spare = max(total - (frames - 1) * stride - 1, 0)
    start = spare // 2
    if rng is not None:
        start = int(rng.integers(spare, endpoint=True))
    return np.arange(start, total, stride)[:frames]


def padded(
    clip: Frames, frames: int
) -> tuple[UInt8[np.ndarray, '{frames} h w c'], Bool[np.ndarray, '{frames}']]:
    """Add black frames behind a clip, so that it has `frames` frames.

    It must not be longer: numpy raises `ValueError` then.

    Returns:
        (the longer clip, True for each frame that is real).
    """
    missing = frames - len(clip)
    longer = np.pad(clip, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return longer, np.arange(frames) < len(clip)


def write_clip(
    path: str | os.PathLike,
    frames: Iterable[UInt8[np.ndarray, '_ _ 3']],
    rate: float,
    durations: Sequence[float] | None = None,
) -> Path:
    """Write an MP4 (H.264) that browsers and phones play, or a GIF, atomically.

    If FFmpeg has no encoder for H.264, a GIF beside `path` takes the place of an MP4.

    Args:
        path: NAME.mp4 or NAME.gif. A file that is there is replaced; the folder has to
            exist.
        frames: one or more RGB frames of one size, which are consumed. An odd side of
            an MP4 is made even by repeating its last line.
        rate: frames a second, on average if they have durations.
        durations: the seconds for which each frame is shown, in a GIF rounded to
            hundredths, at least one. None: all are shown equally long.

    Returns:
        The path of the file that was written.
    """
    import av

    path = Path(path)
    if 'libx264' not in av.codecs_available:
        path = path.with_suffix('.gif')
    write = _write_gif if path.suffix == '.gif' else _write_mp4
    with atomic_path(path, durable=False) as partial:
        write(partial, iter(frames), rate, durations)
    return path


def _encoded_frames(video: Video, frames) -> Iterator[tuple[int, decode.Encoded]]:
    """(number, frame) of the frames that are needed, in the video's order."""
    numbers = None
    if frames is not None:
        numbers = {int(number) for number in frames}
    if isinstance(video, File):
        yield from _frames_of_file(video, numbers)
        return
    length = _length(video)
    if numbers is None:
        numbers = range(length)
    for number in sorted(numbers):
        if 0 <= number < length:
            yield number, video[number]


def _length(frames: Sequence[bytes] | Frames) -> int:
    if not len(frames):
        raise Unreadable('it has no frames')
    return len(frames)


def _frames_of_file(
    video: File, numbers: set[int] | None
) -> Iterator[tuple[int, decode.Pixels]]:
    last = None
    if numbers is not None:
        last = max(numbers, default=-1)
    with video_file.opened(video) as (container, stream):
        for number, frame in enumerate(video_file.frames(container, stream)):
            if numbers is None or number in numbers:
                yield number, video_file.upright(frame)
            if number == last:
                return


@functools.lru_cache(maxsize=2**16)
def _count_once(path: str, size: int, changed: int) -> int:
    return _count(path)


@functools.lru_cache(maxsize=2**16)
def _even_rows_once(path: str, size: int, changed: int) -> int | FrameNumbers:
    """The rows, or their number if these are all frames."""
    edges = video_times.edges(path)
    rows = video_times.evenly(edges)
    if np.array_equal(rows, np.arange(len(edges) - 1)):
        return len(rows)
    return rows.astype(np.int32)


def _count(video: File) -> int:
    with video_file.opened(video) as (container, stream):
        return sum(1 for _ in video_file.frames(container, stream))


def _write_mp4(
    path: Path,
    frames: Iterator[decode.Pixels],
    rate: float,
    durations: Sequence[float] | None,
) -> None:
    import av

    first = next(frames)
    height, width, _ = first.shape
    # Colours are stored at half the resolution, so both sides have to be even.
    missing = ((0, height % 2), (0, width % 2), (0, 0))
    settings = {'movflags': 'faststart'}
    with av.open(str(path), 'w', format='mp4', options=settings) as container:
        stream = container.add_stream(
            'libx264',
            rate=Fraction(rate).limit_denominator(1001),
            options={'crf': '18'},
        )
        stream.height = height + height % 2
        stream.width = width + width % 2
        stream.pix_fmt = 'yuv420p'
        times = None
        if durations is not None:
            times = _ticks(durations, _MP4_TICKS)
            stream.codec_context.time_base = Fraction(1, _MP4_TICKS)
            # The file then tells how long the last frame is shown.
            stream.codec_context.max_b_frames = 0
        shown = {}
        for number, pixels in enumerate(itertools.chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(
                np.pad(pixels, missing, 'edge'), format='rgb24'
            )
            if times is not None:
                frame.pts = int(times[number])
                frame.time_base = Fraction(1, _MP4_TICKS)
                shown[frame.pts] = int(times[number + 1]) - frame.pts
            container.mux(_lasting(stream.encode(frame), shown))
        container.mux(_lasting(stream.encode(), shown))


def _lasting(packets: 'list[av.Packet]', shown: dict[int, int]) -> 'list[av.Packet]':
    """The same packets, each with the duration of its frame where it is known."""
    for packet in packets:
        packet.duration = shown.get(packet.pts, packet.duration)
    return packets


def _write_gif(
    path: Path,
    frames: Iterator[decode.Pixels],
    rate: float,
    durations: Sequence[float] | None,
) -> None:
    from PIL import Image

    duration = round(1000 / rate)
    if durations is not None:
        duration = (10 * np.diff(_ticks(durations, _GIF_TICKS))).tolist()
    pictures = map(Image.fromarray, frames)
    next(pictures).save(
        path,
        format='GIF',
        save_all=True,
        append_images=pictures,
        duration=duration,
        loop=0,
    )


def _ticks(durations: Sequence[float], ticks: int) -> Int[np.ndarray, 'm']:
    """The edges of frames in ticks, rounded so that no error grows.

    Args:
        durations: of the frames, seconds.
        ticks: in a second.
    """
    seconds = np.cumsum([0, *durations])
    edges = np.round(seconds * ticks).astype(int)
    # Two frames at one time would be a damaged file.
    numbers = np.arange(len(edges))
    return np.maximum.accumulate(edges - numbers) + numbers
