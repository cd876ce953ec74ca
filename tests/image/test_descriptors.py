import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.image import descriptors

layout = jax.jit(descriptors.layout)


def halves(image):
    """Colours [4, 4, C] and edges [4, 4, 8] of an image, each of length 1."""
    descriptor = np.asarray(layout(jnp.asarray(image, jnp.float32))) * np.sqrt(2)
    return descriptor[:-128].reshape(4, 4, -1), descriptor[-128:].reshape(4, 4, 8)


def by_hand(image):
    """With loops over the cells, in float64."""
    height, width, _ = image.shape
    cells = [
        (
            slice(i * (height // 4), (i + 1) * (height // 4)),
            slice(j * (width // 4), (j + 1) * (width // 4)),
        )
        for i in range(4)
        for j in range(4)
    ]
    grey = image.mean(2)
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:-1], right[:, :-1] = grey[1:] - grey[:-1], grey[:, 1:] - grey[:, :-1]
    colors = np.array([image[cell].mean((0, 1)) for cell in cells])
    colors = (colors - colors.mean(0)).ravel()
    edges = np.array(
        [
            [
                np.maximum(np.sin(a) * down[cell] + np.cos(a) * right[cell], 0).mean()
                for a in np.arange(8) * np.pi / 4
            ]
            for cell in cells
        ]
    ).ravel()
    return np.concatenate(
        [half / np.linalg.norm(half) for half in (colors, edges)]
    ) / np.sqrt(2)


@pytest.mark.parametrize('shape', [(16, 16, 3), (19, 14, 1)])
def test_colours_and_edges_equal_loops(shape):
    image = np.random.default_rng(0).random(shape)
    got = layout(jnp.asarray(image, jnp.float32))
    np.testing.assert_allclose(got, by_hand(image), atol=1e-6)
    assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)


def test_a_step_to_the_right_is_an_edge_to_the_right():
    image = np.zeros((16, 16, 1))
    image[:, 10:] = 1
    colors, edges = halves(image)
    assert (
        edges[..., 0].argmax(1).tolist() == [2] * 4
        and edges[..., 0].max() == edges.max()
    )
    assert (edges[:, [0, 1, 3]] == 0).all() and edges[0, 2, 4] == pytest.approx(
        0, abs=1e-6
    )
    assert (colors[:, 3, 0] > 0).all() and (colors[:, 0, 0] < 0).all()


def test_brightness_does_not_matter_and_a_plain_image_gives_zeros():
    image = np.random.default_rng(1).random((12, 12, 3))
    alike = layout(jnp.asarray(0.5 * image + 0.3, jnp.float32))
    np.testing.assert_allclose(
        alike, layout(jnp.asarray(image, jnp.float32)), atol=1e-5
    )
    assert (np.asarray(layout(jnp.full((12, 12, 3), 0.25))) == 0).all()
    rounded = jax.ShapeDtypeStruct((8, 8, 3), jnp.bfloat16)
    assert jax.eval_shape(layout, rounded).dtype == jnp.bfloat16
