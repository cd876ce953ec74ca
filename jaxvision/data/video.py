"""Video files to uint8 frames on the host, with PyAV: upright, RGB, only the frames needed."""

import contextlib
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxvision.core.files import atomic_path
from jaxvision.data import decode, files
from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    import av

File = bytes | str | os.PathLike
Frames = UInt8[np.ndarray, 't h w c']
Video = File | Sequence[bytes] | Frames  # also encoded frames, or pixels
Resize = Callable[[decode.Encoded, int, int], decode.Pixels]  # as decode.squash

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

# Containers that hold their own frames. With others, FFmpeg follows playlists to wherever they
# lead, draws text, and takes any photograph for a video of one frame.
_FORMATS = 'mov,mp4,matroska,webm,avi,gif,mpeg,mpegts,asf,flv,ogg'


def read(
    video: Video,
    frames: Sequence[int] | Int[np.ndarray, 'n'] | None = None,
    size: int | None = None,
    channels: int = 3,
    resize: Resize = decode.squash,
) -> UInt8[np.ndarray, 'n height width {channels}']:
    """Read frames of a video, upright. Each is resized before the next one is decoded.

    A file is decoded from its start to the last frame that is needed.

    Args:
        video: a file's path, its bytes, a list of encoded frames, or an array.
        frames: the numbers of the frames, from 0, in any order. None is all frames.
        size: side of the squares to resize them to, in pixels. None keeps their size.
        channels: 1 (luma) or 3 (RGB).
        resize: `decode.squash` or `decode.resize_center_crop`.

    Returns:
        The frames, in the order of `frames`.

    Raises:
        Unreadable: The file is damaged, cut off, no video, or ends before one of the frames. A
            file of MKV, WebM, GIF or WMV that is cut off cannot be told from a shorter one.
    """
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
    resize: Resize = decode.squash,
) -> tuple[
    UInt8[np.ndarray, '{frames} {size} {size} {channels}'], Bool[np.ndarray, '{frames}']
]:
    """Read a clip of fixed shape from a video of any length.

    Args:
        video: as for `read`.
        frames: the length of the clip.
        stride: the distance of its frames in the video.
        size: side of its squares in pixels.
        channels: 1 (luma) or 3 (RGB).
        rng: draws the start of the clip. None takes the middle of the video.
        resize: as for `read`.

    Returns:
        The clip, black after the end of a short video, and which of its frames are real.

    Raises:
        Unreadable: As for `read`.
    """
    rows = clip_rows(count(video), frames, stride, rng)
    return padded(read(video, rows, size, channels, resize), frames)


def stream(
    video: Video, frames: Sequence[int] | Int[np.ndarray, 'n'] | None = None
) -> Iterator[UInt8[np.ndarray, 'h w 3']]:
    """Yield frames in the video's order, never more than one in memory.

    Args:
        video: as for `read`.
        frames: as for `read`. Numbers after the end of the video are left out.

    Raises:
        Unreadable: As for `read`, when the damaged frame is reached.
    """
    for _, frame in _encoded_frames(video, frames):
        yield decode.decode(frame, 3)


def count(video: Video) -> int:
    """Count the frames that can be read.

    A file is decoded for it, because headers and packets are not always right. The count is
    kept while the process lives.

    Raises:
        Unreadable: As for `read`.
    """
    if isinstance(video, bytes):
        return _count(video)
    if not isinstance(video, str | os.PathLike):
        return _length(video)
    with _as_unreadable():
        status = os.stat(video)
    return _count_once(os.fspath(video), status.st_size, status.st_mtime_ns)


def rate(video: File) -> float:
    """The average frames a second, 25 if the file does not tell.

    Raises:
        Unreadable: As for `read`.
    """
    with _opened(video) as (_, stream):
        return float(stream.average_rate or stream.guessed_rate or 25)


def clip_rows(
    total: int, frames: int, stride: int = 1, rng: np.random.Generator | None = None
) -> Int[np.ndarray, 'n']:
    """The numbers of the frames that make a clip.

    Args:
        total: the length of the video.
        frames: the length of the clip.
        stride: the distance of its frames in the video.
        rng: draws the first frame. None takes the clip from the middle.

    Returns:
        The numbers in ascending order: fewer than `frames` if the video is shorter. `padded`
        then fills the clip up.
    """
    spare = max(total - (frames - 1) * stride - 1, 0)
    start = spare // 2 if rng is None else int(rng.integers(spare, endpoint=True))
    return np.arange(start, total, stride)[:frames]


