"""Super-resolution networks: SRResNet (Ledig et al. 2017, arXiv 1609.04802), EDSR (Lim et al. 2017,
arXiv 1707.02921), and small ones of the same build."""

import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import UserError
from jaxvision.image import resize
from jaxvision.models.blocks import convolution, layers, resampling

SCALES = (2, 3, 4)
PLAIN = nn.initializers.lecun_normal()
# Without batch norm a branch starts small, or the sum of 16 would grow out of bounds.
SMALL = nn.initializers.variance_scaling(0.1, 'fan_in', 'truncated_normal')


def bicubic(image: Float[Array, 'b h w c'], scale: int) -> Float[Array, 'b h2 w2 c']:
    """Each image `scale` times as large; it may overshoot [0, 1]."""
    size = tuple(scale * side for side in image.shape[1:3])
    return jax.vmap(lambda one: resize.resize(one, size, 'bicubic'))(image)


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0), a slope for each channel that starts at 0.25 (He et al.)."""

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, '*b c']) -> Float[Array, '*b c']:
        start = nn.initializers.constant(0.25)
        slope = self.param('slope', start, x.shape[-1:], self.param_dtype).astype(
            x.dtype
        )
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


class EDSR(nn.Module):
    """Residual blocks at low resolution, then pixel shuffle; what they answer is added to the
    bicubic image, and the last layer starts at zero, so that training starts at bicubic.

    `batch_norm` makes the blocks those of SRResNet, with PReLU and 9x9 convolutions at both ends.
    `direct` is the small networks' end, ESPCN's: one convolution gives all pixels of a block, and
    none is computed at high resolution. (The papers' ends have convolutions there, and neither adds
    to the bicubic image.)
    Intermediates: 'head', 'block1', 'block2', ..., 'body', all at low resolution.
    """

    scale: int
    channels: int  # of the image
    blocks: int
    width: int
    batch_norm: bool = False
    direct: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @property
    def reach(self) -> int:
        """The largest distance, in input pixels, that an output pixel depends on."""
        end = 4 if self.batch_norm else 1
        ending = 1 if self.direct else 1 + (self.scale == 4) / 2 + end / self.scale
        return end + 2 * self.blocks + 1 + math.ceil(ending)

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b h2 w2 c'], dict[str, Array]]:
        """The image `scale` times as large, both in about [0, 1]."""
        end = 9 if self.batch_norm else 3
        tensors = {}
        x = self._conv(self.width, 'head', end)(image - 0.5)
        tensors['head'] = x = self._prelu('head_prelu', x) if self.batch_norm else x
        for i in range(1, self.blocks + 1):
            tensors[f'block{i}'] = x = x + self._branch(x, f'block{i}', train)
        tensors['body'] = x = tensors['head'] + self._conv_norm(x, 'body', train)
        x = self._enlarge(x, end)
        return bicubic(image, self.scale) + x.astype(image.dtype), tensors

    def _branch(self, x, name, train):
        x = self._conv_norm(x, f'{name}_conv1', train)
        x = self._prelu(f'{name}_prelu', x) if self.batch_norm else nn.relu(x)
        return self._conv_norm(x, f'{name}_conv2', train, SMALL)

    def _enlarge(self, x, end):
        if self.direct:
            x = self._conv(
                self.scale**2 * self.channels, 'last', start=nn.initializers.zeros
            )(x)
            return resampling.pixel_shuffle(x, self.scale)
        for i, factor in enumerate(
            (2, 2) if self.scale == 4 else (self.scale,), start=1
        ):
            x = resampling.pixel_shuffle(
                self._conv(factor**2 * self.width, f'enlarge{i}')(x), factor
            )
            x = self._prelu(f'enlarge{i}_prelu', x) if self.batch_norm else x
        return self._conv(self.channels, 'last', end, start=nn.initializers.zeros)(x)

    def _conv(self, width, name, size=3, bias=True, start=PLAIN):
        return convolution.Conv(
            width,
            (size, size),
            use_bias=bias,
            kernel_init=start,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _conv_norm(self, x, name, train, start=PLAIN):
        if not self.batch_norm:
            return self._conv(self.width, name, start=start)(x)
        norm = layers.normalization('batch', train, self.dtype, self.param_dtype)
        return norm(name=f'{name}_norm')(self._conv(self.width, name, bias=False)(x))

    def _prelu(self, name, x):
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
        variant: 'baseline' (EDSR-baseline), 'srresnet', or a small EDSR as BLOCKSxWIDTH:
            '6x32'.
        scale: how many times as large it makes an image: 2, 3 or 4.
        channels: of the image.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant or the scale is unknown.
    """
    if scale not in SCALES:
        raise UserError(f'edsr enlarges 2, 3 or 4 times, not {scale}')
    if variant in NAMED:
        build = NAMED[variant]
    elif re.fullmatch(r'[1-9]\d*x[1-9]\d*', variant):
        blocks, _, width = variant.partition('x')
        build = dict(blocks=int(blocks), width=int(width), direct=True)
    else:
        raise UserError(
            f'model.variant={variant!r} of edsr: {", ".join(map(repr, NAMED))}, or '
            "blocks and width, as '6x32'"
        )
    return EDSR(scale, channels, **build, dtype=dtype, param_dtype=param_dtype)
