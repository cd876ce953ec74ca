"""Tiles joined by Gaussian weights: equal to a weighted mean over the whole image."""

import jax
import numpy as np
import pytest
from helpers.random_weights import random_leaves
from scipy import ndimage

from jaxvision.image import blending, tiles
from jaxvision.models.segmenters import segmentation_unet


def joined(outputs, corners, shape):
    image = np.full((*shape, outputs[0].shape[-1]), np.nan)
    for block in blending.join_blocks(iter(outputs), corners, shape):
        height, width, _ = block.values.shape
        part = image[block.top : block.top + height, block.left : block.left + width]
        assert np.isnan(part).all()  # Blocks do not overlap.
        part[:] = block.values
    return image


@pytest.mark.parametrize(
    'shape, side, overlap',
    [((40, 56), 16, 4), ((37, 53), 16, 11), ((16, 16), 16, 0), ((33, 16), 16, 15)],
)
def test_blocks_are_the_weighted_mean_of_all_tiles(shape, side, overlap):
    rng = np.random.default_rng(0)
    corners = tiles.corners(shape, (side, side), overlap)
    outputs = rng.normal(size=(len(corners), side, side, 2))
    distances = (np.arange(side) + 0.5) / side - 0.5
    gaussian = np.exp(-0.5 * (distances / blending.STD) ** 2)
    weights = np.outer(gaussian, gaussian)[..., None]
    sums = np.zeros((*shape, 2))
    totals = np.zeros((*shape, 1))
    for (top, left), output in zip(corners, outputs, strict=True):
        sums[top : top + side, left : left + side] += weights * output
        totals[top : top + side, left : left + side] += weights
    np.testing.assert_allclose(joined(outputs, corners, shape), sums / totals)


def test_a_local_operation_of_tiles_is_that_of_the_whole_image():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(50, 70, 3))
    parts, corners = tiles.split(image, (24, 24), 8)
    np.testing.assert_allclose(joined(parts**2, corners, (50, 70)), image**2)


def test_a_filter_of_tiles_is_that_of_the_image_away_from_their_borders():
    image = np.random.default_rng(1).normal(size=(50, 70, 1))
    reach = 2
    sides = (2 * reach + 1, 2 * reach + 1, 1)
    whole = ndimage.uniform_filter(image, sides)
    parts, corners = tiles.split(image, (24, 24), 8)
    outputs = [ndimage.uniform_filter(part, sides) for part in parts]
    is_near = np.zeros((50, 70), bool)
    for top, left in corners:
        inner = np.zeros((24, 24), bool)
        inner[reach:-reach, reach:-reach] = True
        is_near[top : top + 24, left : left + 24] |= ~inner
    errors = np.abs(joined(outputs, corners, (50, 70)) - whole)[..., 0]
    assert errors[~is_near].max() < 1e-12
    assert 0.2 < is_near.mean() < 0.8
    # In the middle of an overlap the border of a tile counts little.
    assert errors.max() < 0.2 * np.abs(np.stack(outputs)).max()


def test_an_image_smaller_than_a_tile_loses_its_padding():
    image = np.random.default_rng(2).normal(size=(9, 30, 1))
    parts, corners = tiles.split(image, (16, 16), 4)
    np.testing.assert_allclose(joined(parts, corners, (9, 30)), image)


def test_a_strided_network_predicts_tiles_as_the_whole_image():
    """Its tiles begin at multiples of its stride; else every eighth label would differ."""
    model = segmentation_unet.make('cnn:4x1-8x1-8x1', num_classes=3, depth=1)
    image = np.random.default_rng(0).normal(size=(150, 171, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image[None])
    variables = random_leaves(shapes)

    @jax.jit
    def predict(image):
        return model.apply(variables, image[None])[0]['logits'][0]

    corners = tiles.corners((150, 171), (64, 64), 32, multiple=4)
    padded = np.pad(image, ((0, 64), (0, 64), (0, 0)), mode='edge')
    outputs = [
        np.asarray(predict(padded[top : top + 64, left : left + 64]))
        for top, left in corners
    ]
    whole = np.asarray(predict(image))
    logits = joined(outputs, corners, (150, 171))
    assert (logits.argmax(-1) != whole.argmax(-1)).mean() < 0.005
    assert np.quantile(np.abs(logits - whole), 0.99) < 0.02 * whole.std()
