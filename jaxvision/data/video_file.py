"""One video file: opened with PyAV, its frames decoded in order and turned upright."""

import contextlib
import io
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from jaxvision.data import files, resizing
from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

File = bytes | str | os.PathLike

# Containers that hold their own frames. With others, FFmpeg follows playlists to wherever they
# lead, draws text, and takes any photograph for a video of one frame.
_FORMATS = 'mov,mp4,matroska,webm,avi,gif,mpeg,mpegts,asf,flv,ogg'


@contextlib.contextmanager
def opened(video: File) -> 'Iterator[tuple[InputContainer, VideoStream]]':
    """Open a video file in a `with` block.

    Args:
        video: a file's path or its bytes.

    Yields:
        (the container, its first video stream).

    Raises:
        Unreadable: The file cannot be read, or holds no video that FFmpeg knows. Errors
            of FFmpeg and of the file system inside the block become `Unreadable` too.
    """
    import av
    from PIL import Image

    settings = {'options': {'format_whitelist': _FORMATS}}
    if int(av.__version__.partition('.')[0]) < 19:
        # For titles whose bytes are no text. Later versions of PyAV read any title.
        settings['metadata_errors'] = 'replace'
    with as_unreadable(), _file(video) as file, av.open(file, **settings) as container:
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


def frames(
    container: 'InputContainer', stream: 'VideoStream'
) -> 'Iterator[av.VideoFrame]':
    """Decode the frames in the order in which they are shown.

    Args:
        container: as `opened` yields it, not read before.
        stream: as `opened` yields it.

    Raises:
        Unreadable: The file is cut off or has no frames. Another fault of the file
            raises an error of FFmpeg, which `opened` converts.
    """
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
def as_unreadable() -> Iterator[None]:
    """Raise errors of FFmpeg and the file system in a `with` block as `Unreadable`."""
    import av

    try:
        yield
    except av.InvalidDataError as error:
        raise Unreadable('damaged, cut off, or no video that FFmpeg knows') from error
    except av.ArgumentError as error:
        raise Unreadable(
            'no video file, or one with impossible sizes of frames'
        ) from error
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise Unreadable(f'FFmpeg or the file system reports: {reason}') from error


def upright(frame: 'av.VideoFrame') -> UInt8[np.ndarray, 'h w 3']:
    """The RGB pixels of a frame as it is meant to be shown.

    A phone stores upright videos on their side. Its front camera may store them mirrored.
    """
    pixels = frame.to_ndarray(format='rgb24')
    matrix = frame.side_data.get('DISPLAYMATRIX')
    if matrix is None:
        return pixels
    return displayed(pixels, np.frombuffer(bytes(matrix), np.int32))


def displayed(
    pixels: UInt8[np.ndarray, 'h w c'], matrix: Int[np.ndarray, '9']
) -> UInt8[np.ndarray, 'h2 w2 c']:
    """Apply a display matrix as the autorotate option of FFmpeg does.

    Quarter turns and reflections are exact. An angle within a degree of one becomes it.
    Any other angle turns the frame about its centre within the same size, with black
    corners. Scales and shifts have no effect.

    Args:
        pixels: as they are stored.
        matrix: a, b, u, c, d, v, x, y, w of ISO 14496-12: a point (p, q) of the stored
            frame, q downwards, is shown at (a p + c q + x, b p + d q + y) / w.

    Returns:
        The pixels as they are shown; `pixels` if the matrix maps the frame to a line.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    if not (a or c) or not (b or d):  # It maps the frame to a line.
        return pixels
    sine = b / math.hypot(b, d)
    cosine = a / math.hypot(a, c)
    clockwise = math.degrees(math.atan2(sine, cosine))
    quarter_turns = round(clockwise / 90)
    if abs(clockwise - 90 * quarter_turns) >= 1:
        return resizing.rotate(pixels, clockwise)
    if quarter_turns % 2:
        pixels = pixels.swapaxes(0, 1)
        shown_x, shown_y = c, b
    else:
        shown_x, shown_y = a, d
    if shown_x < 0:
        pixels = pixels[:, ::-1]
    if shown_y < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _file(video: File) -> io.BufferedIOBase:
    if isinstance(video, bytes):
        return io.BytesIO(video)
    files.size(video)
    return open(video, 'rb')
