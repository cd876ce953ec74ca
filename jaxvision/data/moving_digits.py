"""`moving_digits`: videos of two digits that bounce in a square, as in Moving MNIST.

Srivastava, Mansimov, Salakhutdinov: Unsupervised Learning of Video Representations using LSTMs
(arXiv 1502.04681).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from jaxvision.core.types import Example
from jaxvision.data.composed import Composed, Digits
from jaxvision.data.protocol import (
    SourceInfo,
)

SIDE = 64  # of the square, in pixels
DIGIT = 28  # side of a digit, in pixels
ROOM = SIDE - DIGIT  # The corner of a digit is in [0, ROOM] on both axes.

MOTIONS = ('circle', 'diagonal', 'horizontal', 'vertical')
PAIRS = tuple(itertools.combinations_with_replacement(MOTIONS, 2))

_FAST = (2.0, 5.0)  # pixels a frame
_SLOW = (1.0, 3.0)
_RADIUS = (6.0, 14.0)  # of a circle, in pixels
_FEWEST_EVENTS = 2
_TRIES = 100  # to draw a video with that many events

Path = Int[np.ndarray, 't 2']  # of a digit's corner: y and x in pixels
InkBoxes = Int[np.ndarray, 't 4']
Meetings = Bool[np.ndarray, 't']


def make(configuration: str, data_dir: str = '') -> Composed:
    """The dataset of a configuration.

    Args:
        configuration: 'prediction', 'motions' or 'events', whose examples the functions
            of these names make.
        data_dir: the folder where `mnist5k` is prepared if it is missing there; '': the
            user's cache.
    """
    chosen = CONFIGURATIONS[configuration]
    names = ()
    if chosen.label:
        names = tuple('+'.join(pair) for pair in PAIRS)
    info = SourceInfo(
        name=f'moving_digits/{configuration}',
        split='',
        class_names=names,
        image_shape=(SIDE, SIDE, 1),
        multi_label=False,
        fingerprint='',
        holds=chosen.holds,
        frames=chosen.frames,
    )
    compose = functools.partial(chosen.compose, frames=chosen.frames)
    return Composed(info, chosen.lengths, compose, chosen.label, data_dir)


def prediction(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits on straight lines in any direction, 2 to 5 pixels a frame.

    Args:
        rng: draws the digits and their paths.
        digits: the digits to draw from.
        frames: the length T of the video.

    Returns:
        video: uint8 [T, 64, 64, 1].
    """
    paths = [path(rng, 'straight', frames, _FAST) for _ in range(2)]
    return {'video': render(paths, digits.images[_two(rng, digits)])}


