"""Video files to uint8 frames on the host, with PyAV: upright, RGB, only those that are wanted."""

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
Video = (
    File | Sequence[bytes] | Frames
)  # a file or its bytes, encoded pictures, or pixels
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

# Containers that hold their own pictures. Of the others FFmpeg follows playlists to wherever they
# lead, draws text, and takes any photograph for a film of one frame.
_FORMATS = 'mov,mp4,matroska,webm,avi,gif,mpeg,mpegts,asf,flv,ogg'


def read(
    video: Video,
    frames: Sequence[int] | Int[np.ndarray, 'n'] | None = None,
    size: int | None = None,
    channels: int = 3,
    resize: Resize = decode.squash,
) -> UInt8[np.ndarray, 'n height width {channels}']:
    """Frames of a video, upright; each is resized before the next is decoded.

    A file is decoded from its start to the last frame that is wanted.

    Args:
        video: a file's path, its bytes, a list of encoded pictures, or an array.
        frames: their numbers, from 0, in any order; None is all.
        size: side of the squares to make of them, pixels; None leaves them as they are.
        channels: 1 (luma) or 3 (RGB).
        resize: how; `decode.squash` or `decode.resize_center_crop`.
    Raises:
        Unreadable: damaged, cut off, no video, or shorter than the frames asked for. MKV, WebM, GIF
            and WMV do not tell that they are cut off: they end there.
    """
    kept = {
        number: decode.decode(frame, channels)
        if size is None
        else resize(frame, size, channels)
        for number, frame in _pictures(video, frames)
    }
    if len({frame.shape for frame in kept.values()}) > 1:
        raise Unreadable('its frames are of several sizes')
    try:
        return np.stack(
            [kept[int(number)] for number in (kept if frames is None else frames)]
        )
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
    """A clip of fixed shape of any video, and which of its frames are the video's own.

    Each `stride`-th frame from a random one on, or from the middle of the video where `rng` is
    None; black after the end of a video that is too short.

    Raises:
        Unreadable: as `read`.
    """
    rows = clip_rows(count(video), frames, stride, rng)
    return padded(read(video, rows, size, channels, resize), frames)


def stream(
    video: Video, frames: Sequence[int] | Int[np.ndarray, 'n'] | None = None
) -> Iterator[UInt8[np.ndarray, 'h w 3']]:
    """Those of the frames that there are, in the video's order, never more than one in memory.

    Raises:
        Unreadable: as `read`, when it comes to it.
    """
    for _, frame in _pictures(video, frames):
        yield decode.decode(frame, 3)


def count(video: Video) -> int:
    """How many frames can be read. A file is decoded once for it, since what headers and packets
    say of it is not always so; the answer is kept while the process lives.

    Raises:
        Unreadable: as `read`.
    """
    if isinstance(video, bytes):
        return _count(video)
    if not isinstance(video, str | os.PathLike):
        return _length(video)
    with _as_unreadable():
        status = os.stat(video)
    return _count_once(os.fspath(video), status.st_size, status.st_mtime_ns)


def rate(video: File) -> float:
    """Frames a second, on average; 25 where the file does not tell.

    Raises:
        Unreadable: as `read`.
    """
    with _opened(video) as (_, stream):
        return float(stream.average_rate or stream.guessed_rate or 25)


def clip_rows(
    total: int, frames: int, stride: int = 1, rng: np.random.Generator | None = None
) -> Int[np.ndarray, 'n']:
    """Which frames of a video of `total` make a clip: `frames` of them, each `stride`-th.

    Fewer, from the start, where the video is shorter than that; `padded` fills them up.

    Args:
        rng: draws the first one; None takes the clip from the middle.
    """
    spare = max(total - (frames - 1) * stride - 1, 0)
    start = spare // 2 if rng is None else int(rng.integers(spare, endpoint=True))
    return np.arange(start, total, stride)[:frames]


def padded(
    clip: Frames, frames: int
) -> tuple[UInt8[np.ndarray, '{frames} h w c'], Bool[np.ndarray, '{frames}']]:
    """A clip with black frames after its end, `frames` in all, and which of them are its own."""
    missing = frames - len(clip)
    return (
        np.pad(clip, ((0, missing), (0, 0), (0, 0), (0, 0))),
        np.arange(frames) < len(clip),
    )


