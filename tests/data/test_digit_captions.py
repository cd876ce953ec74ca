"""What is said of a scene is true of it, and what is changed in it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import digit_captions as words

SCENE = np.array(
    [[7, 1, 0, 20, 10], [2, 0, 2, 24, 40], [2, 0, 2, 60, 50], [-1] * 5], np.int32
)


def test_the_three_styles():
    assert words.captions(SCENE) == [
        'a large red seven left of a small blue two above a small blue two',
        'there is a large red seven to the left of a small blue two above a small blue two',
        'the picture shows a large red seven and a small blue two to its right '
        'and a small blue two below it',
    ]
    assert words.captions(SCENE[:1])[1] == 'there is a large red seven'


@st.composite
def scenes(draw):
    """Objects from left to right, whose relations are sure."""
    number = draw(st.integers(1, 4))
    steps = draw(
        st.lists(
            st.tuples(st.integers(-30, 30), st.integers(4, 30)).filter(
                lambda step: abs(abs(step[0]) - step[1]) >= 4
            ),
            min_size=number,
            max_size=number,
        )
    )
    kinds = draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 5)),
            min_size=number,
            max_size=number,
        )
    )
    places = np.cumsum(steps, 0)
    return np.array(
        [(*kind, *place) for kind, place in zip(kinds, places, strict=True)], np.int32
    )


@settings(max_examples=50, deadline=None)
@given(scenes())
def test_every_caption_is_true(scene):
    for caption in words.captions(scene):
        named, relations = words.parse(caption)
        assert named == words.things(scene) and len(relations) == len(named) - 1
        assert words.is_true(caption, scene)


@settings(max_examples=50, deadline=None)
@given(scenes(), st.data())
def test_another_word_of_the_same_kind_is_false(scene, data):
    caption = data.draw(st.sampled_from(words.captions(scene)[:2])).split()
    kinds = (words.SIZES, words.COLORS, words.DIGITS, ('above', 'below'))
    place = data.draw(
        st.sampled_from(
            [i for i, word in enumerate(caption) if any(word in kind for kind in kinds)]
        )
    )
    kind = next(kind for kind in kinds if caption[place] in kind)
    caption[place] = data.draw(
        st.sampled_from([word for word in kind if word != caption[place]])
    )
    things = words.things(scene)
    if kind == ('above', 'below') and len(set(things)) < len(things):
        return  # of two that look alike either may be meant
    assert not words.is_true(' '.join(caption), scene)


@pytest.mark.parametrize(
    'caption, true',
    [
        ('a small blue two above a small blue two', False),  # one is not named
        ('a small blue two left of a large red seven above a small blue two', False),
        ('a small blue two below a small blue two left of a large red seven', False),
        (
            'there is a large red seven left of a small blue two above a small blue two',
            False,
        ),  # styles
        ('a large red seven left of a small blue two above', False),
        ('a large red seven left of a small blue two below a small blue two', False),
        ('', False),
        ('a large red seven left of a small blue two above a small blue two', True),
    ],
)
def test_what_is_true(caption, true):
    assert words.is_true(caption, SCENE) == true


def test_of_two_that_look_alike_either_may_be_meant():
    scene = np.array(
        [[2, 0, 2, 10, 10], [2, 0, 2, 60, 15], [1, 0, 2, 40, 18]], np.int32
    )
    assert (
        words.is_true(
            'a small blue two below a small blue one above a small blue two', scene
        )
        is False
    )
    assert words.is_true(
        'a small blue two above a small blue two below a small blue one', scene
    )
