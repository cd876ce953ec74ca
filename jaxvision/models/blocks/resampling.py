"""Feature maps enlarged and reduced by whole factors.

All functions are differentiable to any order. They use only operations and numbers of axes that
TFLite supports.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.models.blocks import convolution
from jaxvision.models.types import Images

Halved = Float[Array, 'b h2 w2 c']
Doubled = Float[Array, 'b 2*h 2*w c']


def pixel_shuffle(x: Float[Array, 'b h w d'], scale: int) -> Halved:
    """Rearrange D = scale^2 * C channels into `scale` times as many rows and columns.

    Channel (i * scale + j) * C + k becomes channel k of pixel (i, j) of a block, as in TensorFlow's
    depth_to_space (Shi et al. 2016). Here i counts rows and j columns.

    Returns:
        [B, scale * H, scale * W, C].
    """
    b, h, w, d = x.shape
    x = x.reshape(b * h, w, scale, d // scale)
    x = x.swapaxes(1, 2)
    return x.reshape(b, h * scale, w * scale, d // scale**2)


def pixel_unshuffle(x: Images, scale: int) -> Float[Array, 'b h2 w2 d']:
    """Rearrange each block of scale x scale pixels into one pixel: the inverse of pixel_shuffle.

    Channel k of pixel (row i, column j) of a block becomes channel (i * scale + j) * C + k.

    Args:
        x: [B, H, W, C], with H and W multiples of `scale`.
        scale: side of a block in pixels.

    Returns:
        [B, H / scale, W / scale, scale^2 * C].
    """
    b, h, w, c = x.shape
    x = x.reshape(b * h // scale, scale, w // scale, scale * c)
    x = x.swapaxes(1, 2)
    return x.reshape(b, h // scale, w // scale, c * scale**2)


def repeat(x: Images) -> Doubled:
    """Double height and width by nearest-neighbour interpolation."""
    rows = x.repeat(2, 1)
    return rows.repeat(2, 2)


def halve(x: Images) -> Halved:
    """Halve height and width, which must be even, by the mean of each 2x2 pixels."""
    top_left = x[:, ::2, ::2]
    bottom_left = x[:, 1::2, ::2]
    top_right = x[:, ::2, 1::2]
    bottom_right = x[:, 1::2, 1::2]
    return (top_left + bottom_left + top_right + bottom_right) / 4


def double(x: Images) -> Doubled:
    """Double height and width by bilinear interpolation.

    A new pixel is 3/4 of the nearest old one and 1/4 of the next one, along each axis. Beyond the
    edge, the pixels of the edge are repeated.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        edges = [(0, 0), (0, 0), (0, 0), (0, 0)]
        edges[axis] = (1, 1)
        padded = jnp.pad(x, edges, 'edge')
        before = lax.slice_in_dim(padded, 0, size, axis=axis)
        after = lax.slice_in_dim(padded, 2, 2 + size, axis=axis)
        first = (3 * x + before) / 4
        second = (3 * x + after) / 4
        pairs = jnp.stack([first, second], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


class ConvTranspose(nn.Module):
    """Transposed convolution with strides of 2 and 'SAME' padding.

    It maps [B, H, W, C] to [B, 2 H, 2 W, features].

    Its parameters and values equal those of `flax.linen.ConvTranspose`. It is computed as a
    convolution at the small size and a pixel shuffle. Output pixel 2q + p takes every other tap of
    the kernel, and its parity p decides which ones. On a CPU this is faster than the dilated
    convolution, for which TFLite gives another output size.
    """

    features: int
    kernel_size: tuple[int, int]
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, 'b 2*h 2*w c2']:
        channels = x.shape[-1]
        kernel = self.param(
            'kernel',
            self.kernel_init,
            (*self.kernel_size, channels, self.features),
            self.param_dtype,
        )
        rows, top = _parities(self.kernel_size[0])
        columns, left = _parities(self.kernel_size[1])
        height = rows.shape[1]
        width = columns.shape[1]
        # [parity, tap, parity, tap, in, out] -> [tap, tap, in, parity x parity x out]
        padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
        by_parity = padded[rows[:, :, None, None], columns[None, None]]
        by_parity = by_parity.transpose(1, 3, 4, 0, 2, 5)
        small_kernel = by_parity.reshape(height, width, channels, -1)
        pads = [(top, height - 1 - top), (left, width - 1 - left)]
        parities = convolution.convolve(
            x.astype(self.dtype),
            small_kernel.astype(self.dtype),
            (1, 1),
            pads,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        y = pixel_shuffle(parities, 2)
        if not self.use_bias:
            return y
        zeros = nn.initializers.zeros
        bias = self.param('bias', zeros, (self.features,), self.param_dtype)
        return y + bias.astype(self.dtype)


def _parities(size: int) -> tuple[Int[np.ndarray, '2 window'], int]:
    """Distribute the taps of one axis of a transposed kernel to even and odd output pixels.

    Returns:
        For each parity and each pixel of the small window, the index of the tap, or `size` for
        none; and by how many pixels the window begins before pixel q.
    """
    # The number of zeros that 'SAME' puts before the image.
    before = -(-size // 2)
    if size < 3:
        before = size - 1
    # Tap t of output 2q + p lies on small pixel q + (p + t - before) / 2, if that is whole.
    offsets = {}
    for parity in (0, 1):
        for tap in range(size):
            distance = parity + tap - before
            if distance % 2 == 0:
                offsets[parity, tap] = distance // 2
    first = min(offsets.values())
    window = max(offsets.values()) - first + 1
    taps = np.full((2, window), size)
    for (parity, tap), offset in offsets.items():
        taps[parity, offset - first] = tap
    return taps, -first
