import functools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from jaxvision.core import keys as named_keys
from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, pooling


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


CONVOLUTIONS = {
    '1x1': dict(kernel_size=(1, 1), use_bias=False),
    '1x1 strided': dict(kernel_size=(1, 1), strides=(2, 3)),
    '1x1 strided VALID': dict(kernel_size=(1, 1), strides=2, padding='VALID'),
    '3x3 strided': dict(kernel_size=(3, 3), strides=2, padding=1),
}
FALLBACKS = {
    '1x1 padded': dict(kernel_size=(1, 1), padding=1),
    '1x1 grouped': dict(kernel_size=(1, 1), feature_group_count=2),
    '1x1 input dilation': dict(kernel_size=(1, 1), input_dilation=2, padding=0),
    '1x1 kernel dilation': dict(kernel_size=(1, 1), kernel_dilation=2),
    '1x1 circular': dict(kernel_size=(1, 1), padding='CIRCULAR'),
    '3x1 dilated, grouped': dict(
        kernel_size=(3, 1), kernel_dilation=2, feature_group_count=2
    ),
}


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize(
    'options', (CONVOLUTIONS | FALLBACKS).values(), ids=CONVOLUTIONS | FALLBACKS
)
def test_conv_equals_flax(options):
    x = normal(0, 2, 7, 8, 4)
    ours, theirs = convolution.Conv(6, **options), nn.Conv(6, **options)
    variables = jax.jit(ours.init)(jax.random.key(2), x)
    expected = jax.jit(theirs.init)(jax.random.key(2), x)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert_close(ours.apply(variables, x), theirs.apply(variables, x))


# The last image has few pixels, and the first one channel.
@pytest.mark.parametrize(
    'name, shape',
    [
        *((name, (5, 6, 4)) for name in CONVOLUTIONS),
        ('1x1', (5, 6, 1)),
        ('3x3 strided', (5, 6, 1)),
        ('1x1 strided', (3, 4, 4)),
        ('3x3 strided', (3, 4, 4)),
    ],
)
def test_the_derivatives_of_conv_equal_flax(name, shape):
    options = CONVOLUTIONS[name]
    x, dx = normal(0, 2, *shape), normal(1, 2, *shape)

    @partial(jax.jit, static_argnums=0)
    def derivatives(conv, variables):
        def value(x, variables):
            return jnp.sum(jnp.sin(conv.apply(variables, x)))

        def gradient(x):
            return jax.grad(value)(x, variables)

        return {
            'vmap': jax.vmap(lambda x: conv.apply(variables, x))(x),
            'forward': jax.jvp(lambda x: conv.apply(variables, x), (x,), (dx,)),
            'reverse': jax.grad(value, (0, 1))(x, variables),
            'forward over reverse': jax.jvp(gradient, (x,), (dx,)),
            'reverse over reverse': jax.grad(lambda x: jnp.sum(gradient(x) ** 2))(x),
        }

    variables = jax.jit(convolution.Conv(6, **options).init)(jax.random.key(2), x)
    jax.tree.map(
        assert_close,
        derivatives(convolution.Conv(6, **options), variables),
        derivatives(nn.Conv(6, **options), variables),
    )


@pytest.mark.parametrize(
    'kernel, strides, padding',
    [
        ((3, 3), (1, 1), 'SAME'),
        ((5, 5), (2, 2), 'SAME'),
        ((3, 3), (2, 1), [(1, 1), (0, 2)]),
        ((7, 1), (1, 1), 'VALID'),
    ],
)
def test_depthwise_convolution_and_its_derivatives_equal_xla(kernel, strides, padding):
    image, weights = normal(0, 2, 9, 8, 6), normal(1, *kernel, 1, 6)
    dimensions = dict(dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=6)

    def ours(x, k):
        return convolution.convolve(x, k, strides, padding, **dimensions)

    def xla(x, k):
        return jax.lax.conv_general_dilated(x, k, strides, padding, **dimensions)

    def energy(conv, x, k):
        y = conv(x, k)
        return jnp.sum(jnp.sin(y)), y

    def value_and_derivatives(conv):
        function = functools.partial(energy, conv)
        return jax.jit(jax.value_and_grad(function, (0, 1), has_aux=True))(
            image, weights
        )

    jax.tree.map(assert_close, value_and_derivatives(ours), value_and_derivatives(xla))


