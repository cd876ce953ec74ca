"""Where detectors look: the cells and anchors by number, and the pixels that they see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.models.detectors import dense_detector, faster_rcnn

BACKBONE = 'cnn:4x1-8x1-8x1-8x1'
# No square, so that exchanged axes are seen.
HEIGHT, WIDTH = 64, 96


def make_dense():
    return dense_detector.make(BACKBONE, num_classes=2, strides='4-8', width=4, depth=1)


def make_two_stage():
    options = {'width': 4, 'hidden': 4, 'regions': 1, 'anchor_scale': 4.0}
    return faster_rcnn.make(BACKBONE, num_classes=2, strides='4-8', **options)


def test_cells_by_number():
    centers, strides = make_dense().cells((HEIGHT, WIDTH))
    assert len(centers) == 16 * 24 + 8 * 12
    rows = [0, 1, 24, 383, 384, 385, 396]
    np.testing.assert_array_equal(
        centers[rows],
        [[2, 2], [2, 6], [6, 2], [62, 94], [4, 4], [4, 12], [12, 4]],
    )
    np.testing.assert_array_equal(strides[rows], [4, 4, 4, 4, 8, 8, 8])


def test_anchors_by_number():
    """Their centres are corners of cells, and their edges whole pixels, as in torchvision."""
    levels = make_two_stage().anchors((HEIGHT, WIDTH))
    boxes = np.concatenate(levels)
    assert len(boxes) == 3 * (16 * 24 + 8 * 12)
    # Sides of 16 pixels, with heights of 0.5, 1 and 2 widths: 11 x 23, 16 x 16, 23 x 11.
    first = [[-6, -11, 6, 11], [-8, -8, 8, 8], [-11, -6, 11, 6]]
    np.testing.assert_array_equal(boxes[:3], first)
    np.testing.assert_array_equal(boxes[3:6] - boxes[:3], 3 * [[0, 4, 0, 4]])
    np.testing.assert_array_equal(boxes[72:75] - boxes[:3], 3 * [[4, 0, 4, 0]])
    np.testing.assert_array_equal(boxes[1153], [-16, -16, 16, 16])
    assert [len(level) for level in levels] == [1152, 288]


@pytest.mark.parametrize('make', [make_dense, make_two_stage])
def test_each_cell_sees_the_pixels_around_its_centre(make):
    """Convolutions with positive weights: the gradient is the weight of each pixel."""
    model = make()
    image = jnp.ones((1, HEIGHT, WIDTH, 3))
    variables = jax.jit(model.init)(jax.random.key(0), image)
    variables['params'] = jax.tree.map(jnp.abs, variables['params'])
    if make is make_dense:
        centers, strides = model.cells((HEIGHT, WIDTH))
        name = 'logits'
    else:
        levels = model.anchors((HEIGHT, WIDTH))
        boxes = np.concatenate(levels)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        strides = np.repeat([4, 8], [len(level) for level in levels])
        name = 'objectness'
    # Far from the border, which cuts off what a cell would see.
    middle = np.abs(centers - (HEIGHT / 2, WIDTH / 2)) <= (16, 24)
    rows = np.flatnonzero(middle.all(axis=1))[::7]

    @jax.jit
    @jax.jacrev
    def seen(image):
        outputs, _ = model.apply(variables, image)
        return outputs[name].reshape(len(centers), -1).sum(axis=1)[rows]

    weights = np.asarray(seen(image))[:, 0].sum(axis=-1)
    weights = weights / weights.sum(axis=(1, 2), keepdims=True)
    y = (weights.sum(axis=2) * (np.arange(HEIGHT) + 0.5)).sum(axis=1)
    x = (weights.sum(axis=1) * (np.arange(WIDTH) + 0.5)).sum(axis=1)
    distance = np.abs(np.stack([y, x], 1) - centers[rows]).max(axis=1)
    assert (distance < 1.5 * strides[rows]).all()
