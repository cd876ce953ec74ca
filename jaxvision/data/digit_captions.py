"""What is said of a scene of coloured digits, and whether it is true.

A scene is int32 [N, 5], an object a row: digit, size, colour, and y and x of its centre in pixels;
rows of -1 are padding. Captions are of three styles:

    a large red seven left of a small blue two above a small red one
    there is a large red seven to the left of a small blue two above a small red one
    the picture shows a large red seven and a small blue two to its right and a small red one below it
"""

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

# How each style begins, and how it goes on, by the relation of an object to the next.
_STYLES = (
    ('', {'left of': ' left of {}', 'above': ' above {}', 'below': ' below {}'}),
    (
        'there is ',
        {'left of': ' to the left of {}', 'above': ' above {}', 'below': ' below {}'},
    ),
    (
        'the picture shows ',
        {
            'left of': ' and {} to its right',
            'above': ' and {} below it',
            'below': ' and {} above it',
        },
    ),
)
_THING = f'a ({"|".join(SIZES)}) ({"|".join(COLORS)}) ({"|".join(DIGITS)})'


def things(scene: Scene) -> list[Thing]:
    """The scene's objects in words, without their places."""
    return [
        (SIZES[size], COLORS[color], DIGITS[digit])
        for digit, size, color, _, _ in scene.tolist()
        if digit >= 0
    ]


def relation(first: tuple[int, int], second: tuple[int, int]) -> str:
    """Where the centre (y, x) is from the second: 'left of', 'right of', 'above' or 'below' it,
    along the axis on which they are further apart."""
    dy, dx = second[0] - first[0], second[1] - first[1]
    if abs(dx) > abs(dy):
        return 'left of' if dx > 0 else 'right of'
    return 'above' if dy > 0 else 'below'


def captions(scene: Scene) -> list[str]:
    """One caption of each style, of a scene whose objects are in order from left to right."""
    phrases = [' '.join(('a', *thing)) for thing in things(scene)]
    centres = _centres(scene)
    relations = [relation(*pair) for pair in itertools.pairwise(centres)]
    return [
        opening
        + phrases[0]
        + ''.join(
            links[link].format(phrase) for link, phrase in zip(relations, phrases[1:])
        )
        for opening, links in _STYLES
    ]


def parse(caption: str) -> tuple[list[Thing], list[str]] | None:
    """The objects that a caption names, in its order, and the relation of each to the next; None
    where it is not wholly in the grammar of one style."""
    for opening, links in _STYLES:
        found = _parse(caption, opening, links)
        if found:
            return found
    return None


def _parse(
    caption: str, opening: str, links: dict[str, str]
) -> tuple[list[Thing], list[str]] | None:
    match = re.compile(opening + _THING).match(caption)
    named, relations = [], []
    while match:
        named.append(match.groups())
        end = match.end()
        if end == len(caption):
            return named, relations
        for link, words in links.items():
            match = re.compile(words.format(_THING)).match(caption, end)
            if match:
                relations.append(link)
                break
    return None


def is_true(caption: str, scene: Scene) -> bool:
    """Whether a caption names every object of the scene exactly once, with its digit, size and
    colour, in any order, and only relations that hold between their centres.

    Of objects that look alike any may be the one that is meant.
    """
    said = parse(caption)
    there, centres = things(scene), _centres(scene)
    if said is None or sorted(said[0]) != sorted(there):
        return False
    named, relations = said
    return any(
        [there[i] for i in order] == named
        and [relation(centres[i], centres[j]) for i, j in itertools.pairwise(order)]
        == relations
        for order in itertools.permutations(range(len(there)))
    )


def _centres(scene: Scene) -> list[tuple[int, int]]:
    return [(y, x) for digit, _, _, y, x in scene.tolist() if digit >= 0]
