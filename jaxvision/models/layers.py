"""The layers that the models share: convolution, pooling, normalisation, dropout, drop path."""

from collections.abc import Callable, Iterable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision import keys as named_keys
from jaxvision.errors import UserError

he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # He et al., 2015


def convolve(
    image: Float[Array, 'b *space c_in'],
    kernel: Float[Array, '*window c c_out'],
    strides: tuple[int, ...],
    padding: str | list[tuple[int, int]] | tuple[tuple[int, int], ...],
    **options,
) -> Float[Array, 'b *out c_out']:
    """`lax.conv_general_dilated`, channels last, with 1x1 kernels as one matrix product.

    A matrix product is faster on a CPU in both directions, and stays differentiable to any order.
    """
    space = range(kernel.ndim - 2)
    pointwise = all(kernel.shape[i] == 1 for i in space)
    padded = not isinstance(padding, str) and any(p != (0, 0) for p in padding)
    grouped = options.get('feature_group_count', 1) != 1
    upsampled = any(d != 1 for d in options.get('lhs_dilation') or ())
    if not pointwise or padded or grouped or upsampled:
        return lax.conv_general_dilated(image, kernel, strides, padding, **options)
    image = image[:, *(slice(None, None, stride) for stride in strides)]
    contract_channels = (((image.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(image, kernel.reshape(kernel.shape[-2:]), contract_channels,
                           precision=options.get('precision'))


# `flax.linen.Conv`, in its arguments, parameters and values, computed by `convolve`.
Conv = partial(nn.Conv, conv_general_dilated=convolve)


def max_pool(
    x: Float[Array, '*b h w c'],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
    padding: str | tuple[tuple[int, int], tuple[int, int]] = 'VALID',
) -> Float[Array, '*b h2 w2 c']:
    """Max pooling; `strides` default to the window.

    Windows that tile the picture are a reshape and a max, whose gradient is several times faster
    on a CPU than the select-and-scatter of `nn.max_pool`. The two gradients differ at ties only:
    here tied pixels share it equally (so it commutes with flips), there the first one takes all.
    After a ReLU the usual tie, at zero, passes no gradient further either way.
    """
    h, w, c = x.shape[-3:]
    tiles = strides in (None, window) and h % window[0] == 0 and w % window[1] == 0
    if not tiles or padding != 'VALID':
        return nn.max_pool(x, window, strides or window, padding)
    tiled = x.reshape(*x.shape[:-3], h // window[0], window[0], w // window[1], window[1], c)
    return tiled.max(axis=(-4, -2))


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
    kind: str, train: bool, dtype: DTypeLike, param_dtype: DTypeLike, momentum: float = 0.9
) -> Callable[..., nn.Module]:
    """The layer class of a `norm` option: 'batch' (float32 statistics) or 'group' (32 groups).

    `momentum` is the share of the running statistics that a training step keeps.
    """
    common = dict(epsilon=1e-5, dtype=dtype, param_dtype=param_dtype)
    one_of('norm', kind, ('batch', 'group'))
    if kind == 'group':
        return partial(nn.GroupNorm, **common)  # Wu and He, 2018
    return partial(nn.BatchNorm, use_running_average=not train, momentum=momentum, **common)


def one_of(field: str, value: object, choices: Iterable) -> None:
    """Raises a UserError that lists the choices, unless `value` is one of them."""
    if value not in choices:
        known = ', '.join(repr(choice) for choice in choices)
        raise UserError(f'model: {field}={value!r} is unknown; choose one of {known}')
