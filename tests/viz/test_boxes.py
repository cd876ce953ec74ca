"""Boxes on images: the captions hide as little as they can."""

import numpy as np
import pytest

from jaxvision.viz import boxes


def common(place, box):
    low = np.maximum(place[:2], box[:2])
    high = np.minimum(place[2:], box[2:])
    return np.prod(np.maximum(np.subtract(high, low), 0))


SIZE = (20.0, 60.0)
PAGE = (200, 300)


@pytest.mark.parametrize(
    'box, expected',
    [
        ((50, 50, 100, 150), (30, 50, 50, 110)),  # above
        ((5, 50, 100, 150), (100, 50, 120, 110)),  # below
        ((50, 280, 100, 298), (30, 240, 50, 300)),  # moved into the image
    ],
)
def test_a_caption_stands_outside_of_its_box(box, expected):
    (place,) = boxes.place_captions([box], [SIZE], PAGE)
    assert place == expected
    assert common(place, box) == 0


def test_a_box_that_fills_the_image_has_its_caption_inside():
    (place,) = boxes.place_captions([(0, 0, 200, 300)], [SIZE], PAGE)
    assert place == (0, 0, 20, 60)


def test_captions_avoid_other_objects_and_captions():
    objects = [(60, 50, 100, 150), (20, 50, 58, 150), (60, 152, 100, 250)]
    places = boxes.place_captions(objects, [SIZE] * 3, PAGE)
    for place in places:
        assert sum(common(place, box) for box in objects) == 0
    for i, place in enumerate(places):
        assert all(common(place, other) == 0 for other in places[:i])


def test_lines_and_letters_grow_with_the_image():
    place = np.array([[0.25, 0.25, 0.75, 0.75]])
    changed = []
    for side in (400, 4000):
        image = np.full((side, side, 3), 128, np.uint8)
        drawn = boxes.draw(image, side * place, ['cat 0.90'], np.array([1]))
        assert drawn.shape == image.shape
        inside = drawn[side // 4 : 3 * side // 4, side // 2] != image[0, 0]
        changed.append(inside.any(axis=-1).sum())
    assert changed == [4, 16]  # two lines


def test_grey_and_small_images_are_drawn():
    image = np.zeros((10, 20, 1), np.uint8)
    drawn = boxes.draw(image, np.array([[2.0, 2, 8, 8]]), ['a'], np.array([0]))
    assert drawn.shape == (160, 320, 3)
    nothing = boxes.draw(image, np.zeros((0, 4)), [], np.zeros(0, int))
    assert not nothing.any()