def padded(
    clip: Frames, frames: int
) -> tuple[UInt8[np.ndarray, '{frames} h w c'], Bool[np.ndarray, '{frames}']]:
    """Add black frames behind a clip, up to `frames`.

    Returns:
        The longer clip, and which of its frames are real.
    """
    missing = frames - len(clip)
    longer = np.pad(clip, ((0, missing), (0, 0), (0, 0), (0, 0)))
    return longer, np.arange(frames) < len(clip)


def write_clip(
    path: str | os.PathLike, frames: Iterable[UInt8[np.ndarray, '_ _ 3']], rate: float
) -> Path:
    """Write an MP4 (H.264) that browsers and phones play, or a GIF, atomically.

    If FFmpeg has no encoder for H.264, a GIF beside `path` takes the place of an MP4.

    Args:
        path: NAME.mp4 or NAME.gif.
        frames: one or more of one size, such as those of `stream`. An odd side of an MP4 is made
            even by repeating its last line.
        rate: frames a second.

    Returns:
        The path of the file that was written.
    """
    import av

    path = Path(path)
    if 'libx264' not in av.codecs_available:
        path = path.with_suffix('.gif')
    write = _write_gif if path.suffix == '.gif' else _write_mp4
    with atomic_path(path, durable=False) as partial:
        write(partial, iter(frames), rate)
    return path


def _encoded_frames(video: Video, frames) -> Iterator[tuple[int, decode.Encoded]]:
    """(number, frame) of the frames that are needed, in the video's order."""
    numbers = None if frames is None else {int(number) for number in frames}
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
    last = None if numbers is None else max(numbers, default=-1)
    with _opened(video) as (container, stream):
        for number, frame in enumerate(_frames(container, stream)):
            if numbers is None or number in numbers:
                yield number, _upright(frame)
            if number == last:
                return


@functools.lru_cache(maxsize=2**16)
def _count_once(path: str, size: int, changed: int) -> int:
    return _count(path)


def _count(video: File) -> int:
    with _opened(video) as (container, stream):
        return sum(1 for _ in _frames(container, stream))


@contextlib.contextmanager
def _opened(video: File) -> Iterator[tuple]:
    """Open a file: its container and its first video stream."""
    import av
    from PIL import Image

    settings = {'options': {'format_whitelist': _FORMATS}}
    if int(av.__version__.partition('.')[0]) < 19:
        # For titles whose bytes are no text. Later versions of PyAV read any title.
        settings['metadata_errors'] = 'replace'
    with _as_unreadable(), _file(video) as file, av.open(file, **settings) as container:
        if not container.streams.video:
            raise Unreadable('it has no pictures, only sound')
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise Unreadable(
                'its pictures are encoded in a way that FFmpeg does not know'
            )
        # The pipeline's own threads run in parallel.
        stream.thread_count = 1
        # Otherwise FFmpeg makes up a damaged frame from its neighbours.
        stream.codec_context.options = {
            'err_detect': 'explode',
            'max_pixels': str(Image.MAX_IMAGE_PIXELS),
        }
        yield container, stream


def _file(video: File) -> io.BufferedIOBase:
    if isinstance(video, bytes):
        return io.BytesIO(video)
    files.size(video)
    return open(video, 'rb')


def _frames(container, stream) -> 'Iterator[av.VideoFrame]':
    has_frames = False
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Unreadable('it is cut off')
        for frame in packet.decode():
            has_frames = True
            yield frame
    if not has_frames:
        raise Unreadable('it has no frames')


@contextlib.contextmanager
def _as_unreadable() -> Iterator[None]:
    import av

    try:
        yield
    except av.InvalidDataError as error:
        raise Unreadable('damaged, cut off, or no video that FFmpeg knows') from error
    except av.ArgumentError as error:
        raise Unreadable('no video file, or one of sizes that cannot be') from error
    except (av.FFmpegError, OSError) as error:
        raise Unreadable(error.strerror or str(error)) from error


def _upright(frame: 'av.VideoFrame') -> UInt8[np.ndarray, 'h w 3']:
    """The frame as it is meant to be shown. A telephone stores upright videos on their side."""
    pixels = frame.to_ndarray(format='rgb24')
    quarter_turns = round(frame.rotation / 90)  # anticlockwise
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def _write_mp4(path: Path, frames: Iterator[decode.Pixels], rate: float) -> None:
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
        for frame in itertools.chain([first], frames):
            pixels = np.pad(frame, missing, 'edge')
            encoded = stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24'))
            container.mux(encoded)
        container.mux(stream.encode())


def _write_gif(path: Path, frames: Iterator[decode.Pixels], rate: float) -> None:
    from PIL import Image

    pictures = map(Image.fromarray, frames)
    next(pictures).save(
        path,
        format='GIF',
        save_all=True,
        append_images=pictures,
        duration=round(1000 / rate),
        loop=0,
    )
