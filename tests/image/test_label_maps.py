"""Label maps move with their images, and predictions come back."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import resizing
from jaxvision.image import label_maps, warp
from jaxvision.image.warp import Warp
from jaxvision.tasks.shared import placement

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
IGNORE = 255


def coordinates(size):
    """An image and a label map whose values are the numbers of their pixels' quarters."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    quarter = 2 * (2 * ys >= size[0]) + (2 * xs >= size[1])
    return quarter.astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, st.integers(0, 2**16))
def test_the_fast_form_for_scales_equals_the_general_one(source, target, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, source)
    maps = [placement.random_place(rng, source, target, 0.5), Warp.flip(target)]
    fast = label_maps.moved(labels, maps, IGNORE)
    with mock.patch.object(label_maps, '_scales_only', return_value=False):
        general = label_maps.moved(labels, maps, IGNORE)
    # The centre of a pixel may lie on an edge, up to rounding.
    assert (fast != general).sum() <= 2 * max(target)
    if source == target:
        same = label_maps.moved(labels, [Warp.flip(target), Warp.flip(target)], 0)
        np.testing.assert_array_equal(same, labels)


@settings(deadline=None, max_examples=100)
@given(st.tuples(st.integers(16, 60), st.integers(16, 60)), st.floats(-90, 90))
def test_labels_move_with_their_image(source, angle):
    """Pixels far from an edge of the picture's four areas have the same area in both."""
    target = (48, 64)
    labels = coordinates(source)
    maps = [warp.letterbox(source, target), Warp.rotate(angle, target)]
    moved_labels = label_maps.moved(labels, maps, IGNORE)
    image = placement.apply(maps[0], np.repeat(60 * labels[..., None], 3, axis=2))
    image = resizing.map_affine(image, maps[1].matrix, target, 255)[..., 0]
    for label in range(4):
        # Interpolated pixels have other values.
        is_pure = (image == 60 * label) & (moved_labels != IGNORE)
        if is_pure.sum() > 20:
            agreement = (moved_labels[is_pure] == label).mean()
            assert agreement > 0.85


def test_half_pixels_are_right():
    labels = np.arange(4)[None].repeat(2, 0)
    doubled = label_maps.moved(labels, [Warp.resize((2, 4), (4, 8))], IGNORE)
    np.testing.assert_array_equal(doubled[0], [0, 0, 1, 1, 2, 2, 3, 3])
    halved = label_maps.moved(doubled, [Warp.resize((4, 8), (2, 4))], IGNORE)
    np.testing.assert_array_equal(halved, labels)


def test_the_canvas_around_an_image_is_filled():
    labels = np.zeros((2, 4), np.uint8)
    canvas = label_maps.moved(labels, [warp.letterbox((2, 4), (8, 8))], IGNORE)
    expected = np.full((8, 8), IGNORE)
    expected[2:6] = 0
    np.testing.assert_array_equal(canvas, expected)


def test_what_leaves_one_map_does_not_come_back():
    labels = np.ones((6, 6), np.uint8)
    maps = [Warp.crop(0, 0, (6, 3)), Warp.crop(0, -1, (6, 6))]
    canvas = label_maps.moved(labels, maps, 0)
    np.testing.assert_array_equal(canvas[0], [0, 1, 1, 1, 0, 0])


@pytest.mark.parametrize('source', [(5, 9), (30, 20), (17, 64), (64, 64)])
def test_a_prediction_comes_back_as_scikit_image_resizes_it(source):
    from skimage.transform import resize

    target = (32, 40)
    map_ = warp.letterbox(source, target)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(*target, 3))
    height, width = warp.fitted_size(source, target)
    top, left = np.round(map_.matrix[:, 2]).astype(int)
    content = values[top : top + height, left : left + width]
    original = label_maps.to_original(values, map_.matrix, source)
    expected = resize(
        content, source, order=1, mode='edge', anti_aliasing=False, clip=False
    )
    np.testing.assert_allclose(original, expected, atol=1e-12)


def test_a_prediction_of_the_images_own_size_stays():
    values = np.random.default_rng(0).normal(size=(8, 8, 2)).astype(np.float32)
    same = label_maps.to_original(values, np.eye(2, 3), (8, 8))
    np.testing.assert_array_equal(same, values)
