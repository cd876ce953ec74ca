"""Convolution in the form that is fastest for its shape and for the platform in use."""

import dataclasses
import functools
import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxvision.models.blocks import forms

# Sizes along the spatial axes of an image.
Sizes = tuple[int, ...]
# Zeros (before, after) along each axis, 'SAME' or 'VALID'.
Padding = str | list[tuple[int, int]] | tuple[tuple[int, int], ...]
Image = Float[Array, 'b *space c_in']
Kernel = Float[Array, '*window c c_out']
Output = Float[Array, 'b *out c_out']

# The most products of taps and output pixels for which matrix products have faster derivatives,
# for example of 3x3 taps and 4x4 pixels.
FEW = 144

# Options of `lax.conv_general_dilated` that all forms respect.
RESPECTED = (
    'dimension_numbers',
    'feature_group_count',
    'lhs_dilation',
    'precision',
    'rhs_dilation',
)


@dataclasses.dataclass(frozen=True)
class Window:
    """The sliding window of a convolution.

    Attributes:
        size: the size along each spatial axis, in pixels.
        strides: the stride along each axis.
        pads: zeros (before, after) the image along each axis.
    """

    size: Sizes
    strides: Sizes
    pads: tuple[tuple[int, int], ...]

    @staticmethod
    def of(
        size: Sizes,
        space: Sizes,
        strides: Sizes,
        padding: Padding,
    ) -> 'Window':
        """Build the window from the arguments of a convolution.

        Args:
            size: spatial size of the kernel.
            space: spatial size of the image, from which the zeros of 'SAME' are computed.
            strides: one stride for each axis.
            padding: 'SAME', 'VALID' or zeros (before, after) along each axis.
        """
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(space, size, strides, padding)
        pads = tuple(map(tuple, padding))
        return Window(tuple(size), tuple(strides), pads)

    @property
    def is_pointwise(self) -> bool:
        """True for a window of one pixel without padding, with any strides."""
        is_padded = any(map(any, self.pads))
        return math.prod(self.size) == 1 and not is_padded

    def overhangs(self, space: Sizes) -> bool:
        """Return True if the window fits the padded image, but not the image itself.

        It is enough that this holds along one axis. `space` is the spatial size of the image.
        """
        axes = zip(self.size, space, self.pads, strict=True)
        return any(side < size <= side + sum(pad) for size, side, pad in axes)

    def output_size(self, space: Sizes) -> Sizes:
        """Spatial size of the output for an image of this size before padding."""
        sizes = []
        for axis, side in enumerate(space):
            padded = side + sum(self.pads[axis])
            sizes.append((padded - self.size[axis]) // self.strides[axis] + 1)
        return tuple(sizes)

    def products(self, space: Sizes) -> int:
        """Number of taps times the number of output pixels, for an image of this spatial size."""
        return math.prod(self.size) * math.prod(self.output_size(space))

    def patches(self, image: Float[Array, 'b *space c']) -> list[Array]:
        """Return the pixels under each tap of the window: one array [B, *out, C] per tap.

        Taps are in the order of a flattened kernel: the last axis varies fastest.
        """
        batch, *space, channels = image.shape
        out = self.output_size(tuple(space))
        padded = jnp.pad(image, [(0, 0), *self.pads, (0, 0)])
        strides = (1, *self.strides, 1)
        patches = []
        for tap in np.ndindex(*self.size):
            axes = zip(tap, out, self.strides, strict=True)
            ends = [first + (number - 1) * stride + 1 for first, number, stride in axes]
            # Indices would take several times as long to trace.
            patches.append(
                lax.slice(padded, (0, *tap, 0), (batch, *ends, channels), strides)
            )
        return patches


def convolve(
    image: Image,
    kernel: Kernel,
    strides: Sizes,
    padding: Padding,
    in_loop: bool = False,
    **options,
) -> Output:
    """Compute `lax.conv_general_dilated`, channels last, in its fastest form.

    Pointwise convolutions are matrix products. Some other shapes have a faster form on a CPU, and
    `matrix_product` and `sum_over_taps` list them with the reasons. Other platforms run XLA's
    operation. All forms are differentiable to any order, in forward and reverse mode.

    Args:
        image: [B, *space, C_in].
        kernel: [*window, C_in / groups, C_out].
        strides: one for each spatial axis.
        padding: 'SAME', 'VALID' or zeros (before, after) along each axis.
        in_loop: True in the body of a scan, or for a kernel with a batch axis under vmap. More
            shapes are then matrix products on a CPU.
        **options: further arguments of `lax.conv_general_dilated`. `dimension_numbers` is
            required, such as ('NHWC', 'HWIO', 'NHWC'): the default of lax is channels first.
            XLA's operation runs on all platforms with a dilation above 1, with options
            such as `preferred_element_type`, and with groups of more than one channel
            each in the image or in the result.

    Returns:
        [B, *out, C_out].

    Raises:
        ValueError: `dimension_numbers` are not channels last, or `batch_group_count` is not
            1: it divides the batch size.
    """
    groups_of_batch = options.pop('batch_group_count', 1)
    if groups_of_batch != 1:
        raise ValueError(
            f'batch_group_count={groups_of_batch}: expected 1. Leave it out.'
        )
    _check_channels_last(image.ndim, options.get('dimension_numbers'))
    if not isinstance(padding, str):
        padding = tuple(map(tuple, padding))
    # The cache of forms needs values with a hash.
    for name, value in options.items():
        if isinstance(value, list):
            options[name] = tuple(value)
    form = _form(
        image.shape[1:],
        kernel.shape,
        tuple(strides),
        padding,
        in_loop,
        forms.is_for_tflite(),
        tuple(sorted(options.items())),
    )
    return form(image, kernel)


# JAX traces a function once for each shape of its arguments, if it is the same object.
@functools.cache
def _form(
    image_shape: Sizes,
    kernel_shape: Sizes,
    strides: Sizes,
    padding: Padding,
    in_loop: bool,
    for_tflite: bool,
    options: tuple[tuple[str, object], ...],
) -> Callable[[Image, Kernel], Output]:
    """Choose the form of a convolution.

    Args:
        image_shape: (*space, C_in).
        kernel_shape: (*window, C_in / groups, C_out).
        strides, padding, in_loop, options: of `convolve`.
        for_tflite: whether TFLite must support the form.
    """
    arguments = dict(options)
    one_operation = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        **arguments,
    )
    if _is_dilated(arguments) or _has_unusual(arguments):
        return one_operation

    *space, channels = image_shape
    window = Window.of(kernel_shape[:-2], tuple(space), strides, padding)
    groups = arguments.get('feature_group_count', 1)
    if groups > 1:
        is_depthwise = groups == channels == kernel_shape[-1]
        if not is_depthwise or for_tflite:
            return one_operation
        taps = partial(sum_over_taps, window=window)
        return forms.by_platform(cpu=taps, default=one_operation)

    precision = arguments.get('precision')
    product = partial(matrix_product, window=window, precision=precision)
    if window.is_pointwise:
        return product
    by_platform = forms.by_platform(cpu=product, default=one_operation)
    if window.overhangs(tuple(space)):
        return by_platform
    if channels == 1 or in_loop or window.products(tuple(space)) <= FEW:
        return forms.differentiated_as(one_operation, by_platform)
    return one_operation


