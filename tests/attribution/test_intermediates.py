import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.attribution import gradients, intermediates
from jaxvision.core.errors import UserError
from jaxvision.models.backbones import cnn, resnet, vit

SIZE = (16, 24)


def images(count=2):
    return jax.random.uniform(jax.random.key(0), (count, *SIZE, 3))


def network_of(model):
    """The model with random variables as a function of images."""
    shapes = jax.eval_shape(model.init, jax.random.key(1), images())
    variables = random_leaves(shapes)
    return lambda images: model.apply(variables, images)


@pytest.fixture(scope='module')
def networks():
    return {
        'cnn': network_of(cnn.make('4-6', num_classes=5)),
        'resnet': network_of(resnet.ResNet(5, resnet.BasicBlock, (1, 1))),
        'vit': network_of(vit.ViT(5, patch=8, width=8, depth=2, heads=2)),
    }


@pytest.fixture(scope='module')
def small(networks):
    return networks['cnn']


def first_logit(logits):
    return logits[:, 1]


def plain(images):
    """A network whose gradients are known."""
    maps = jnp.sin(images)
    later = maps**2
    outputs = later.sum(axis=(1, 2)) @ jnp.arange(1.0, 4.0)
    side = jnp.cos(images)
    return outputs, {'maps': maps, 'later': later, 'side': side, 'outputs': outputs}


def test_the_gradient_at_an_intermediate_has_its_closed_form():
    got = intermediates.layer_gradient(plain, images(), 'maps', lambda outputs: outputs)
    np.testing.assert_allclose(got.activations, np.sin(images()), rtol=1e-6)
    expected = 2 * np.sin(images()) * np.arange(1.0, 4.0)
    np.testing.assert_allclose(got.gradients, expected, rtol=1e-6)
    np.testing.assert_allclose(got.scores, plain(images())[0], rtol=1e-6)


def test_the_gradient_at_the_image_itself():
    def network(images):
        return images.sum(axis=(1, 2, 3)), {'image': images}

    got = intermediates.layer_gradient(
        network, images(), 'image', lambda outputs: 3 * outputs
    )
    np.testing.assert_array_equal(got.gradients, np.full((2, *SIZE, 3), 3.0))


@pytest.mark.parametrize(
    'name, layer', [('cnn', 'stage2'), ('resnet', 'stage2'), ('vit', 'block1')]
)
def test_gradients_agree_with_small_steps(networks, name, layer):
    """The score, as a function of the rest of the network after the layer."""
    network = jax.jit(networks[name])

    @jax.jit
    def explain(images):
        return intermediates.layer_gradient(network, images, layer, first_logit)

    got = explain(images())
    # A step of the image moves the layer; the rest is linear to first order.
    direction = jax.random.normal(jax.random.key(3), images().shape)

    def layer_and_score(images):
        logits, inner = network(images)
        return inner[layer], first_logit(logits)

    (values, scores), (moves, changes) = jax.jvp(
        layer_and_score, (images(),), (direction,)
    )
    np.testing.assert_allclose(got.activations, values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.scores, scores, rtol=1e-3, atol=1e-4)
    by_layer = (got.gradients * moves).reshape(2, -1).sum(axis=1)
    np.testing.assert_allclose(by_layer, changes, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    'name, expected', [('cnn', 'stage2'), ('resnet', 'stage2'), ('vit', 'block1')]
)
def test_the_default_layer_is_the_last_map_or_the_last_block_but_one(
    networks, name, expected
):
    compiled = jax.jit(networks[name])
    assert intermediates.default_layers(networks[name], images())[0] == expected
    assert intermediates.default_layers(compiled, images())[0] == expected


def test_layers_are_those_on_the_path_in_the_order_of_computation():
    expected = ['maps', 'later']
    assert intermediates.layers(plain, images()) == expected
    assert intermediates.layers(jax.jit(plain), images()) == expected


def test_a_layer_that_does_not_reach_the_score_is_an_error():
    with pytest.raises(UserError, match='layer=side: expected a gradient'):
        intermediates.layer_gradient(plain, images(), 'side', lambda outputs: outputs)


def test_patches_of_the_last_block_do_not_reach_a_class_token(networks):
    @jax.jit
    def explain(images):
        network = networks['vit']
        return intermediates.layer_gradient(network, images, 'block2', first_logit)

    got = explain(images())
    assert (got.gradients[:, 1:] == 0).all()
    assert (got.gradients[:, 0] != 0).any()
    with pytest.raises(UserError, match='layer=block2: expected a gradient'):
        gradients.refuse_zero(got.gradients[:, 1:], 'block2')


def test_a_zero_gradient_is_no_number_under_jit():
    @jax.jit
    def explain(images):
        return intermediates.layer_gradient(plain, images, 'side', lambda x: x)

    assert np.isnan(explain(images()).gradients).all()


def test_an_unknown_layer_is_an_error(small):
    with pytest.raises(UserError, match="'stage9'; did you mean 'stage"):
        intermediates.layer_gradient(small, images(), 'stage9', first_logit)


def test_a_network_without_maps_and_blocks_has_no_default_layer():
    def network(images):
        pooled = images.mean(axis=(1, 2))
        return pooled.sum(axis=1), {'pooled': pooled}

    with pytest.raises(UserError, match='feature maps or blocks of tokens'):
        intermediates.default_layers(network, images())


def test_compiled_and_mapped_calls_give_the_same():
    def explain(images):
        return intermediates.layer_gradient(plain, images, 'maps', lambda x: x)

    expected = explain(images())
    compiled = jax.jit(explain)(images())
    mapped = jax.jit(jax.vmap(explain))(images()[:, None])
    for one, two, three in zip(expected, compiled, mapped, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one, three[:, 0], rtol=1e-4, atol=1e-5)


def test_an_image_alone_has_the_gradient_that_it_has_in_a_batch():
    both = intermediates.layer_gradient(plain, images(), 'maps', lambda x: x)
    alone = intermediates.layer_gradient(plain, images()[1:], 'maps', lambda x: x)
    np.testing.assert_allclose(both.gradients[1:], alone.gradients, rtol=1e-5)
