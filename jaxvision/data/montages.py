"""Films with cuts, made of films that may have none."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from jaxvision.core import keys
from jaxvision.data import decode, video
from jaxvision.data.protocol import Example, Labels, Rows, Source, fingerprint

STRETCH = (3, 15)  # the fewest frames and the most
ZOOM = (0.15, 1.0)  # the share of the picture that a stretch shows

Frames = UInt8[np.ndarray, 't h w c']


class Montages:
    """So many films, each put together of stretches of a source's films; every stretch is from
    anywhere in any of them and shows another part of the picture, or its mirror image.

    The source's examples are frames of one size, 'video' [T, H, W, C] and 'video_mask' [T]; so are
    these, of T / 4 to T frames, and functions of their row.
    """

    def __init__(self, source: Source, number: int):
        self._source, self._number = source, number
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
        wanted, stretches = int(rng.integers(most // 4, most, endpoint=True)), []
        while (missing := wanted - sum(map(len, stretches))) > 0:
            film = self._source[int(rng.integers(len(self._source)))]
            stretches.append(
                _stretch(rng, film['video'][film['video_mask'] > 0])[:missing]
            )
        frames, own = video.padded(np.concatenate(stretches), most)
        return {'video': frames, 'video_mask': own.astype(np.uint8)}

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        self.info.check_holds('label')
        raise AssertionError('montages hold no labels')

    def where(self, row: int) -> str:
        return f'montage {row} of {self.info.name}'


def _stretch(rng: np.random.Generator, frames: Frames) -> UInt8[np.ndarray, 'n h w c']:
    length = min(int(rng.integers(*STRETCH, endpoint=True)), len(frames))
    first = int(rng.integers(len(frames) - length, endpoint=True))
    height, width = frames.shape[1:3]
    top, left, h, w = decode.crop_box(rng, height, width, ZOOM, (3 / 4, 4 / 3))
    along = slice(None, None, int(rng.choice((-1, 1))))
    return np.stack(
        [
            decode.resize(
                np.ascontiguousarray(frame[top : top + h, left : left + w][:, along]),
                height,
                width,
            )
            for frame in frames[first : first + length]
        ]
    )
