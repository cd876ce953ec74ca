"""Convolution, in the form that is fastest for its shape and for the platform it runs on."""

import dataclasses
import functools
import math
import operator
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxvision.models.blocks import forms

FEW = 144  # pairs of a tap and an output pixel, as of 3x3 taps on 4x4 pixels


@dataclasses.dataclass(frozen=True)
class Window:
    """What slides over an image: for each axis of the space a size, a stride and a padding."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # zeros before and after the image

    @staticmethod
    def of(size, space, strides, padding) -> 'Window':
        """The window of a convolution's arguments, on an image of the sides `space`."""
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(space, size, strides, padding)
        return Window(tuple(size), tuple(strides), tuple(map(tuple, padding)))

    @property
    def is_pointwise(self) -> bool:
        """Whether it holds one pixel, and no padding."""
        return math.prod(self.size) == 1 and not any(map(any, self.pads))

    def overhangs(self, space: tuple[int, ...]) -> bool:
        """Whether it is larger than an image of these sides, but not larger than the padded one."""
        return any(
            side < size <= side + sum(pad)
            for size, side, pad in zip(self.size, space, self.pads, strict=True)
        )

    def places(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """How many places it takes along each side of an image: the sides of the output."""
        return tuple(
            (side + sum(pad) - size) // stride + 1
            for size, side, pad, stride in zip(
                self.size, space, self.pads, self.strides, strict=True
            )
        )

    def products(self, space: tuple[int, ...]) -> int:
        """How many pairs of a tap and an output pixel there are."""
        return math.prod(self.size) * math.prod(self.places(space))

    def patches(self, image: Float[Array, 'b *space c']) -> list[Array]:
        """The pixels [B, *out, C] under each of its taps, rows first."""
        out = self.places(image.shape[1:-1])
        image = jnp.pad(image, [(0, 0), *self.pads, (0, 0)])
        return [image[:, *self._pixels(tap, out)] for tap in np.ndindex(*self.size)]

    def _pixels(self, tap: tuple[int, ...], out: tuple[int, ...]) -> list[slice]:
        return [
            slice(first, first + (number - 1) * stride + 1, stride)
            for first, number, stride in zip(tap, out, self.strides, strict=True)
        ]


def convolve(
    image: Float[Array, 'b *space c_in'],
    kernel: Float[Array, '*window c c_out'],
    strides: tuple[int, ...],
    padding: str | list[tuple[int, int]] | tuple[tuple[int, int], ...],
    in_loop: bool = False,
    **options,
) -> Float[Array, 'b *out c_out']:
    """Compute `lax.conv_general_dilated`, channels last, in its fastest form.

    Pointwise convolutions are matrix products. On a CPU several other shapes are faster in a form
    of their own; `matrix_product` and `sum_over_taps` say which and why. Other platforms run XLA's
    operation. All forms are differentiable to any order, in forward and reverse mode.

    Args:
        image: [B, *space, C_in].
        kernel: [*window, C_in / groups, C_out].
        strides: one for each axis of the space.
        padding: 'SAME', 'VALID' or, for each axis, the numbers of zeros (before, after).
        in_loop: whether it stands in the body of a scan, or its kernel is an example's own.
        **options: further arguments of `lax.conv_general_dilated`.

    Returns:
        [B, *out, C_out].
    """
    one_operation = partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **options
    )
    if _is_dilated(options):
        return one_operation(image, kernel)

    space, groups = image.shape[1:-1], options.get('feature_group_count', 1)
    window = Window.of(kernel.shape[:-2], space, strides, padding)
    if groups > 1:
        is_depthwise = groups == image.shape[-1] == kernel.shape[-1]
        if not is_depthwise or forms.is_for_tflite():
            return one_operation(image, kernel)
        taps = partial(sum_over_taps, window=window)
        return forms.by_platform(cpu=taps, default=one_operation)(image, kernel)

    product = partial(matrix_product, window=window, precision=options.get('precision'))
    if window.is_pointwise:
        return product(image, kernel)
    by_platform = forms.by_platform(cpu=product, default=one_operation)
    if window.overhangs(space):
        return by_platform(image, kernel)
    if image.shape[-1] == 1 or in_loop or window.products(space) <= FEW:
        return forms.differentiated_as(one_operation, by_platform)(image, kernel)
    return one_operation(image, kernel)


def matrix_product(
    image: Float[Array, 'b *space c_in'],
    kernel: Float[Array, '*window c_in c_out'],
    window: Window,
    precision: lax.PrecisionLike = None,
) -> Float[Array, 'b *out c_out']:
    """Convolve by one matrix product of all patches with the kernel.

    It is used, as measured in training steps:

    - for pointwise convolutions on all platforms: XLA's own are slower on a CPU in both
      directions, and ResNet-50 moves 2 % more bytes an image with them on a TPU v5e;
    - on a CPU where the window is larger than the image, which makes XLA's own slow;
    - on a CPU, where it is differentiated, for images of one channel; for few products of taps and
      pixels, as 3x3 on 2x2 pixels, where XLA's own took 24 times as long as on 4x4; and in the body
      of a scan, where XLA compiles and runs the derivatives of its own slowly.

    Args:
        image: [B, *space, C_in].
        kernel: [*window, C_in, C_out].
        window: that of the convolution.
        precision: that of the matrix product.

    Returns:
        [B, *out, C_out].
    """
    patches = jnp.concatenate(window.patches(image), -1)
    # Matrices both, because XLA transposes the weight gradient's operands otherwise.
    flat = jnp.matmul(
        patches.reshape(-1, patches.shape[-1]),
        kernel.reshape(-1, kernel.shape[-1]),
        precision=precision,
    )
    return flat.reshape(*patches.shape[:-1], -1)


def sum_over_taps(
    image: Float[Array, 'b *space c'],
    kernel: Float[Array, '*window 1 c'],
    window: Window,
) -> Float[Array, 'b *out c']:
    """Convolve each channel by its own kernel, as a sum over the taps.

    It is used on a CPU for depthwise convolutions, for which XLA's own took 6 to 70 times as long,
    and 4 to 14 times where they are differentiated.

    Args:
        image: [B, *space, C].
        kernel: [*window, 1, C].
        window: that of the convolution.

    Returns:
        [B, *out, C].
    """
    # One kernel a tap, [taps, 1, ..., 1, C]: slices of that need no reshape to meet an image.
    weights = kernel.reshape(-1, *(1,) * (image.ndim - 2), kernel.shape[-1])
    products = [
        tap * lax.slice_in_dim(weights, i, i + 1)
        for i, tap in enumerate(window.patches(image))
    ]
    return functools.reduce(operator.add, products)


def _is_dilated(options: dict) -> bool:
    dilations = [options.get('lhs_dilation'), options.get('rhs_dilation')]
    return any(rate != 1 for rates in dilations for rate in rates or ())


# `flax.linen.Conv`, in its arguments, parameters and values, computed by `convolve`.
Conv = partial(nn.Conv, conv_general_dilated=convolve)
