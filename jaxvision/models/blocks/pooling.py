"""Pooling, with the derivative that is fastest on the platform it runs on."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.models.blocks import forms


def max_pool(
    x: Float[Array, 'b h w c'],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
) -> Float[Array, 'b h2 w2 c']:
    """Take the maximum of each window, without padding, as `nn.max_pool` does.

    On a CPU, where it is differentiated, `maximum_by_taps` replaces XLA's operation.

    Args:
        x: [B, H, W, C].
        window: its height and width in pixels.
        strides: those along height and width; None for those of windows side by side.

    Returns:
        [B, H2, W2, C].
    """
    strides = strides or window

    def one_operation(x):
        return nn.max_pool(x, window, strides)

    def by_taps(x):
        return maximum_by_taps(x, window, strides)

    derived = forms.by_platform(cpu=by_taps, default=one_operation)
    return forms.differentiated_as(one_operation, derived)(x)


def maximum_by_taps(
    x: Float[Array, 'b h w c'], window: tuple[int, int], strides: tuple[int, int]
) -> Float[Array, 'b h2 w2 c']:
    """Take the maximum over each window's columns, then over its rows.

    It is used on a CPU where it is differentiated. Its gradient is several times faster there than
    the select-and-scatter of `nn.max_pool`. At a tie both pass the gradient to the first pixel.

    Args:
        x: [B, H, W, C].
        window: its height and width in pixels.
        strides: those along height and width.

    Returns:
        [B, H2, W2, C].
    """
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