@pytest.mark.parametrize(
    'name, kernel, options',
    [
        ('pointwise', (1, 1, 4, 6), dict(preferred_element_type=jnp.float32)),
        ('small', (3, 3, 4, 6), dict(preferred_element_type=jnp.float32)),
        ('small', (3, 3, 4, 6), dict(preferred_element_type=None)),
        ('pointwise', (1, 1, 4, 6), dict(batch_group_count=1)),
        ('small', (3, 3, 4, 6), dict(rhs_dilation=[2, 2])),
    ],
)
def test_no_form_of_a_convolution_ignores_an_option(name, kernel, options):
    image = normal(0, 2, 4, 4, 4).astype(jnp.bfloat16)
    weights = normal(1, *kernel).astype(jnp.bfloat16)
    options['dimension_numbers'] = ('NHWC', 'HWIO', 'NHWC')
    ours = convolution.convolve(image, weights, (1, 1), 'SAME', **options)
    xla = jax.lax.conv_general_dilated(image, weights, (1, 1), 'SAME', **options)
    assert ours.dtype == xla.dtype and ours.shape == xla.shape
    np.testing.assert_allclose(
        np.float32(ours), np.float32(xla), atol=0.02 * np.abs(np.float32(xla)).max()
    )


@pytest.mark.parametrize(
    'options, message',
    [
        ({}, 'dimension_numbers=None: expected channels last'),
        (
            {'dimension_numbers': ('NCHW', 'OIHW', 'NCHW')},
            'dimension_numbers=.*: expected channels last',
        ),
        ({'batch_group_count': 2}, 'batch_group_count=2: expected 1'),
    ],
)
def test_a_convolution_with_another_layout_is_refused(options, message):
    image = normal(0, 2, 4, 4, 4)
    weights = normal(1, 4, 4, 4, 4)
    with pytest.raises(ValueError, match=f'^{message}'):
        convolution.convolve(image, weights, (1, 1), 'SAME', **options)


@pytest.mark.parametrize(
    'size, options',
    [
        ((1, 2), dict()),
        ((1, 2), dict(strides=2)),
        ((2, 7), dict(padding=((2, 1), (1, 2)))),
        ((1, 2), dict(kernel_size=(7, 5), padding=3)),
        ((2, 7), dict(kernel_size=(7, 5), padding=3)),
        ((2, 7), dict(kernel_dilation=2)),
        ((1, 2), dict(feature_group_count=2)),
    ],
    ids=str,
)
def test_conv_on_images_smaller_than_the_kernel_equals_flax(size, options):
    x = normal(0, 2, *size, 4)
    options = {'kernel_size': (3, 3), 'padding': 1, **options}
    ours, theirs = convolution.Conv(6, **options), nn.Conv(6, **options)
    variables = jax.jit(theirs.init)(jax.random.key(2), x)

    def value(conv, x, variables):
        return jnp.sum(jnp.sin(conv.apply(variables, x)))

    assert ours.apply(variables, x).shape == theirs.apply(variables, x).shape

    def value_and_derivatives(conv):
        function = functools.partial(value, conv)
        return jax.jit(jax.value_and_grad(function, (0, 1)))(x, variables)

    jax.tree.map(
        assert_close, value_and_derivatives(ours), value_and_derivatives(theirs)
    )


@pytest.mark.parametrize('size', [(5, 6, 3, 3), (6, 6, 1, 1), (9, 4, 5, 3)])
def test_conv_equals_the_correlation_of_scipy(size):
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=size[:2]), rng.normal(size=size[2:])
    conv = convolution.Conv(1, kernel.shape, use_bias=False)
    y = conv.apply(
        {'params': {'kernel': kernel[..., None, None]}}, image[None, ..., None]
    )
    np.testing.assert_allclose(
        y[0, ..., 0], correlate2d(image, kernel, 'same'), atol=1e-5
    )


def test_conv_with_a_sobel_kernel():
    image = jnp.arange(1.0, 10).reshape(1, 3, 3, 1)
    sobel = jnp.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[..., None, None]
    y = convolution.Conv(1, (3, 3), use_bias=False).apply(
        {'params': {'kernel': sobel}}, image
    )
    np.testing.assert_array_equal(
        y[0, ..., 0], [[9, 6, -9], [20, 8, -20], [21, 6, -21]]
    )


