"""Captions of scenes of coloured digits, and whether a caption is true.

A scene is int32 [N, 5], a row for each object: digit, size, colour, and y and x of its centre in
pixels. Rows of -1 are padding. Captions have three styles:

    a large red seven left of a small blue two above a small red one
    there is a large red seven to the left of a small blue two above a small red one
    the picture shows a large red seven and a small blue two to its right and a small red one
        below it (on one line)
"""

import dataclasses
import itertools
import re

import numpy as np
from jaxtyping import Int32

Scene = Int32[np.ndarray, 'n 5']
Thing = tuple[str, str, str]  # size, colour, digit

DIGITS = (
    'zero',
    'one',
    'two',
    'three',
    'four',
    'five',
    'six',
    'seven',
    'eight',
    'nine',
)
SIZES = ('small', 'large')
COLORS = ('red', 'green', 'blue', 'yellow', 'white', 'purple')


@dataclasses.dataclass(frozen=True)
class _Style:
    """How a caption begins, and how it names the next object by its relation to the last one."""

    opening: str
    links: dict[str, str]


_STYLES = (
    _Style(
        opening='',
        links={'left of': ' left of {}', 'above': ' above {}', 'below': ' below {}'},
    ),
    _Style(
        opening='there is ',
        links={
            'left of': ' to the left of {}',
            'above': ' above {}',
            'below': ' below {}',
        },
    ),
    _Style(
        opening='the picture shows ',
        links={
            'left of': ' and {} to its right',
            'above': ' and {} below it',
            'below': ' and {} above it',
        },
    ),
)
_ANY_SIZE = '|'.join(SIZES)
_ANY_COLOR = '|'.join(COLORS)
_ANY_DIGIT = '|'.join(DIGITS)
_THING = f'a ({_ANY_SIZE}) ({_ANY_COLOR}) ({_ANY_DIGIT})'


def things(scene: Scene) -> list[Thing]:
    """(size, colour, digit) of each object in words, in the scene's order."""
    return [
        (SIZES[size], COLORS[color], DIGITS[digit])
        for digit, size, color, _, _ in scene.tolist()
        if digit >= 0
    ]


def relation(first: tuple[int, int], second: tuple[int, int]) -> str:
    """Say on which side of the second centre (y, x) the first one lies.

    The larger of the horizontal and the vertical distance decides; the vertical one if
    they are equal.

    Returns:
        'left of', 'right of', 'above' or 'below'. Equal centres give 'below'.
    """
    dy = second[0] - first[0]
    dx = second[1] - first[1]
    is_beside = abs(dx) > abs(dy)
    if is_beside and dx > 0:
        return 'left of'
    if is_beside:
        return 'right of'
    if dy > 0:
        return 'above'
    return 'below'


def captions(scene: Scene) -> list[str]:
    """Three captions of a scene, one of each style, that name the objects in order.

    The scene has to hold one object or more, ordered from left to right: no object may
    be 'right of' the next one.
    """
    phrases = [' '.join(('a', *thing)) for thing in things(scene)]
    relations = _relations(_centres(scene))
    return [_caption(style, phrases, relations) for style in _STYLES]


def _caption(style: _Style, phrases: list[str], relations: list[str]) -> str:
    caption = style.opening + phrases[0]
    for link, phrase in zip(relations, phrases[1:], strict=True):
        caption += style.links[link].format(phrase)
    return caption


def parse(caption: str) -> tuple[list[Thing], list[str]] | None:
    """Read a caption back.

    Returns:
        (the objects as (size, colour, digit) in the caption's order, the relation of
        each but the last to the next one). None if the whole caption is not in the
        grammar of one style.
    """
    for style in _STYLES:
        parsed = _parse(caption, style)
        if parsed:
            return parsed
    return None


def _parse(caption: str, style: _Style) -> tuple[list[Thing], list[str]] | None:
    named = []
    relations = []
    match = re.compile(style.opening + _THING).match(caption)
    while match:
        named.append(match.groups())
        end = match.end()
        if end == len(caption):
            return named, relations
        for link, words in style.links.items():
            match = re.compile(words.format(_THING)).match(caption, end)
            if match:
                relations.append(link)
                break
    return None


def is_true(caption: str, scene: Scene) -> bool:
    """Whether a caption describes a scene.

    A true caption names every object exactly once, in any order, with its digit, size
    and colour. All its relations hold between the objects' centres, as `relation` gives
    them. If several objects look alike, any assignment to them may make the caption
    true. A caption that `parse` cannot read is false.
    """
    parsed = parse(caption)
    objects = things(scene)
    if parsed is None or sorted(parsed[0]) != sorted(objects):
        return False
    named, relations = parsed
    centres = _centres(scene)
    for order in itertools.permutations(range(len(objects))):
        is_named = [objects[i] for i in order] == named
        if is_named and _relations([centres[i] for i in order]) == relations:
            return True
    return False


def _centres(scene: Scene) -> list[tuple[int, int]]:
    return [(y, x) for digit, _, _, y, x in scene.tolist() if digit >= 0]


def _relations(centres: list[tuple[int, int]]) -> list[str]:
    """The relation of each centre to the next one."""
    return list(itertools.starmap(relation, itertools.pairwise(centres)))
