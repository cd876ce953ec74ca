"""The layers that the models share: convolution, pooling, normalisation, dropout, drop path."""

import contextlib
import contextvars
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from jaxvision.core import keys as named_keys
from jaxvision.core.errors import UserError

he_normal = nn.initializers.variance_scaling(
    2.0, 'fan_out', 'normal'
)  # He et al., 2015


def convolve(
    image: Float[Array, 'b *space c_in'],
    kernel: Float[Array, '*window c c_out'],
    strides: tuple[int, ...],
    padding: str | list[tuple[int, int]] | tuple[tuple[int, int], ...],
    in_loop: bool = False,
    **options,
) -> Float[Array, 'b *out c_out']:
    """`lax.conv_general_dilated`, channels last; as one matrix product where the kernel is 1x1 or
    larger than the image, and, where it is differentiated, of images of one channel or, on a CPU,
    where few pixels come out or `in_loop`: in the body of a scan, where XLA compiles and runs its
    gradients slowly. A depthwise one, on a CPU, as a sum over its taps, but not within
    `depthwise_operations`.

    A matrix product is faster on a CPU in both directions, and stays differentiable to any order.
    (XLA's own 3x3 convolution took 24 times as long on 2x2 pixels as on 4x4, of 512 channels, and
    its depthwise ones 6 to 70 times as long as their taps, 4 to 14 times where differentiated.)
    """
    window, space = kernel.shape[:-2], image.shape[1:-1]
    pads = (
        lax.padtype_to_pads(space, window, strides, padding)
        if isinstance(padding, str)
        else list(padding)
    )
    groups, on_cpu = (
        options.get('feature_group_count', 1),
        jax.default_backend() == 'cpu',
    )
    dilated = any(
        d != 1
        for name in ('lhs_dilation', 'rhs_dilation')
        for d in options.get(name) or ()
    )
    plain = groups == 1 and not dilated
    depthwise = groups == image.shape[-1] == kernel.shape[-1] > 1 and not dilated
    pointwise = all(size == 1 for size in window) and not any(p != (0, 0) for p in pads)
    overhanging = any(
        side < size <= side + sum(pad) for size, side, pad in zip(window, space, pads)
    )
    few = (
        math.prod(
            size * ((side + sum(pad) - size) // stride + 1)
            for size, side, pad, stride in zip(window, space, pads, strides)
        )
        <= 144
    )  # as 3x3 taps on 4x4 pixels

    def direct(image, kernel):
        return lax.conv_general_dilated(image, kernel, strides, padding, **options)

    def by_taps(image, kernel):
        taps = _patches(image, window, strides, pads)
        return sum(
            tap * weight
            for tap, weight in zip(taps, kernel.reshape(-1, kernel.shape[-1]))
        )

    def product(image, kernel):
        patches = jnp.concatenate(_patches(image, window, strides, pads), -1)
        # Matrices both, because XLA transposes the weight gradient's operands otherwise.
        flat = jnp.matmul(
            patches.reshape(-1, patches.shape[-1]),
            kernel.reshape(-1, kernel.shape[-1]),
            precision=options.get('precision'),
        )
        return flat.reshape(*patches.shape[:-1], -1)

    if plain and (pointwise or overhanging):
        return product(image, kernel)
    if plain and (image.shape[-1] == 1 or on_cpu and (few or in_loop)):
        return _differentiated_as(product, direct)(image, kernel)
    if depthwise and on_cpu and not _DEPTHWISE_OPERATIONS.get():
        return by_taps(image, kernel)
    return direct(image, kernel)


_DEPTHWISE_OPERATIONS = contextvars.ContextVar('depthwise operations', default=False)


@contextlib.contextmanager
def depthwise_operations() -> Iterator[None]:
    """Within, a depthwise convolution is one operation, that export formats know and quantise."""
    token = _DEPTHWISE_OPERATIONS.set(True)
    try:
        yield
    finally:
        _DEPTHWISE_OPERATIONS.reset(token)


def _differentiated_as(form: Callable, function: Callable) -> Callable:
    """`function`, but `form`, which has the same values, wherever it is differentiated: a program
    that only infers keeps the operations that compilers and export formats know."""
    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(lambda primals, tangents: jax.jvp(form, primals, tangents))
    return wrapped


def _patches(image, window, strides, pads):
    """The pixels [B, *out, C] under each tap of the window."""
    image = jnp.pad(image, [(0, 0), *pads, (0, 0)])
    out = [
        (side - size) // stride + 1
        for side, size, stride in zip(image.shape[1:-1], window, strides)
    ]
    return [
        image[
            :,
            *(
                slice(i, i + (n - 1) * stride + 1, stride)
                for i, n, stride in zip(tap, out, strides)
            ),
        ]
        for tap in np.ndindex(*window)
    ]


# `flax.linen.Conv`, in its arguments, parameters and values, computed by `convolve`.
Conv = partial(nn.Conv, conv_general_dilated=convolve)


def max_pool(
    x: Float[Array, 'b h w c'],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
) -> Float[Array, 'b h2 w2 c']:
    """`nn.max_pool` without padding, but `strides` default to the window.

    Where it is differentiated, to any order, it takes the maximum over the window's columns, then
    rows, whose gradient is several times faster on a CPU than the select-and-scatter of
    `nn.max_pool`.
    """
    strides = strides or window
    return _differentiated_as(
        lambda x: _max_by_taps(x, window, strides),
        lambda x: nn.max_pool(x, window, strides),
    )(x)


def _max_by_taps(x, window, strides):
    for axis in (2, 1):
        taps = _taps(x, axis, window[axis - 1], strides[axis - 1])
        x = functools.reduce(_first_maximum, taps)
    return x


def _taps(x, axis, window, stride):
    """The window's 1st, 2nd, ... pixel along `axis`, for all windows."""
    size = x.shape[axis]
    if stride == window and size % window == 0:
        tiled = x.reshape(*x.shape[:axis], size // window, window, *x.shape[axis + 1 :])
        return [
            lax.index_in_dim(tiled, i, axis + 1, keepdims=False) for i in range(window)
        ]
    reach = (size - window) // stride * stride + 1
    return [lax.slice_in_dim(x, i, i + reach, stride, axis) for i in range(window)]


def _first_maximum(a, b):
    """`jnp.maximum`, NaN included, but at a tie the gradient goes to `a` alone."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) over all axes but the last.

    Variables and values are those of `flax.linen.BatchNorm`; written as one scale and shift a
    channel, which XLA runs faster on a CPU in both directions. Statistics are at least float32.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: Float[Array, '*b c'], use_running_average: bool = False
    ) -> Float[Array, '*b c']:
        channels = x.shape[-1:]
        precise = jnp.promote_types(self.param_dtype, jnp.float32)
        scale = self.param('scale', self.scale_init, channels, self.param_dtype)
        bias = self.param('bias', nn.initializers.zeros, channels, self.param_dtype)
        running_mean = self.variable(
            'batch_stats', 'mean', jnp.zeros, channels, precise
        )
        running_var = self.variable('batch_stats', 'var', jnp.ones, channels, precise)

        x = x.astype(precise)
        if self.use_running_average or use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            axes = range(x.ndim - 1)
            mean = x.mean(axes)
            var = jnp.maximum(0, jnp.square(x).mean(axes) - jnp.square(mean))
            if not self.is_initializing():
                m = self.momentum
                running_mean.value = m * running_mean.value + (1 - m) * mean
                running_var.value = m * running_var.value + (1 - m) * var

        gain = scale * lax.rsqrt(var + self.epsilon)
        return (x * gain + (bias - mean * gain)).astype(self.dtype)


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift are the example's own, where there is a `condition`: its
    class (Dumoulin et al., 2017), its latent (Chen et al., 2019), of about unit length."""

    train: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], condition: Float[Array, 'b d'] | None
    ) -> Float[Array, 'b h w c']:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = BatchNorm(not self.train, name='norm', **types)(x)
        if condition is None:
            return x
        own = nn.Dense(
            2 * x.shape[-1],
            use_bias=False,
            kernel_init=nn.initializers.normal(0.1),
            name='own',
            **types,
        )(condition)
        scale, shift = jnp.split(own[:, None, None], 2, -1)
        return x * (1 + scale) + shift


