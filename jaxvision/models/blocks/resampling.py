"""Feature maps made larger and smaller: by whole factors, differentiable to any order, and of
operations that TFLite has, whose arrays have few axes."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution


def pixel_shuffle(x: Float[Array, 'b h w d'], scale: int) -> Float[Array, 'b h2 w2 c']:
    """d = scale * scale * c channels to `scale` times as many rows and columns (Shi et al., 2016).

    Channel (i * scale + j) * c + k becomes channel k of the pixel (i, j) of a block, as in
    TensorFlow's depth_to_space.
    """
    b, h, w, d = x.shape
    x = x.reshape(b * h, w, scale, d // scale).swapaxes(1, 2)
    return x.reshape(b, h * scale, w * scale, d // scale**2)


def pixel_unshuffle(
    x: Float[Array, 'b h w c'], scale: int
) -> Float[Array, 'b h2 w2 d']:
    """`pixel_shuffle` undone: each block of pixels becomes one with all their channels."""
    b, h, w, c = x.shape
    x = x.reshape(b * h // scale, scale, w // scale, scale * c).swapaxes(1, 2)
    return x.reshape(b, h // scale, w // scale, c * scale**2)


def repeat(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    """Twice as high and wide, each pixel four times."""
    return x.repeat(2, 1).repeat(2, 2)


def halve(x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c']:
    """Half as high and wide, bilinearly: the mean of each 2x2 pixels."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def double(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    """Twice as high and wide, bilinearly: a new pixel is 3/4 its own and 1/4 the neighbour's."""
    for axis in (1, 2):
        size = x.shape[axis]
        edges = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, edges, 'edge')
        before, after = (
            lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2)
        )
        pair = jnp.stack([(3 * x + before) / 4, (3 * x + after) / 4], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose`, strides of 2 and 'SAME' padding, in its parameters and values,
    as a convolution at the small size and a pixel shuffle.

    Output pixel 2q + p takes every other tap of the kernel, which ones by its parity p. On a CPU
    this is faster than the dilated convolution, to which TFLite gives another size.
    """

    features: int
    kernel_size: tuple[int, int]
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c2']:
        kernel = self.param(
            'kernel',
            self.kernel_init,
            (*self.kernel_size, x.shape[-1], self.features),
            self.param_dtype,
        )
        (rows, top), (columns, left) = (_parities(size) for size in self.kernel_size)
        # [parity, tap, parity, tap, in, out] -> [tap, tap, in, parity x parity x out]
        kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))[
            rows[:, :, None, None], columns[None, None]
        ]
        height, width = rows.shape[1], columns.shape[1]
        kernel = kernel.transpose(1, 3, 4, 0, 2, 5).reshape(
            height, width, x.shape[-1], -1
        )
        pads = [(top, height - 1 - top), (left, width - 1 - left)]
        y = pixel_shuffle(
            convolution.convolve(
                x.astype(self.dtype),
                kernel.astype(self.dtype),
                (1, 1),
                pads,
                dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            ),
            2,
        )
        if not self.use_bias:
            return y
        bias = self.param(
            'bias', nn.initializers.zeros, (self.features,), self.param_dtype
        )
        return y + bias.astype(self.dtype)


def _parities(size: int) -> tuple[np.ndarray, int]:
    """(the tap of a kernel of `size` on each pixel of the small window, [2, window] for the output
    pixels of either parity, `size` standing for none; how far the window begins before q)."""
    before = (
        size - 1 if size < 3 else -(-size // 2)
    )  # zeros that 'SAME' puts before the image
    # Tap t of output o = 2q + p lies on small pixel q + (p + t - before) / 2, if that is whole.
    places = {
        (p, t): (p + t - before) // 2
        for p in (0, 1)
        for t in range(size)
        if (p + t - before) % 2 == 0
    }
    first = min(places.values())
    taps = np.full((2, max(places.values()) - first + 1), size)
    for (p, t), place in places.items():
        taps[p, place - first] = t
    return taps, -first
