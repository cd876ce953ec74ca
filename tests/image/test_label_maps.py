"""Label maps move with their images, and predictions come back."""

from unittest import mock

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from jaxvision.image import label_maps, warp
from jaxvision.image.warp import Warp
from jaxvision.tasks.shared import placement

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
IGNORE = 255


def coordinates(size):
    """An image and a label map whose pixels both tell their place.

    The red of a pixel is 4 times its row and the green 4 times its column; its label is the
    number of the pixel.
    """
    ys, xs = np.mgrid[: size[0], : size[1]]
    image = np.stack([4 * ys, 4 * xs, 0 * xs], axis=-1).astype(np.uint8)
    return image, (ys * size[1] + xs).astype(np.int32)


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, st.integers(0, 2**16))
def test_the_fast_form_for_scales_equals_the_general_one(source, target, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, source)
    maps = [placement.random_place(rng, source, target, 0.5), Warp.flip(target)]
    fast = label_maps.moved(labels, maps, IGNORE)
    with mock.patch.object(label_maps, '_scales_only', return_value=False):
        general = label_maps.moved(labels, maps, IGNORE)
    # The centre of a pixel may come from an edge, where the rounding decides.
    ys, xs = np.mgrid[: target[0], : target[1]] + 0.5
    points = np.stack([ys, xs], axis=-1)
    on_edge = np.zeros(target, bool)
    for map_, size in zip(reversed(maps), (target, source), strict=True):
        points = map_.inverse(size).points(points)
        on_edge |= (np.abs(points - np.round(points)) < 1e-9).any(axis=-1)
    np.testing.assert_array_equal(fast[~on_edge], general[~on_edge])
    if source == target:
        same = label_maps.moved(labels, [Warp.flip(target), Warp.flip(target)], 0)
        np.testing.assert_array_equal(same, labels)


def placed(rng, source, target):
    """The maps and the canvas of an image, and its label map on the canvas."""
    image, labels = coordinates(source)
    augment = ConfigDict(
        {
            'crop': float(rng.choice([0, 1])),
            'scale': float(rng.choice([0, 0.5])),
            'translate': float(rng.choice([0, 0.2])),
            'rotate': float(rng.choice([0, 90])),
        }
    )
    box = np.array([[0.0, 0.0, *source]])
    maps, canvas = placement.at_random(augment, rng, 'letterbox', image, box, target)
    return canvas, label_maps.moved(labels, maps, -1)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(20, 60), st.integers(20, 60)),
    st.sampled_from([(48, 64), (64, 64), (96, 80)]),
    st.integers(0, 10_000),
)
def test_labels_move_with_their_image(source, target, seed):
    """The place that a label tells is the place that the image tells, within half a pixel.

    The image is interpolated and its label the nearest one, so that they differ by half a
    pixel of the image at most.
    """
    canvas, labels = placed(np.random.default_rng(seed), source, target)
    rows, columns = np.divmod(labels, source[1])
    # At the edges an image is blurred, and mixed with the grey around it.
    inner = (rows >= 4) & (rows < source[0] - 4)
    inner &= (columns >= 4) & (columns < source[1] - 4) & (labels >= 0)
    inner &= scipy.ndimage.binary_erosion(labels >= 0, iterations=4)
    differences = canvas[inner][:, :2] / 4 - np.stack([rows, columns], -1)[inner]
    # Colours are rounded to whole numbers, a quarter of a pixel, when they are resized and
    # when they are turned.
    assert (np.abs(differences) <= 0.5 + 0.3).all()


@pytest.mark.parametrize('rule', ['letterbox', 'none', 'top_left', 'shorter_side'])
def test_labels_move_with_their_image_by_every_rule(rule):
    for source in ((33, 57), (60, 21), (48, 48)):
        image, labels = coordinates(source)
        map_, canvas = placement.by_rule(rule, image, (40, 40))
        rows, columns = np.divmod(label_maps.moved(labels, [map_], -1), source[1])
        inner = (rows >= 4) & (rows < source[0] - 4)
        inner &= (columns >= 4) & (columns < source[1] - 4)
        differences = canvas[inner][:, :2] / 4 - np.stack([rows, columns], -1)[inner]
        # YOLOX's image is up to a pixel smaller than its map has it.
        drift = source[0] / 40 if rule == 'top_left' else 0
        assert (np.abs(differences) <= 0.5 + 0.3 + drift).all(), (rule, source)


@settings(deadline=None, max_examples=30)
@given(SIZES, SIZES, st.integers(0, 2**16))
def test_a_moved_label_map_has_no_number_that_it_did_not_have(source, target, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.choice([0, 3, 90, 200], source).astype(np.uint8)
    place = placement.random_place(rng, source, target, 0.5)
    turn = placement.random_turn(rng, target, 0.2, 45.0)
    for maps in ([place], [place, turn]):
        moved = label_maps.moved(numbers, maps, IGNORE)
        assert moved.dtype == np.uint8
        assert set(moved.flat) <= {*numbers.flat, IGNORE}


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
