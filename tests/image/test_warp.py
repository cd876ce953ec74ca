"""Coordinates move with the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.image import warp
from jaxvision.image.warp import Warp

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)


def test_letterbox_comes_back_for_every_size():
    rng = np.random.default_rng(0)
    # A logarithm that is uniform has as many sources below 55 pixels as above.
    sources = np.exp(rng.uniform(0, np.log(3000), (6000, 2))).round().astype(int)
    targets = rng.integers(8, 1025, (6000, 2))
    images = np.concatenate([np.zeros((6000, 2)), sources], 1)
    inside = np.zeros((6000, 4))
    back = np.zeros((6000, 4))
    for row in range(6000):
        source = tuple(sources[row].tolist())
        boxed = warp.letterbox(source, tuple(targets[row].tolist()))
        one = slice(row, row + 1)
        inside[one] = boxed.boxes(images[one])
        back[one] = boxed.inverse(source).boxes(inside[one])
    assert (inside[:, :2] >= 0).all()
    assert (inside[:, 2:] <= targets + 1e-9).all()
    np.testing.assert_allclose(inside, np.round(inside), atol=1e-6)  # whole pixels
    error = np.abs(back - images).max(1)
    np.testing.assert_array_less(error, 1e-6 * sources.max(1))


@settings(deadline=None, max_examples=50)
@given(sizes, sizes, st.integers(0, 2**31))
def test_maps_compose_and_invert(source, target, seed):
    rng = np.random.default_rng(seed)
    top, left = rng.uniform(-5, 5, 2)
    whole = (
        Warp.resize(source, target)
        .then(Warp.flip(target))
        .then(Warp.crop(top, left, (9, 9)))
    )
    points = rng.uniform(0, 50, (6, 2))
    expected = points * np.array(target) / source
    expected[:, 1] = target[1] - expected[:, 1]
    expected -= (top, left)
    np.testing.assert_allclose(
        whole.points(points), expected, atol=1e-9 * max(target) + 1e-9
    )
    back = whole.inverse(source)
    scale = max(source) / min(target)
    np.testing.assert_allclose(
        back.points(whole.points(points)), points, atol=1e-9 * (1 + scale) * 1e3
    )


def test_resizing_has_no_half_pixel_shift():
    """A pixel's centre (i + .5) goes to the centre of the pixels that it becomes."""
    resize = Warp.resize((4, 6), (8, 3))
    np.testing.assert_allclose(resize.points(np.array([0.5, 0.5])), [1.0, 0.25])
    np.testing.assert_allclose(
        resize.boxes(np.array([[1.0, 2.0, 3.0, 4.0]])), [[2, 1, 6, 2]]
    )


def test_pixels_and_coordinates_move_together():
    """The image's values are its own coordinates: what is cut out says where it was."""
    y, x = np.mgrid[0:12, 0:20] + 0.5
    image = np.stack([y, x], -1)
    whole = Warp.flip((12, 20)).then(Warp.crop(3, 5, (6, 7)))
    pixels = image[:, ::-1][3:9, 5:12]
    centers = np.stack(np.mgrid[0:6, 0:7] + 0.5, -1)
    np.testing.assert_allclose(whole.inverse((12, 20)).points(centers), pixels)


@pytest.mark.parametrize('visible, kept', [(0.5, False), (0.05, True)])
def test_boxes_that_left_the_image_are_dropped(visible, kept):
    boxes = np.array(
        [[0.0, -18.0, 10.0, 2.0], [2.0, 2.0, 2.0, 5.0], [30.0, 30.0, 40.0, 40.0]]
    )
    clipped, keep = warp.kept_boxes(boxes, (20, 20), least_visible=visible)
    np.testing.assert_array_equal(keep, [kept, False, False])
    np.testing.assert_array_equal(clipped[0], [0, 0, 10, 2])


def test_boxes_of_less_than_a_pixel_are_dropped():
    boxes = np.array([[2.0, 2.0, 3.0, 3.0], [2.0, 2.0, 2.9, 3.0], [2.0, 2.0, 2.0, 9.0]])
    _, keep = warp.kept_boxes(boxes, (20, 20))
    np.testing.assert_array_equal(keep, [True, False, False])


def test_the_identity_changes_nothing():
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(Warp.identity((5, 6)).boxes(boxes), boxes)
