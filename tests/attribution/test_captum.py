"""The same numbers as captum, for a network with the same weights (tests/bench)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attribution import cam, gradients, intermediates, perturbation, scores


@pytest.fixture(scope='module')
def reference():
    with np.load(Path(__file__).parent / 'captum.npz') as file:
        return dict(file)


@pytest.fixture(scope='module')
def network(reference):
    def convolve(images, name, stride, padding):
        maps = jax.lax.conv_general_dilated(
            images,
            reference[f'{name}_kernel'],
            (stride, stride),
            padding,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            precision='highest',
        )
        return jax.nn.relu(maps + reference[f'{name}_bias'])

    def apply(images):
        maps = convolve(images, 'first', 1, 'SAME')
        maps = convolve(maps, 'second', 2, 'VALID')
        logits = maps.mean((1, 2)) @ reference['head_kernel'] + reference['head_bias']
        return logits, {'maps': maps}

    return apply


@pytest.fixture(scope='module')
def score(reference, network):
    classes = jnp.asarray(reference['classes'])
    return lambda images: scores.of_class(network(images)[0], classes)


def assert_near(got, expected):
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope='module')
def images(reference):
    return jnp.asarray(reference['images'])


def test_the_twin_has_the_logits(network, images, reference):
    assert_near(network(images)[0], reference['logits'])


def test_gradients_are_those_of_captum(score, images, reference):
    assert_near(gradients.gradient(score, images), reference['gradient'])
    assert_near(
        gradients.input_x_gradient(score, images), reference['input_x_gradient']
    )


def test_integrated_gradients_are_those_of_captum(score, images, reference):
    got = gradients.integrated_gradients(
        score, images, jnp.full_like(images, 0.5), steps=32
    )
    assert_near(got.attribution, reference['integrated_gradients'])


def test_grad_cam_is_that_of_captum(network, images, reference):
    classes = jnp.asarray(reference['classes'])
    got = intermediates.layer_gradient(
        network, images, 'maps', lambda logits: scores.of_class(logits, classes)
    )
    maps = cam.grad_cam(got.activations, got.gradients)
    assert_near(maps, reference['grad_cam'][..., 0])


def test_occlusion_is_that_of_captum(network, reference):
    compiled = jax.jit(network)
    for image, label, expected in zip(
        reference['images'],
        reference['classes'],
        reference['occlusion'],
        strict=True,
    ):

        def score(images, label=label):
            return np.asarray(compiled(images)[0][:, label])

        got = perturbation.occlusion(
            score,
            image,
            np.full_like(image, 0.5),
            window=(3, 4),
            stride=(2, 3),
            batch=4,
        )
        # captum repeats the map for each channel.
        assert_near(got, expected[..., 0])
