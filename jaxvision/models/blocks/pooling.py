"""Max pooling, with the derivative that is fastest on the platform in use."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.models.blocks import forms
from jaxvision.models.types import Images

Pooled = Float[Array, 'b h2 w2 c']
Pair = tuple[int, int]


def max_pool(
    x: Images,
    window: Pair,
    strides: Pair | None = None,
) -> Pooled:
    """Take the maximum of each window, without padding.

    Last rows and columns that do not fill a window are left out.
    Derivatives on a CPU are computed by `maximum_by_taps` instead of XLA's operation.

    Args:
        x: [B, H, W, C].
        window: height and width of a window in pixels.
        strides: strides along height and width. None: windows side by side, without overlap.

    Returns:
        [B, H2, W2, C].
    """
    strides = strides or window

    def one_operation(x: Images) -> Pooled:
        return nn.max_pool(x, window, strides)

    def by_taps(x: Images) -> Pooled:
        return maximum_by_taps(x, window, strides)

    differentiable = forms.by_platform(cpu=by_taps, default=one_operation)
    pool = forms.differentiated_as(one_operation, differentiable)
    return pool(x)


def maximum_by_taps(
    x: Images,
    window: Pair,
    strides: Pair,
) -> Pooled:
    """Take the maximum over the columns of each window, then over its rows, without padding.

    This form serves derivatives on a CPU. There its gradient is several times faster than the
    select-and-scatter of `nn.max_pool`. Both pass the gradient of a tie to the first pixel.

    Args:
        x: [B, H, W, C].
        window: height and width of a window in pixels.
        strides: strides along height and width.

    Returns:
        [B, H2, W2, C].
    """
    for axis in (2, 1):
        taps = _taps(x, axis, window[axis - 1], strides[axis - 1])
        x = functools.reduce(_first_maximum, taps)
    return x


def _taps(
    x: Images,
    axis: int,
    window: int,
    stride: int,
) -> list[Array]:
    """The first, second, ... pixel along an axis of all windows."""
    size = x.shape[axis]
    taps = range(window)
    if stride == window and size % window == 0:
        before = x.shape[:axis]
        after = x.shape[axis + 1 :]
        tiled = x.reshape(*before, size // window, window, *after)
        return [lax.index_in_dim(tiled, i, axis + 1, keepdims=False) for i in taps]
    reach = (size - window) // stride * stride + 1
    return [lax.slice_in_dim(x, i, i + reach, stride, axis) for i in taps]


def _first_maximum(a: Array, b: Array) -> Array:
    """`jnp.maximum`, NaN included, with the gradient of a tie for `a` alone."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
