"""The layers that the models share: normalisation, dropout, drop path, heads."""

import re
from collections.abc import Callable, Iterable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from jaxvision.core import keys as named_keys
from jaxvision.core.errors import UserError

he_normal = nn.initializers.variance_scaling(
    2.0, 'fan_out', 'normal'
)  # He et al., 2015


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