@pytest.mark.parametrize(
    'window, strides',
    [((2, 2), None), ((3, 3), (2, 2)), ((3, 2), (1, 2)), ((2, 3), (2, 1))],
)
@pytest.mark.parametrize('ties', [False, True])
def test_max_pool_equals_flax_in_values_and_gradient(window, strides, ties):
    x = normal(0, 2, 7, 8, 3)
    x = jnp.round(x) if ties else x

    def ours(x):
        return pooling.max_pool(x, window, strides)

    def theirs(x):
        return nn.max_pool(x, window, strides or window)

    def energy(pool, x):
        y = pool(x)
        return jnp.sum(y * jnp.cos(y)), y

    def value_and_gradient(pool):
        function = functools.partial(energy, pool)
        (_, value), gradient = jax.jit(jax.value_and_grad(function, has_aux=True))(x)
        return value, gradient

    expected = theirs(x)
    np.testing.assert_array_equal(ours(x), expected)
    vmapped = jax.jit(jax.vmap(ours))(x[:, None])
    np.testing.assert_array_equal(vmapped[:, 0], expected)
    value, gradient = value_and_gradient(ours)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(gradient, value_and_gradient(theirs)[1], atol=1e-6)


def test_max_pool_is_differentiable_twice_and_forward():
    x = normal(0, 1, 2, 4, 1)

    def energy(x):
        return jnp.sum(pooling.max_pool(x, (2, 2)) ** 3)

    # Where no two pixels are equal, each window is its largest pixel: 6 x on the diagonal.
    largest = pooling.max_pool(x, (2, 2)).repeat(2, 1).repeat(2, 2) == x
    expected = np.diag(np.where(largest, 6 * x, 0).reshape(-1))
    for second in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        np.testing.assert_allclose(
            jax.jit(second(energy))(x).reshape(8, 8), expected, atol=1e-5
        )


def test_max_pool_keeps_nan():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 0, 0, 0].set(jnp.nan)
    np.testing.assert_array_equal(
        pooling.max_pool(x, (2, 2))[0, ..., 0], [[np.nan, 7], [13, 15]]
    )


@pytest.mark.parametrize('running', [True, False])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_batch_norm_equals_flax(running, dtype):
    x = (3 + 2 * normal(0, 4, 5, 6, 7)).astype(dtype)
    variables = {
        'params': {'scale': normal(1, 7), 'bias': normal(2, 7)},
        'batch_stats': {'mean': normal(3, 7), 'var': 1 + normal(4, 7) ** 2},
    }

    def outputs(norm):
        def value(variables, x):
            y, new = norm(use_running_average=running, momentum=0.9, dtype=dtype).apply(
                variables, x, mutable=['batch_stats']
            )
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), (y, new)

        gradient, (y, new) = jax.grad(value, argnums=1, has_aux=True)(variables, x)
        return gradient, y, new

    tolerance = 1e-5 if dtype == jnp.float32 else 0.04
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a.astype(jnp.float32), b.astype(jnp.float32), atol=tolerance, rtol=tolerance
        ),
        outputs(layers.BatchNorm),
        outputs(nn.BatchNorm),
    )


@pytest.mark.parametrize('layer', [layers.Dropout, layers.DropPath])
def test_dropout_masks_belong_to_examples_in_any_order(layer):
    x = jnp.ones((6, 8, 8))
    keys = named_keys.per_example(jax.random.key(0), jnp.arange(6))
    order = jnp.array([3, 1, 5, 0, 2, 4])
    y = layer(0.5).apply({}, x, keys)
    np.testing.assert_array_equal(layer(0.5).apply({}, x[order], keys[order]), y[order])
    assert (y[0] != y[1]).any() or (y[0] != y[2]).any()
    np.testing.assert_array_equal(layer(0.5).apply({}, x), x)


@pytest.mark.parametrize(
    'layer, shape', [(layers.Dropout, (4, 10000)), (layers.DropPath, (5000,))]
)
def test_dropping_keeps_the_mean(layer, shape):
    y = layer(0.3).apply(
        {},
        jnp.ones((shape[0], *shape[1:], 1)),
        jax.random.split(jax.random.key(0), shape[0]),
    )
    assert set(np.unique(y).tolist()) == {0, np.float32(1 / 0.7).item()}
    assert abs(y.mean() - 1) < 0.03  # over three standard errors


def test_drop_path_drops_whole_examples():
    keys = jax.random.split(jax.random.key(0), 32)
    y = layers.DropPath(0.5).apply({}, jnp.ones((32, 3, 3)), keys)
    assert all(len(np.unique(example)) == 1 for example in y)


def test_two_dropouts_of_one_model_have_different_masks():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, keys):
            return layers.Dropout(0.5)(x, keys), layers.Dropout(0.5)(x, keys)

    first, second = Two().apply(
        {}, jnp.ones((2, 50)), jax.random.split(jax.random.key(0), 2)
    )
    assert (first != second).any()


def test_an_unknown_option_value_is_an_error_that_lists_the_choices():
    with pytest.raises(
        UserError, match="model.options.norm='layer': expected one of 'batch', 'group'"
    ):
        layers.normalization('layer', True, jnp.float32, jnp.float32)