def motions(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits, each with one of the four `MOTIONS`, 2 to 5 pixels a frame.

    Args:
        rng: draws the label, the paths and the digits.
        digits: the digits to draw from.
        frames: the length T of the video.

    Returns:
        video: uint8 [T, 64, 64, 1].
        label: int32, which of the ten `PAIRS` of motions.
    """
    label = draw_pair(rng)
    paths = [path(rng, motion, frames, _FAST) for motion in PAIRS[label]]
    images = digits.images[_two(rng, digits)]
    return {'video': render(paths, images), 'label': np.int32(label)}


def draw_pair(rng: np.random.Generator) -> int:
    """Draw the label of an example of `motions`, uniform from 0 to 9."""
    return int(rng.integers(len(PAIRS)))


def events(rng: np.random.Generator, digits: Digits, frames: int) -> Example:
    """Two digits on straight lines, 1 to 3 pixels a frame, that meet at least twice.

    Paths are drawn up to 100 times. The last ones stay, even if they meet less often.

    Args:
        rng: draws the digits and their paths.
        digits: the digits to draw from.
        frames: the length T of the video.

    Returns:
        video: uint8 [T, 64, 64, 1].
        importance: float32 [T], 1 where the digits begin to overlap, less elsewhere; 0
            everywhere if they never do.
    """
    rows = _two(rng, digits)
    for _ in range(_TRIES):
        paths = [path(rng, 'straight', frames, _SLOW) for _ in range(2)]
        first, second = map(ink_boxes, paths, digits.boxes[rows])
        met = meetings(first, second)
        if met.sum() >= _FEWEST_EVENTS:
            break
    video = render(paths, digits.images[rows])
    return {'video': video, 'importance': importance(met)}


def _two(rng: np.random.Generator, digits: Digits) -> Int[np.ndarray, '2']:
    return rng.integers(len(digits.images), size=2)


def path(
    rng: np.random.Generator, motion: str, frames: int, speeds: tuple[float, float]
) -> Path:
    """Draw the corner of a digit in each frame.

    The digit moves freely and is reflected at the borders. Its start is uniform in the period of
    the reflection, so its place in any single frame is uniform whatever the motion. No single
    frame tells how the digit moves.

    Args:
        rng: draws the start, the speed and the direction.
        motion: 'circle', 'diagonal', 'horizontal', 'vertical' or 'straight'.
        frames: the length T of the path.
        speeds: the slowest and the fastest, in pixels a frame.

    Returns:
        int [T, 2], y and x of the top left corner in each frame, from 0 to `ROOM`
        pixels.
    """
    start = rng.uniform(0, 2 * ROOM, 2)
    speed = rng.uniform(*speeds)
    free = start + free_motion(rng, motion, frames, speed)
    return np.rint(reflect(free)).astype(int)


def reflect(place: Float[np.ndarray, '*n']) -> Float[np.ndarray, '*n']:
    """Reflect free motion at 0 and ROOM: a triangle wave of the place."""
    return ROOM - np.abs(place % (2 * ROOM) - ROOM)


def free_motion(
    rng: np.random.Generator, motion: str, frames: int, speed: float
) -> Float[np.ndarray, 't 2']:
    """Draw a motion without borders.

    Args:
        rng: draws the direction, and the radius of a circle.
        motion: one of `MOTIONS`, or 'straight' for a line in any direction.
        frames: the length of the motion.
        speed: in pixels a frame.

    Returns:
        (y, x) in each frame, in pixels from the start of a line or the centre of a
        circle.

    Raises:
        ValueError: The motion is unknown.
    """
    time = np.arange(frames)
    if motion == 'circle':
        radius = rng.uniform(*_RADIUS)
        turn = rng.choice((-1, 1)) * speed / radius
        start = rng.uniform(0, 2 * np.pi)
        return radius * _direction(start + turn * time)
    distance = speed * time[:, None]
    return distance * _direction(_angle(rng, motion))


def _angle(rng: np.random.Generator, motion: str) -> float:
    match motion:
        case 'straight':
            return rng.uniform(0, 2 * np.pi)
        case 'horizontal':
            return np.pi * rng.integers(2)
        case 'vertical':
            return np.pi * (rng.integers(2) + 0.5)
        case 'diagonal':
            return np.pi / 2 * (rng.integers(4) + 0.5)
    raise ValueError(f'motion={motion!r}: expected one of {", ".join(MOTIONS)}')


def _direction(angle) -> Float[np.ndarray, '... 2']:
    return np.stack([np.sin(angle), np.cos(angle)], -1)


def render(
    paths: list[Path], images: UInt8[np.ndarray, 'n 28 28']
) -> UInt8[np.ndarray, 't 64 64 1']:
    """Render digits on their paths. Overlapping pixels add up to at most 255.

    `paths` has the top left corner (y, x) of each digit in each frame, so that the
    digit is inside the square; all are equally long.
    """
    light = np.zeros((len(paths[0]), SIDE, SIDE), np.uint16)
    for places, image in zip(paths, images, strict=True):
        for frame, (y, x) in zip(light, places.tolist(), strict=True):
            frame[y : y + DIGIT, x : x + DIGIT] += image
    return np.minimum(light, 255).astype(np.uint8)[..., None]


def ink_boxes(places: Path, box: Int[np.ndarray, '4']) -> InkBoxes:
    """The box (ymin, xmin, ymax, xmax) of a digit's ink in each frame of the video.

    `places` has the corner of the digit in each frame; `box` is that of the ink within
    the digit.
    """
    return np.tile(places, 2) + box


def meetings(a: InkBoxes, b: InkBoxes) -> Meetings:
    """True for each frame in which two boxes begin to overlap, never for the first."""
    a_begins_before_b_ends = (a[:, :2] < b[:, 2:]).all(1)
    b_begins_before_a_ends = (b[:, :2] < a[:, 2:]).all(1)
    overlap = a_begins_before_b_ends & b_begins_before_a_ends
    overlapped_before = np.append(True, overlap[:-1])
    return overlap & ~overlapped_before


def importance(met: Meetings) -> Float32[np.ndarray, 't']:
    """exp(-d / 4) of a frame that is d frames from the nearest event, a True of `met`.

    It is 0 everywhere if there is no event.
    """
    if not met.any():
        return np.zeros(len(met), np.float32)
    frames = np.arange(len(met))[:, None]
    distances = np.abs(frames - np.flatnonzero(met))
    nearest = distances.min(1)
    return np.exp(-nearest / 4).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One dataset of moving digits.

    Attributes:
        compose: makes an example, called as `compose(rng, digits, frames=frames)`.
        holds: the keys of an example.
        frames: the length of each video.
        lengths: the number of examples of 'train' and 'test'.
        label: `(generator of the row) -> label`, equal to the label that `compose`
            draws first from an equal generator. None if there are no labels.
    """

    compose: Callable[..., Example]
    holds: tuple[str, ...]
    frames: int
    lengths: tuple[int, int]
    label: Callable[[np.random.Generator], int] | None = None


CONFIGURATIONS = {
    'prediction': Configuration(
        compose=prediction, holds=('video',), frames=20, lengths=(20_000, 1_000)
    ),
    'motions': Configuration(
        compose=motions,
        holds=('video', 'label'),
        frames=20,
        lengths=(50_000, 1_000),
        label=draw_pair,
    ),
    'events': Configuration(
        compose=events,
        holds=('video', 'importance'),
        frames=120,
        lengths=(4_000, 100),
    ),
}
