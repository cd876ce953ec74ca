"""The form of an operation depends on the platform for which a program is lowered.

The machine that runs these tests traces all programs, but has none of the other platforms.
"""

import re

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.models.backbones import lenet, mobilenet_v2, resnet
from jaxvision.models.blocks import convolution, forms, pooling

PLATFORMS = ('cpu', 'cuda', 'tpu')
OTHERS = ('cuda', 'tpu')
CONVOLUTION, PRODUCT = 'stablehlo.convolution', 'stablehlo.dot_general'
SCATTER, MAXIMUM = 'stablehlo.select_and_scatter', 'stablehlo.reduce_window'
LAYOUT = ('NHWC', 'HWIO', 'NHWC')

EVERY_PLATFORM = pytest.mark.parametrize('platform', PLATFORMS)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def lowered(function, *arguments, platform):
    """The text of the program for one platform."""
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def numbers(text):
    """{operation: how often the text has it}."""
    kinds = (CONVOLUTION, PRODUCT, SCATTER, MAXIMUM)
    return {kind: len(re.findall(rf'\b{kind}\b', text)) for kind in kinds}


def energy(x, kernel, side=4, **options):
    x = x[:, :side, :side]
    y = convolution.convolve(
        x, kernel, (1, 1), 'SAME', dimension_numbers=LAYOUT, **options
    )
    return jnp.sum(jnp.sin(y))


def pooled_energy(x):
    return jnp.sum(jnp.sin(pooling.max_pool(x, (2, 2))))


# what: (function, kernel, what the gradient's program holds on a CPU, and elsewhere)
ONE, THREE = {CONVOLUTION: 1}, {CONVOLUTION: 3}
GRADIENTS = {
    'few pixels': (energy, (3, 3, 8, 6), {PRODUCT: 3}, THREE),
    'overhanging': (
        lambda x, k: energy(x, k, 2),
        (3, 3, 8, 6),
        {PRODUCT: 3},
        THREE,
    ),
    'one channel': (
        lambda x, k: energy(x[..., :1], k, 8),
        (3, 3, 1, 6),
        {PRODUCT: 3},
        THREE,
    ),
    'in a loop': (
        lambda x, k: energy(x, k, 8, in_loop=True),
        (3, 3, 8, 6),
        {PRODUCT: 3},
        THREE,
    ),
    'depthwise': (
        lambda x, k: energy(x, k, 8, feature_group_count=8),
        (3, 3, 1, 8),
        {},
        THREE,
    ),
    'pointwise': (energy, (1, 1, 8, 6), {PRODUCT: 3}, {PRODUCT: 3}),
    'large': (lambda x, k: energy(x, k, 8), (3, 3, 8, 6), THREE, THREE),
}


@EVERY_PLATFORM
@pytest.mark.parametrize('name', GRADIENTS)
def test_the_gradient_of_a_convolution_has_the_form_of_its_platform(name, platform):
    function, kernel, on_cpu, elsewhere = GRADIENTS[name]
    arguments = normal(0, 2, 8, 8, 8), normal(1, *kernel)
    text = lowered(jax.value_and_grad(function, (0, 1)), *arguments, platform=platform)
    expected = on_cpu if platform == 'cpu' else elsewhere
    assert {kind: n for kind, n in numbers(text).items() if n} == expected


@EVERY_PLATFORM
def test_the_gradient_of_max_pool_has_the_form_of_its_platform(platform):
    x = normal(0, 2, 8, 8, 3)
    text = lowered(jax.value_and_grad(pooled_energy), x, platform=platform)
    operations = numbers(text)
    on_cpu = platform == 'cpu'
    assert operations[SCATTER] == (not on_cpu)
    assert operations[MAXIMUM] == (not on_cpu)


@EVERY_PLATFORM
def test_inference_uses_xlas_operations_if_only_their_derivatives_are_slow(platform):
    x, kernel = normal(0, 2, 8, 8, 8), normal(1, 3, 3, 8, 6)
    operations = numbers(lowered(energy, x, kernel, platform=platform))
    assert operations[CONVOLUTION] == 1 and not operations[PRODUCT]
    assert numbers(lowered(pooled_energy, x, platform=platform))[MAXIMUM] == 1


