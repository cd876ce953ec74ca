import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.attribution import cam, intermediates, rollout
from jaxvision.core.errors import UserError
from jaxvision.models.backbones import cnn, vit


@pytest.fixture
def pair():
    """Activations, some of them 0 as after a ReLU, and gradients of both signs."""
    rng = np.random.default_rng(0)
    activations = np.maximum(rng.normal(size=(2, 3, 5, 4)), 0).astype(np.float32)
    gradients = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    gradients[0, 1] = 0.0
    return jnp.asarray(activations), jnp.asarray(gradients)


def test_grad_cam_of_pooling_and_a_linear_layer_is_cam():
    model = cnn.make('4-6', num_classes=3)
    images = jax.random.uniform(jax.random.key(0), (2, 10, 14, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)

    @jax.jit
    def explain(images):
        return intermediates.layer_gradient(
            lambda images: model.apply(variables, images),
            images,
            'stage2',
            lambda logits: logits[:, 2],
        )

    got = explain(images)
    weights = variables['params']['head']['kernel'][:, 2]
    cells = 5 * 7
    # W / (h w) is the gradient of every cell, to the bit.
    np.testing.assert_array_equal(
        got.gradients, np.broadcast_to(weights / cells, got.gradients.shape)
    )
    class_map = jax.nn.relu(got.activations @ weights) / cells
    np.testing.assert_allclose(
        cam.grad_cam(got.activations, got.gradients), class_map, rtol=1e-4, atol=1e-8
    )
    # With one gradient for all cells, HiResCAM is the same map.
    np.testing.assert_allclose(
        cam.hires_cam(got.activations, got.gradients), class_map, rtol=1e-4, atol=1e-8
    )


def test_grad_cam_averages_gradients_and_hires_cam_does_not(pair):
    activations, gradients = map(np.asarray, pair)
    means = gradients.mean(axis=(1, 2))
    expected = np.einsum('bhwc,bc->bhw', activations, means)
    np.testing.assert_allclose(
        cam.grad_cam(*pair), np.maximum(expected, 0), rtol=1e-4, atol=1e-6
    )
    products = (activations * gradients).sum(axis=-1)
    np.testing.assert_allclose(
        cam.hires_cam(*pair), np.maximum(products, 0), rtol=1e-5, atol=1e-6
    )
    # Without the ReLU there would be negative values.
    assert (expected < 0).any() and (products < 0).any()


def test_grad_cam_plus_plus_follows_its_equations(pair):
    activations, gradients = (np.asarray(each, np.float64) for each in pair)
    expected = np.zeros((2, 3, 5))
    for b in range(2):
        for k in range(4):
            weight = 0.0
            for i in range(3):
                for j in range(5):
                    g = gradients[b, i, j, k]
                    if g > 0:
                        divisor = 2 * g**2 + activations[b, :, :, k].sum() * g**3
                        weight += g * g**2 / divisor
            expected[b] += weight * activations[b, :, :, k]
    np.testing.assert_allclose(cam.grad_cam_plus_plus(*pair), expected, rtol=1e-4)


@pytest.mark.parametrize(
    'method', [cam.grad_cam, cam.grad_cam_plus_plus, cam.hires_cam]
)
def test_compiled_and_mapped_maps_are_the_same(method, pair):
    expected = method(*pair)
    np.testing.assert_allclose(jax.jit(method)(*pair), expected, rtol=1e-5, atol=1e-6)
    mapped = jax.vmap(method)(*(each[:, None] for each in pair))
    np.testing.assert_allclose(mapped[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_mirrored_map_becomes_a_mirrored_result():
    maps = jax.random.uniform(jax.random.key(0), (1, 3, 4))
    got = cam.upsample(maps, (15, 22))
    np.testing.assert_allclose(
        cam.upsample(maps[:, :, ::-1], (15, 22)), got[:, :, ::-1], atol=1e-6
    )
    np.testing.assert_allclose(
        cam.upsample(maps[:, ::-1], (15, 22)), got[:, ::-1], atol=1e-6
    )


def test_a_cell_is_enlarged_around_its_centre():
    maps = jnp.zeros((1, 2, 4)).at[0, 1, 2].set(1.0)
    got = cam.upsample(maps, (16, 32))[0]
    rows, columns = np.meshgrid(np.arange(16) + 0.5, np.arange(32) + 0.5, indexing='ij')
    assert (got * columns).sum() / got.sum() == pytest.approx(20.0, abs=1e-4)
    # The upper half of the cell fades out; the lower half keeps its value at the border.
    assert (got * rows).sum() / got.sum() > 11.0
    assert np.argmax(got.sum(axis=0)) in (19, 20)


def test_tokens_become_a_grid_without_the_class_token():
    patches = jnp.arange(6.0).reshape(1, 6, 1)
    with_class = jnp.concatenate([jnp.full((1, 1, 1), -1.0), patches], axis=1)
    for tokens in (patches, with_class):
        got = cam.token_features(tokens, (16, 24))
        np.testing.assert_array_equal(got[0, :, :, 0], [[0, 1, 2], [3, 4, 5]])


def test_tokens_without_a_grid_are_an_error():
    with pytest.raises(UserError, match='grid of square patches'):
        cam.token_features(jnp.zeros((1, 9, 2)), (16, 24))


def test_rollout_multiplies_the_attention_of_blocks():
    first = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    second = jnp.array([[[0.0, 1.0], [0.5, 0.5]]])
    got = rollout.rollout([first, second])
    np.testing.assert_allclose(got, [[[0.5, 0.5], [0.25, 0.75]]])


def test_rollout_of_a_vit_has_a_weight_for_each_patch():
    model = vit.ViT(3, patch=8, width=8, depth=2, heads=2)
    images = jax.random.uniform(jax.random.key(0), (2, 16, 24, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(1), images)
    variables = random_leaves(shapes)
    _, inner = jax.jit(model.apply)(variables, images)
    attentions = [inner['attention1'], inner['attention2']]
    np.testing.assert_allclose(attentions[1].sum(axis=-1), 1, rtol=1e-5)
    maps = rollout.rollout_maps(attentions, (16, 24))
    weights = np.asarray(rollout.rollout(attentions))
    np.testing.assert_allclose(maps, weights[:, 0, 1:].reshape(2, 2, 3), rtol=1e-6)
    assert (maps > 0).all()
    assert (maps.sum(axis=(1, 2)) < 1).all()


def test_rollout_of_pooled_tokens_is_the_mean_over_all_tokens():
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (1, 6, 6)))
    maps = rollout.rollout_maps([attention], (16, 24))
    expected = (np.asarray(attention).mean(axis=1) + 1 / 6) / 2
    np.testing.assert_allclose(maps, expected.reshape(1, 2, 3), rtol=1e-6)
