"""Coordinates move with the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.image import warp
from jaxvision.image.warp import Warp

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)


@settings(deadline=None, max_examples=5000)
@given(sizes, st.tuples(st.integers(8, 1024), st.integers(8, 1024)))
def test_letterbox_comes_back_for_every_size(source, target):
    boxed = warp.letterbox(source, target)
    image = np.array([[0.0, 0.0, *source]])
    inside = boxed.boxes(image)
    assert (inside[0, :2] >= 0).all()
    assert (inside[0, 2:] <= np.array(target) + 1e-9).all()
    np.testing.assert_allclose(inside, np.round(inside), atol=1e-6)  # whole pixels
    back = boxed.inverse(source).boxes(inside)
    np.testing.assert_allclose(back, image, atol=1e-6 * max(source))


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
