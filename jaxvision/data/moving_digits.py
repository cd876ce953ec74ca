"""`moving_digits`: clips of two digits that bounce in a square, as those of Moving MNIST do.

Srivastava, Mansimov, Salakhutdinov: Unsupervised Learning of Video Representations using LSTMs
(arXiv 1502.04681).
"""

import functools
import itertools

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from jaxvision.data.composed import Composed, Digits
from jaxvision.data.protocol import Example, SourceInfo

SIDE, DIGIT = 64, 28
ROOM = SIDE - DIGIT  # the corner of a digit is in [0, ROOM] on both axes

MOTIONS = ('circle', 'diagonal', 'horizontal', 'vertical')
PAIRS = tuple(itertools.combinations_with_replacement(MOTIONS, 2))

_FAST, _SLOW = (2.0, 5.0), (1.0, 3.0)  # pixels a frame
_RADIUS = 6.0, 14.0
_FEWEST_EVENTS = 2
_TRIES = 100

Path = Int[np.ndarray, 't 2']  # of a digit's corner: y and x in pixels


def make(configuration: str, data_dir: str = '') -> Composed:
    """The data set of one of `CONFIGURATIONS`."""
    compose, label, holds, frames, lengths = CONFIGURATIONS[configuration]
    names = tuple('+'.join(pair) for pair in PAIRS) if label else ()
    info = SourceInfo(
        name=f'moving_digits/{configuration}',
        split='',
        class_names=names,
        image_shape=(SIDE, SIDE, 1),
        multi_label=False,
        fingerprint='',
        holds=holds,
        frames=frames,
    )
    return Composed(
        info, lengths, functools.partial(compose, frames=frames), label, data_dir
    )


def prediction(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits on straight lines in any direction, 2 to 5 pixels a frame.

    Returns:
        video: uint8 [T, 64, 64, 1].
    """
    paths = [path(rng, 'straight', frames, _FAST) for _ in range(2)]
    return {'video': film(paths, digits.images[_two(rng, digits)])}


def motions(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits, each of its own of the four `MOTIONS`, 2 to 5 pixels a frame.

    Returns:
        video: uint8 [T, 64, 64, 1]; label: int32, of `PAIRS`.
    """
    label = draw_pair(rng)
    paths = [path(rng, motion, frames, _FAST) for motion in PAIRS[label]]
    return {
        'video': film(paths, digits.images[_two(rng, digits)]),
        'label': np.int32(label),
    }


def draw_pair(rng: np.random.Generator) -> int:
    """The label of a clip of `motions`."""
    return int(rng.integers(len(PAIRS)))


def events(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits on straight lines, 1 to 3 pixels a frame, which meet twice at least.

    Returns:
        video: uint8 [T, 64, 64, 1]; importance: float32 [T], see `importance`.
    """
    rows = _two(rng, digits)
    for _ in range(_TRIES):
        paths = [path(rng, 'straight', frames, _SLOW) for _ in range(2)]
        met = meetings(
            *(ink_boxes(path, digits.boxes[row]) for path, row in zip(paths, rows))
        )
        if met.sum() >= _FEWEST_EVENTS:
            break
    return {'video': film(paths, digits.images[rows]), 'importance': importance(met)}


def _two(rng: np.random.Generator, digits: Digits) -> Int[np.ndarray, '2']:
    return rng.integers(len(digits.images), size=2)


def path(
    rng: np.random.Generator, motion: str, frames: int, speeds: tuple[float, float]
) -> Path:
    """The corner of a digit in each frame: it moves freely and is folded back at the borders.

    It starts anywhere in the period of the fold, so that its place in any one frame is uniform
    whatever the motion: no single frame tells how it moves.
    """
    start = rng.uniform(0, 2 * ROOM, 2)
    return np.rint(
        fold(start + moved(rng, motion, frames, rng.uniform(*speeds)))
    ).astype(int)


def fold(place: Float[np.ndarray, '*n']) -> Float[np.ndarray, '*n']:
    """A triangle wave between 0 and ROOM: where walls there reflect what moves freely."""
    return ROOM - np.abs(place % (2 * ROOM) - ROOM)


def moved(
    rng: np.random.Generator, motion: str, frames: int, speed: float
) -> Float[np.ndarray, 't 2']:
    """Free motion (y, x) at `speed` pixels a frame: one of `MOTIONS`, or 'straight', which is in
    any direction."""
    time = np.arange(frames)
    if motion == 'circle':
        radius = rng.uniform(*_RADIUS)
        turn = rng.choice((-1, 1)) * speed / radius
        return radius * _direction(rng.uniform(0, 2 * np.pi) + turn * time)
    angle = {
        'straight': lambda: rng.uniform(0, 2 * np.pi),
        'horizontal': lambda: np.pi * rng.integers(2),
        'vertical': lambda: np.pi * (rng.integers(2) + 0.5),
        'diagonal': lambda: np.pi / 2 * (rng.integers(4) + 0.5),
    }[motion]()
    return speed * time[:, None] * _direction(angle)


def _direction(angle) -> Float[np.ndarray, '... 2']:
    return np.stack([np.sin(angle), np.cos(angle)], -1)


def film(
    paths: list[Path], images: UInt8[np.ndarray, 'n 28 28']
) -> UInt8[np.ndarray, 't 64 64 1']:
    """The digits on their paths; where they overlap, values add up to 255 at most."""
    light = np.zeros((len(paths[0]), SIDE, SIDE), np.uint16)
    for places, image in zip(paths, images):
        for frame, (y, x) in zip(light, places.tolist()):
            frame[y : y + DIGIT, x : x + DIGIT] += image
    return np.minimum(light, 255).astype(np.uint8)[..., None]


def ink_boxes(places: Path, box: Int[np.ndarray, '4']) -> Int[np.ndarray, 't 4']:
    """The box of a digit's ink, given within its image, in each frame."""
    return np.tile(places, 2) + box


def meetings(
    a: Int[np.ndarray, 't 4'], b: Int[np.ndarray, 't 4']
) -> Bool[np.ndarray, 't']:
    """The frames in which two boxes overlap, while in the frame before they did not."""
    together = ((a[:, :2] < b[:, 2:]) & (b[:, :2] < a[:, 2:])).all(1)
    return together & ~np.append(True, together[:-1])


def importance(met: Bool[np.ndarray, 't']) -> Float32[np.ndarray, 't']:
    """exp(-d / 4) for a frame that is d frames from the nearest event."""
    distance = np.abs(np.arange(len(met))[:, None] - np.flatnonzero(met))
    return np.exp(-distance.min(1) / 4).astype(np.float32)


# How an example is composed, and its label; what it holds, its frames, how many there are.
CONFIGURATIONS = {
    'prediction': (prediction, None, ('video',), 20, (20_000, 1_000)),
    'motions': (motions, draw_pair, ('video', 'label'), 20, (50_000, 1_000)),
    'events': (events, None, ('video', 'importance'), 120, (4_000, 100)),
}
