"""Films of a variable frame rate, made by the tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    '.mp4': 'libx264',
    '.mov': 'mpeg4',
    '.mkv': 'libx264',
    '.webm': 'libvpx',
    '.avi': 'mpeg4',
    '.flv': 'flv',
    '.wmv': 'wmv2',
    '.gif': 'gif',
}


def write_variable(
    path: Path, starts: Sequence[float], end: float, with_sound: bool = False
) -> Path:
    """Write a film whose n-th frame has the grey level 8 n + 4.

    Args:
        path: its suffix is one of `CODECS`.
        starts: when each frame appears, in whole milliseconds and seconds.
        end: when the last frame disappears.
        with_sound: whether there is silence from second 0 on.
    """
    unit = Fraction(1, 1000)
    codec = CODECS[path.suffix]
    pixel_format = 'gray' if codec == 'gif' else 'yuv420p'
    edges = [round(1000 * second) for second in (*starts, end)]
    lasts = dict(zip(edges, np.diff(edges).tolist(), strict=False))
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixel_format
        stream.codec_context.time_base = unit
        stream.codec_context.max_b_frames = 0
        if with_sound:
            sound = container.add_stream('aac', rate=8000, layout='mono')
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 8000), np.float32), 'fltp', 'mono'
            )
            silence.sample_rate = 8000
            container.mux([*sound.encode(silence), *sound.encode()])
        packets = []
        for number, start in enumerate(edges[:-1]):
            pixels = np.full((32, 48, 3), 8 * number + 4, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = start, unit
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            packet.duration = lasts[packet.pts]
            container.mux(packet)
    return path


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers of the frames of such a film, by their grey levels."""
    return np.round((frames.mean((1, 2, 3)) - 4) / 8).astype(int).tolist()