@pytest.mark.parametrize('platform', OTHERS)
def test_other_platforms_have_the_program_of_flax(platform, monkeypatch):
    """Except for 1x1 convolutions, the gradient of ResNet uses `nn.Conv` and `nn.max_pool`."""
    model = resnet.make('18', num_classes=3).clone(depths=(1, 1))
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def value(params, variables, image):
        variables = {**variables, 'params': params}
        return jnp.sum(model.apply(variables, image)[0] ** 2)

    def count_operations():
        arguments = variables['params'], variables, image
        # A new function each time, or JAX would return the program that it has cached.
        gradient = jax.grad(lambda *arguments: value(*arguments))
        return numbers(lowered(gradient, *arguments, platform=platform))

    ours = count_operations()
    monkeypatch.setattr(convolution, 'Conv', nn.Conv)
    monkeypatch.setattr(
        pooling, 'max_pool', lambda x, window, strides: nn.max_pool(x, window, strides)
    )
    flax = count_operations()
    pointwise = flax[CONVOLUTION] - ours[CONVOLUTION]
    assert 0 < pointwise <= 3 and ours[PRODUCT] == flax[PRODUCT] + pointwise
    assert ours[SCATTER] == flax[SCATTER] == 1


def test_no_branch_is_left_in_a_compiled_program():
    x, kernel = normal(0, 2, 8, 8, 8), normal(1, 3, 3, 8, 6)

    def value(x, kernel):
        return energy(pooling.max_pool(x, (2, 2)), kernel)

    gradient = jax.jit(jax.grad(value, (0, 1))).lower(x, kernel)
    assert 'stablehlo.case' in gradient.as_text()  # of one branch
    assert 'conditional' not in gradient.compile().as_text()


@pytest.mark.parametrize(
    'name', ['few pixels', 'overhanging', 'in a loop', 'depthwise']
)
def test_a_program_for_all_platforms_runs_here(name):
    function, kernel, *_ = GRADIENTS[name]
    arguments = normal(0, 2, 8, 8, 8), normal(1, *kernel)
    gradient = jax.jit(jax.grad(function, (0, 1)))
    exported = jax.export.export(gradient, platforms=PLATFORMS)(*arguments)
    read = jax.export.deserialize(exported.serialize())
    for computed, expected in zip(
        read.call(*arguments), gradient(*arguments), strict=True
    ):
        np.testing.assert_allclose(computed, expected, atol=1e-5)


def test_within_for_tflite_a_program_has_no_branch_and_one_depthwise_operation():
    model = mobilenet_v2.make('0.5', num_classes=3).clone(
        stages=mobilenet_v2.STAGES[:2]
    )
    image = normal(0, 1, 16, 16, 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = random_leaves(shapes)
    answer = jax.jit(lambda image: model.apply(variables, image)[0])

    def text():
        return answer.lower(image).as_text()

    depthwise = sum(stage.depth for stage in model.stages)
    before = text()
    expected = answer(image)
    # JAX caches both programs separately.
    with forms.for_tflite():
        within = text()
        computed = answer(image)
    assert 'stablehlo.case' not in within and text() == before
    gained = numbers(within)[CONVOLUTION] - numbers(before)[CONVOLUTION]
    assert gained == depthwise
    np.testing.assert_allclose(computed, expected, atol=1e-5)


def test_lenet_takes_a_batch_of_unknown_size_as_exports_do():
    (batch,) = jax.export.symbolic_shape('batch')
    model = lenet.make('4-4-8', num_classes=3)

    def images(count):
        return jax.ShapeDtypeStruct((count, 8, 8, 1), jnp.float32)

    variables = jax.eval_shape(model.init, jax.random.key(0), images(1))
    logits, _ = jax.eval_shape(model.apply, variables, images(batch))
    assert logits.shape == (batch, 3)