class Dropout(nn.Module):
    """Dropout (Srivastava et al., 2014) whose mask belongs to the example, not to its place.

    The mask is a function of (the example's key, this layer's path): it follows the example
    through any batch order, sharding or accumulation. Without keys it is the identity.
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b *rest'], keys: Key[Array, 'b'] | None = None
    ) -> Float[Array, 'b *rest']:
        return _drop(x, keys, self.rate, '/'.join(self.path), x.shape[1:])


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drops the whole branch `x` of an example.

    Keys as in `Dropout`; the surviving branches are scaled by 1 / (1 - rate).
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b *rest'], keys: Key[Array, 'b'] | None = None
    ) -> Float[Array, 'b *rest']:
        return _drop(x, keys, self.rate, '/'.join(self.path), (1,) * (x.ndim - 1))


def _drop(x, keys, rate, name, mask_shape):
    if keys is None or rate == 0:
        return x
    keep = partial(jax.random.bernoulli, p=1 - rate, shape=mask_shape)
    mask = jax.vmap(keep)(named_keys.fold_name(keys, name))
    return jnp.where(mask, x / (1 - rate), 0).astype(x.dtype)


def normalization(
    kind: str,
    train: bool,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> Callable[..., nn.Module]:
    """The layer class of a `norm` option: 'batch' or 'group' (32 groups).

    `momentum` is the share of the running statistics that a training step keeps.
    """
    common = dict(epsilon=epsilon, dtype=dtype, param_dtype=param_dtype)
    one_of('norm', kind, ('batch', 'group'))
    if kind == 'group':
        return partial(nn.GroupNorm, **common)  # Wu and He, 2018
    return partial(
        BatchNorm, use_running_average=not train, momentum=momentum, **common
    )


def head(num_classes: int, param_dtype: DTypeLike) -> Callable[[Array], Array]:
    """The last layer, in the parameters' precision also when the network computes in bfloat16.

    It starts small (Goyal et al., 2017), so that all classes are about equally likely. Of no
    classes, where a model is wanted for its intermediates, it lets the features pass.
    """
    if not num_classes:
        return lambda features: features
    return nn.Dense(
        num_classes,
        kernel_init=nn.initializers.normal(0.01),
        dtype=param_dtype,
        param_dtype=param_dtype,
        name='head',
    )


def projection_score(
    x: Float[Array, 'b c'],
    label: Int[Array, 'b'] | None,
    classes: int,
    param_dtype: DTypeLike,
    normalized: Callable = lambda layer: layer,
) -> Float[Array, 'b']:
    """A discriminator's score: a linear function of the features, and, of `classes` > 0, their
    product with the label's embedding (Miyato and Koyama, 2018)."""
    dense = partial(nn.Dense, dtype=param_dtype, param_dtype=param_dtype)
    score = normalized(dense(1, name='head'))(x)[:, 0]
    if not classes:
        return score
    # The product with an embedding is that class's entry of a linear layer.
    agreement = normalized(dense(classes, use_bias=False, name='of_class'))(x)
    return score + jnp.sum(agreement * jax.nn.one_hot(label, classes), -1)


def stages(model: str, variant: str, depth: int) -> tuple[tuple[int, int], ...]:
    """((width, layers), ...) of a variant like '16-32-64' or '16x1-64x2'; `depth` where none is
    given."""
    if not re.fullmatch(r'(-[1-9]\d*(x[1-9]\d*)?)+', '-' + variant):
        raise UserError(
            f"model.variant={variant!r} of {model}: give the stages' widths, as "
            "'16-32-64'"
        )
    parts = [stage.partition('x') for stage in variant.split('-')]
    return tuple((int(width), int(layers or depth)) for width, _, layers in parts)


def one_of(field: str, value: object, choices: Iterable) -> None:
    """Raises a UserError that lists the choices, unless `value` is one of them."""
    if value not in choices:
        known = ', '.join(repr(choice) for choice in choices)
        raise UserError(f'model: {field}={value!r} is unknown; choose one of {known}')
