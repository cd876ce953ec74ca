"""Videos with cuts, made of videos that may have none."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from jaxvision.core import keys
from jaxvision.core.types import Example
from jaxvision.data import decode, resizing, video
from jaxvision.data.protocol import (
    RowSource,
    Source,
    fingerprint,
)

SHOT_FRAMES = (3, 15)  # the fewest frames of a shot, and the most
AREA_FRACTION = (0.15, 1.0)  # the part of the picture that a shot shows
ASPECT_RATIO = (3 / 4, 4 / 3)  # its width over its height

Frames = UInt8[np.ndarray, 't h w c']


class Montages(RowSource):
    """Videos put together of shots, each a function of its row.

    A shot is a stretch of any video of a source. It shows a random part of the picture or its
    mirror image, resized to the whole picture. An example has 'video',
    uint8 [T, H, W, C], and 'video_mask', uint8 [T], 0 for the black frames at the end.
    """

    def __init__(self, source: Source, number: int):
        """Describe the videos.

        Args:
            source: its examples hold 'video' uint8 [T, H, W, C], all of one shape, and
                'video_mask' [T].
            number: how many videos to make. Each has T // 4 to T frames before the
                padding.
        """
        self._source = source
        self._number = number
        self.info = dataclasses.replace(
            source.info,
            holds=('video', 'video_mask'),
            fingerprint=fingerprint('montages', source.info.fingerprint, number),
        )

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, row: int) -> Example:
        rng = keys.host(0, 'montages', row)
        most = len(self._source[0]['video'])
        length = int(rng.integers(most // 4, most, endpoint=True))
        shots = []
        missing = length
        while missing > 0:
            example = self._source[int(rng.integers(len(self._source)))]
            frames = example['video'][example['video_mask'] > 0]
            shots.append(_shot(rng, frames)[:missing])
            missing -= len(shots[-1])
        frames, is_real = video.padded(np.concatenate(shots), most)
        return {'video': frames, 'video_mask': is_real.astype(np.uint8)}

    def where(self, row: int) -> str:
        """The name of a video in messages, such as 'montage 3 of videos:clips'."""
        return f'montage {row} of {self.info.name}'


def _shot(rng: np.random.Generator, frames: Frames) -> UInt8[np.ndarray, 'n h w c']:
    """Draw a stretch of a video, and the part of the picture that it shows."""
    drawn_length = int(rng.integers(*SHOT_FRAMES, endpoint=True))
    length = min(drawn_length, len(frames))
    first = int(rng.integers(len(frames) - length, endpoint=True))
    height, width = frames.shape[1:3]
    top, left, h, w = decode.crop_box(rng, height, width, AREA_FRACTION, ASPECT_RATIO)
    direction = int(rng.choice((-1, 1)))
    shot = frames[first : first + length]
    crop = shot[:, top : top + h, left : left + w]
    mirrored = crop[:, :, ::direction]
    resized = []
    for frame in mirrored:
        contiguous = np.ascontiguousarray(frame)
        resized.append(resizing.resize(contiguous, height, width))
    return np.stack(resized)