def write_clip(
    path: str | os.PathLike, frames: Iterable[UInt8[np.ndarray, '_ _ 3']], rate: float
) -> Path:
    """Writes an MP4 (H.264) that browsers and phones play, or a GIF, whole or not at all.

    Without an encoder for it in FFmpeg a GIF is written beside it instead.

    Args:
        path: NAME.mp4 or NAME.gif.
        frames: one or more of one size, such as `stream` gives; an odd side of an MP4 is made even
            by repeating its last line.
        rate: frames a second.
    Returns:
        The path of what was written.
    """
    import av

    path = Path(path)
    if 'libx264' not in av.codecs_available:
        path = path.with_suffix('.gif')
    write = _write_gif if path.suffix == '.gif' else _write_mp4
    with atomic_path(path, durable=False) as partial:
        write(partial, iter(frames), rate)
    return path


def _pictures(video: Video, frames) -> Iterator[tuple[int, decode.Encoded]]:
    """The wanted frames with their numbers, as they come."""
    if isinstance(video, File):
        yield from _decoded(video, frames)
        return
    length = _length(video)
    for number in (
        range(length) if frames is None else sorted({int(number) for number in frames})
    ):
        if 0 <= number < length:
            yield number, video[number]


def _length(pictures: Sequence[bytes] | Frames) -> int:
    if not len(pictures):
        raise Unreadable('it has no frames')
    return len(pictures)


def _decoded(video: File, frames) -> Iterator[tuple[int, decode.Pixels]]:
    wanted = None if frames is None else {int(number) for number in frames}
    last = None if wanted is None else max(wanted, default=-1)
    with _opened(video) as (container, stream):
        for number, frame in enumerate(_frames(container, stream)):
            if wanted is None or number in wanted:
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
    """The container and its first video stream."""
    import av
    from PIL import Image

    # Titles of bytes that are no text; from 19 on PyAV reads any, and has no such argument.
    any_text = (
        {'metadata_errors': 'replace'}
        if int(av.__version__.partition('.')[0]) < 19
        else {}
    )
    with _as_unreadable():
        if not isinstance(video, bytes):
            files.size(video)
        with (
            (
                io.BytesIO(video) if isinstance(video, bytes) else open(video, 'rb')
            ) as file,
            av.open(
                file, options={'format_whitelist': _FORMATS}, **any_text
            ) as container,
        ):
            if not container.streams.video:
                raise Unreadable('it has no pictures, only sound')
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise Unreadable(
                    'its pictures are encoded in a way that FFmpeg does not know'
                )
            # The pipeline's own threads are what runs in parallel.
            stream.thread_count = 1
            # Or a damaged frame is made up from its neighbours.
            stream.codec_context.options = {
                'err_detect': 'explode',
                'max_pixels': str(Image.MAX_IMAGE_PIXELS),
            }
            yield container, stream


def _frames(container, stream) -> 'Iterator[av.VideoFrame]':
    found = False
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Unreadable('it is cut off')
        for frame in packet.decode():
            found = True
            yield frame
    if not found:
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
    """As it is meant to be shown: a telephone held upright films lying on its side."""
    pixels = frame.to_ndarray(format='rgb24')
    # Of the display matrix, in degrees against the clock.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _write_mp4(path: Path, frames: Iterator[decode.Pixels], rate: float) -> None:
    import av

    first = next(frames)
    height, width, _ = first.shape
    # Half of the colour's resolution is kept in each direction, so sides have to be even.
    missing = ((0, height % 2), (0, width % 2), (0, 0))
    with av.open(
        str(path), 'w', format='mp4', options={'movflags': 'faststart'}
    ) as container:
        stream = container.add_stream(
            'libx264',
            rate=Fraction(rate).limit_denominator(1001),
            options={'crf': '18'},
        )
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = 'yuv420p'
        for frame in itertools.chain([first], frames):
            even = np.pad(frame, missing, 'edge')
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(even, format='rgb24'))
            )
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
