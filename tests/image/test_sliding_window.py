"""Sliding windows: weights that sum to 1, and the prediction of the whole image."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.image import sliding_window
from jaxvision.models.segmenters import segmentation_unet

RNG = np.random.default_rng(0)


def whole(blocks, shape):
    """The outputs for an image from its blocks. Every pixel is written once."""
    outputs = None
    times = np.zeros(shape, int)
    for top, left, values in blocks:
        height, width, channels = values.shape
        if outputs is None:
            outputs = np.zeros((*shape, channels), np.float32)
        place = np.s_[top : top + height, left : left + width]
        outputs[place] = values
        times[place] += 1
    assert (times == 1).all()
    return outputs


@st.composite
def cases(draw):
    """(shape, tile, overlap, multiple, margin)"""
    multiple = draw(st.integers(1, 4))
    size = tuple(multiple * draw(st.integers(1, 5)) for _ in range(2))
    overlap = draw(st.integers(0, min(size) - multiple))
    shape = tuple(draw(st.integers(1, 50)) for _ in range(2))
    return shape, size, overlap, multiple, draw(st.integers(0, overlap // 2))


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 3))
def test_blended_tiles_of_an_image_are_the_image(case, batch):
    shape, size, overlap, multiple, margin = case
    image = RNG.normal(size=(*shape, 2)).astype(np.float32)
    blocks = sliding_window.predict_blocks(
        image, lambda x: x, size, overlap, multiple=multiple, margin=margin, batch=batch
    )
    np.testing.assert_allclose(whole(blocks, shape), image, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_tiles_share_the_overlap_and_their_weights_sum_to_one(case):
    (length, _), (side, _), overlap, multiple, margin = case
    axis = sliding_window.axis_of(length, side, overlap, multiple, margin)
    starts = np.array(axis.starts)
    assert starts[0] == 0 and not (starts % multiple).any()
    assert 0 <= max(starts[-1] + side - length, 0) < max(multiple, side - length + 1)
    assert (side - np.diff(starts) >= overlap).all()
    total = np.zeros(starts[-1] + side)
    for start, weights in zip(starts, axis.weights, strict=True):
        total[start : start + side] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    if margin and len(starts) > 1:
        assert not axis.weights[1:, :margin].any()
        assert not axis.weights[:-1, -margin:].any()


def test_two_tiles_blend_by_gaussian_weights():
    """By hand: outputs 0 and 1, and the weights of two Gaussians 6 pixels apart."""
    image = np.zeros((8, 14, 1), np.float32)
    answers = iter([np.zeros((1, 8, 8, 1)), np.ones((1, 8, 8, 1))])
    blocks = sliding_window.predict_blocks(image, lambda x: next(answers), (8, 8), 2)
    outputs = whole(blocks, (8, 14))[0, :, 0]
    first = np.exp(-0.5 * (np.array([2.5, 3.5])) ** 2)
    second = np.exp(-0.5 * (np.array([-3.5, -2.5])) ** 2)
    np.testing.assert_array_equal(outputs[:6], 0)
    np.testing.assert_allclose(outputs[6:8], second / (first + second), rtol=1e-5)
    np.testing.assert_allclose(outputs[8:], 1, rtol=1e-6)


def test_a_network_with_a_small_view_predicts_as_for_the_whole_image():
    """The tiles begin at multiples of the coarsest stride. The image's sides are odd."""
    model = segmentation_unet.make('cnn:4x1-4x1-4x1', num_classes=3, depth=1)
    image = RNG.normal(size=(91, 75, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image[None])
    variables = random_leaves(shapes)

    @jax.jit
    def predict(images):
        return model.apply(variables, jnp.asarray(images))[0]['logits']

    blocks = sliding_window.predict_blocks(
        image, predict, (48, 48), 36, multiple=4, margin=18, batch=2
    )
    expected = np.asarray(predict(image[None])[0])
    assert expected.std() > 0.3
    np.testing.assert_allclose(whole(blocks, (91, 75)), expected, atol=1e-4)
    # Without a margin the tiles' edges are seen, but only a little.
    blocks = sliding_window.predict_blocks(image, predict, (48, 48), 36, batch=2)
    differences = np.abs(whole(blocks, (91, 75)) - expected)
    assert differences.max() > 1e-3


def test_memory_does_not_grow_with_the_height_of_the_image():
    def peak(height):
        image = np.broadcast_to(np.float32(1), (height, 200, 1))
        labels = np.broadcast_to(np.uint8(0), (height, 200))
        tracemalloc.start()
        for block in sliding_window.predict_blocks(
            image, lambda x: np.repeat(x, 4, -1), (32, 32), 8
        ):
            assert labels[block.top].size
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(4000) < 1.5 * peak(400)


def test_labels_are_those_of_the_largest_output():
    image = RNG.normal(size=(20, 33, 4)).astype(np.float32)
    labels = np.full((20, 33), 255, np.uint8)
    blocks = sliding_window.predict_blocks(image, lambda x: x, (8, 8), 4)
    sliding_window.write_labels(blocks, labels)
    np.testing.assert_array_equal(labels, image.argmax(-1))


@pytest.mark.parametrize(
    'size, options, message',
    [
        (8, {'overlap': 8}, 'overlap=8: expected 0 to 7'),
        (8, {'overlap': -1}, 'overlap=-1'),
        (8, {'overlap': 5, 'multiple': 4}, 'overlap=5: expected 0 to 4'),
        (6, {'overlap': 0, 'multiple': 4}, 'side=6: expected a multiple of 4'),
        (8, {'overlap': 4, 'margin': 3}, 'margin=3: expected 0 to 2'),
    ],
)
def test_a_wrong_number_is_an_error_with_its_bounds(size, options, message):
    with pytest.raises(ValueError, match=message):
        sliding_window.axis_of(20, size, **options)
