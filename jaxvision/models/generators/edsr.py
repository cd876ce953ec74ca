"""Super-resolution networks: SRResNet, EDSR, and small networks of the same structure.

SRResNet: Ledig et al. 2017, arXiv 1609.04802. EDSR: Lim et al. 2017, arXiv 1707.02921.
"""

import math
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.image import resize
from jaxvision.models.blocks import convolution, layers, resampling
from jaxvision.models.types import Images, Intermediates, Keys

Enlarged = Float[Array, 'b h2 w2 c']
Features = Float[Array, 'b h w n']

SCALES = (2, 3, 4)
PLAIN = nn.initializers.lecun_normal()
# Without batch norm a branch starts small, or the sum of 16 branches would grow out of bounds.
SMALL = nn.initializers.variance_scaling(0.1, 'fan_in', 'truncated_normal')


def bicubic(image: Images, scale: int) -> Enlarged:
    """Enlarge images `scale` times by bicubic interpolation. It may overshoot [0, 1]."""
    _, height, width, _ = image.shape
    size = (scale * height, scale * width)

    def enlarge(image):
        return resize.resize(image, size, 'bicubic')

    return jax.vmap(enlarge)(image)


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0), with a learned slope for each channel (He et al. 2015).

    The slopes start at 0.25.
    """

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, '*b c']) -> Float[Array, '*b c']:
        start = nn.initializers.constant(0.25)
        slope = self.param('slope', start, x.shape[-1:], self.param_dtype)
        slope = slope.astype(x.dtype)
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


class EDSR(nn.Module):
    """Residual blocks at low resolution, then pixel shuffle, added to the bicubic image.

    The last layer starts at zero, so that training starts from bicubic interpolation. The papers'
    networks do not add the bicubic image, and all of them have convolutions at high resolution.

    A call takes images [B, H, W, C] in [0, 1]. It returns (images, intermediates). The
    images are `scale` times as high and wide, and not clipped. The intermediates have
    the low resolution: 'head', 'block1', 'block2', ..., 'body'. `train` matters only
    with batch norm.

    Attributes:
        scale: factor of enlargement.
        channels: of the image.
        blocks: number of residual blocks.
        width: number of feature channels.
        batch_norm: True for the blocks of SRResNet, with PReLU and 9x9 convolutions at both ends.
        direct: True for the output of ESPCN: one convolution predicts all pixels of a block, and
            none runs at high resolution.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    scale: int
    channels: int
    blocks: int
    width: int
    batch_norm: bool = False
    direct: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @property
    def reach(self) -> int:
        """Radius of the receptive field, in input pixels, rounded up.

        An output pixel depends on no input pixel farther away.
        """
        head = self._end_size // 2
        tail = 1
        if not self.direct:
            # The second pixel shuffle of scale 4 follows a convolution at twice the resolution.
            tail = 1 + (self.scale == 4) / 2 + head / self.scale
        return head + 2 * self.blocks + 1 + math.ceil(tail)

    @property
    def _end_size(self) -> int:
        """Side of the first and of the last kernel."""
        if self.batch_norm:
            return 9
        return 3

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Enlarged, Intermediates]:
        """Enlarge images in about [0, 1].

        Args:
            image: [B, H, W, C].
            train: True to use, and to update by, the statistics of the batch. It matters only
                with batch norm.
            keys: not used.

        Returns:
            Images [B, scale * H, scale * W, C], not clipped to [0, 1], and intermediates.
        """
        intermediates = {}
        x = self._conv(self.width, 'head', self._end_size)(image - 0.5)
        if self.batch_norm:
            x = self._prelu('head_prelu', x)
        head = x
        intermediates['head'] = head
        for i in range(1, self.blocks + 1):
            x = x + self._branch(x, f'block{i}', train)
            intermediates[f'block{i}'] = x
        x = head + self._conv_norm(x, 'body', train)
        intermediates['body'] = x
        detail = self._enlarge(x).astype(image.dtype)
        return bicubic(image, self.scale) + detail, intermediates

    def _branch(self, x: Features, name: str, train: bool) -> Features:
        """The residual branch of a block."""
        x = self._conv_norm(x, f'{name}_conv1', train)
        if self.batch_norm:
            x = self._prelu(f'{name}_prelu', x)
        else:
            x = nn.relu(x)
        return self._conv_norm(x, f'{name}_conv2', train, SMALL)

    def _enlarge(self, x: Features) -> Enlarged:
        """From features at low resolution to the difference from the bicubic image."""
        zeros = nn.initializers.zeros
        if self.direct:
            x = self._conv(self.scale**2 * self.channels, 'last', start=zeros)(x)
            return resampling.pixel_shuffle(x, self.scale)
        factors = (self.scale,)
        if self.scale == 4:
            factors = (2, 2)
        for i, factor in enumerate(factors, start=1):
            x = self._conv(factor**2 * self.width, f'enlarge{i}')(x)
            x = resampling.pixel_shuffle(x, factor)
            if self.batch_norm:
                x = self._prelu(f'enlarge{i}_prelu', x)
        return self._conv(self.channels, 'last', self._end_size, start=zeros)(x)

    def _conv(
        self,
        width: int,
        name: str,
        size: int = 3,
        bias: bool = True,
        start: Callable = PLAIN,
    ) -> nn.Module:
        return convolution.Conv(
            width,
            (size, size),
            use_bias=bias,
            kernel_init=start,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _conv_norm(
        self,
        x: Features,
        name: str,
        train: bool,
        start: Callable = PLAIN,
    ) -> Features:
        """A convolution, followed by batch norm in SRResNet."""
        if not self.batch_norm:
            return self._conv(self.width, name, start=start)(x)
        norm = layers.normalization('batch', train, self.dtype, self.param_dtype)
        x = self._conv(self.width, name, bias=False)(x)
        return norm(name=f'{name}_norm')(x)

    def _prelu(self, name: str, x: Features) -> Features:
        return PReLU(self.param_dtype, name=name)(x)


NAMED = {
    'baseline': dict(blocks=16, width=64),
    'srresnet': dict(blocks=16, width=64, batch_norm=True),
}


VARIANTS = (*NAMED, '6x32')


def make(
    variant: str,
    *,
    scale: int,
    channels: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> EDSR:
    """Build an EDSR or an SRResNet.

    Args:
        variant: 'baseline' (EDSR-baseline), 'srresnet', or a small EDSR as BLOCKSxWIDTH: '6x32',
            in which no convolution runs at high resolution.
        scale: factor of enlargement: 2, 3 or 4.
        channels: of the image.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant or the scale is unknown.
    """
    if scale not in SCALES:
        raise not_a_choice('task.scale', scale, SCALES)
    if variant in NAMED:
        size = NAMED[variant]
    elif re.fullmatch(r'[1-9]\d*x[1-9]\d*', variant):
        blocks, _, width = variant.partition('x')
        size = dict(blocks=int(blocks), width=int(width), direct=True)
    else:
        known = ', '.join(map(repr, NAMED))
        raise UserError(
            f'model.variant={variant!r}: expected {known}, or the blocks and the width '
            "of an EDSR. Write them as '6x32'."
        )
    return EDSR(scale, channels, **size, dtype=dtype, param_dtype=param_dtype)