def matrix_product(
    image: Image,
    kernel: Float[Array, '*window c_in c_out'],
    window: Window,
    precision: lax.PrecisionLike = None,
) -> Output:
    """Convolve by one matrix product of all patches with the kernel, without groups.

    Measurements of training steps led to this form

    - for pointwise convolutions on all platforms. XLA's operation is slower on a CPU in both
      directions. On a TPU v5e it makes ResNet-50 move 2 % fewer bytes for each image.
    - on a CPU for windows larger than the image, for which XLA's operation is slow.
    - on a CPU for derivatives in three cases: images of one channel; few products of taps and
      pixels, such as 3x3 on 2x2 pixels, for which XLA's operation took 24 times as long as on 4x4;
      and the body of a scan, in which XLA compiles and runs its derivatives slowly.

    Args:
        image: [B, *space, C_in].
        kernel: [*window, C_in, C_out].
        window: of the convolution.
        precision: of the matrix product.

    Returns:
        [B, *out, C_out].
    """
    patches = jnp.concatenate(window.patches(image), -1)
    taps_and_channels = patches.shape[-1]
    # Two matrices, because XLA otherwise transposes the operands of the weight gradient.
    flat = jnp.matmul(
        patches.reshape(-1, taps_and_channels),
        kernel.reshape(-1, kernel.shape[-1]),
        precision=precision,
    )
    return flat.reshape(*patches.shape[:-1], -1)


def sum_over_taps(
    image: Float[Array, 'b *space c'],
    kernel: Float[Array, '*window 1 c'],
    window: Window,
) -> Float[Array, 'b *out c']:
    """Convolve each channel with its kernel, as a sum over the taps.

    This form serves depthwise convolutions on a CPU. XLA's operation took 6 to 70 times as long,
    and its derivatives 4 to 14 times as long.

    Args:
        image: [B, *space, C].
        kernel: [*window, 1, C].
        window: of the convolution.

    Returns:
        [B, *out, C].
    """
    # One kernel for each tap, [taps, 1, ..., 1, C]. Its slices broadcast without a reshape.
    ones = (1,) * (image.ndim - 2)
    weights = kernel.reshape(-1, *ones, kernel.shape[-1])
    products = []
    for i, pixels in enumerate(window.patches(image)):
        weight = lax.slice_in_dim(weights, i, i + 1)
        weight = lax.broadcast_in_dim(weight, pixels.shape, range(image.ndim))
        products.append(lax.mul(pixels, weight))
    return functools.reduce(lax.add, products)


def _check_channels_last(
    ndim: int, dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers
) -> None:
    last = ndim - 1
    image_axes = (0, last, *range(1, last))
    kernel_axes = (last, last - 1, *range(last - 1))
    channels_last = lax.ConvDimensionNumbers(image_axes, kernel_axes, image_axes)
    shape = (1,) * ndim
    numbers = lax.conv_dimension_numbers(shape, shape, dimension_numbers)
    if numbers != channels_last:
        raise ValueError(
            f'dimension_numbers={dimension_numbers}: expected channels last. Give '
            "('NHWC', 'HWIO', 'NHWC') for images."
        )


def _has_unusual(options: dict) -> bool:
    """True for options of `lax.conv_general_dilated` that no faster form respects."""
    return any(
        name not in RESPECTED and value is not None for name, value in options.items()
    )


def _is_dilated(options: dict) -> bool:
    rates = [
        *(options.get('lhs_dilation') or ()),
        *(options.get('rhs_dilation') or ()),
    ]
    return any(rate != 1 for rate in rates)


# `flax.linen.Conv` with the same arguments, parameters and values, computed by `convolve`.
Conv = partial(nn.Conv, conv_general_dilated=convolve)
