"""A cheap convolutional network for many small images, such as the frames of clips.

Every convolution but the first has a stride of 2.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Keys, Outputs


class Stages(nn.Module):
    """3x3 convolutions with ReLU. All but the first have a stride of 2.

    A call on images [B, H, W, C] returns a list of all convolutions' maps, first to
    last. It raises a UserError if H or W is no multiple of shrink * patch.

    Attributes:
        widths: of the convolutions.
        shrink: factor by which the image is first reduced, by averaging.
        patch: side of the squares of the reduced image whose pixels become channels of one pixel.
        dtype: of the computation.
        param_dtype: of the parameters.
        in_loop: True in the body of a scan, or for weights with a batch axis under vmap. It
            changes the speed on a CPU, not the values.
    """

    widths: tuple[int, ...]
    shrink: int
    patch: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    in_loop: bool = False

    @nn.compact
    def __call__(self, image: Images) -> list[Float[Array, 'b h2 w2 n']]:
        """Compute the feature map of each convolution, first to last.

        Args:
            image: [B, H, W, C]. H and W are multiples of shrink * patch.

        Raises:
            UserError: H or W is no such multiple.
        """
        batch, height, width, _ = image.shape
        side = self.shrink * self.patch
        if height % side or width % side:
            raise UserError(
                f'model.options.patch={self.patch}: expected images of a multiple of '
                f'{side} pixels (shrink x patch), but they have {height}x{width}. Change '
                'shrink or patch.'
            )
        x = squares(image, self.shrink).mean(3)
        x = squares(x, self.patch)
        x = x.reshape(batch, height // side, width // side, -1)
        conv = partial(
            nn.Conv,
            kernel_size=(3, 3),
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=partial(convolution.convolve, in_loop=self.in_loop),
        )
        maps = []
        for stage, channels in enumerate(self.widths, start=1):
            strides = 2
            if stage == 1:
                strides = 1
            x = nn.relu(conv(channels, strides=strides, name=f'conv{stage}')(x))
            maps.append(x)
        return maps


def squares(x: Images, side: int) -> Float[Array, 'b h2 w2 n c']:
    """Split images into squares, and list the n = side^2 pixels of each square, row by row.

    Args:
        x: images [B, H, W, C]. H and W are multiples of `side`.
        side: of a square, in pixels.

    Returns:
        [B, H / side, W / side, n, C].
    """
    batch, height, width, channels = x.shape
    rows = height // side
    columns = width // side
    x = x.reshape(batch, rows, side, columns, side, channels)
    x = x.swapaxes(2, 3)
    return x.reshape(batch, rows, columns, side * side, channels)


class Strided(nn.Module):
    """3x3 convolutions, all but the first of stride 2, then pooling and a head.

    A call returns (logits, intermediates): 'stage1', 'stage2', ..., 'pooled', 'logits'.
    Without a head, the logits are the pooled features. `train` and `keys` change
    nothing. A call raises a UserError if the height or width of the images is no
    multiple of shrink * patch.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        widths: of the convolutions.
        shrink: factor by which the image is first reduced, by averaging.
        patch: side of the squares of pixels that become channels of one pixel.
        pool: 'mean' over all pixels, or 'flat' to keep all pixels of the last map.
        dtype: of the computation.
        param_dtype: of the parameters.
        in_loop: True in the body of a scan, or for weights with a batch axis under vmap. It
            changes the speed on a CPU, not the values.
    """

    num_classes: int
    widths: tuple[int, ...]
    shrink: int
    patch: int
    pool: str
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    in_loop: bool = False

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        stages = Stages(
            self.widths,
            self.shrink,
            self.patch,
            self.dtype,
            self.param_dtype,
            self.in_loop,
            name='stages',
        )
        maps = stages(image)
        intermediates = {}
        for stage, feature_map in enumerate(maps, start=1):
            intermediates[f'stage{stage}'] = feature_map
        x = maps[-1]
        if self.pool == 'mean':
            x = x.mean((1, 2))
        else:
            x = x.reshape(x.shape[0], -1)
        intermediates['pooled'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('24-48-96',)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    shrink: int = 1,
    patch: int = 4,
    pool: str = 'mean',
    in_loop: bool = False,
) -> Strided:
    """Build a network of strided convolutions.

    Args:
        variant: widths of the stages, '24-48-96', without an 'x'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        shrink: factor by which the image is first reduced, by averaging.
        patch: side of the squares of pixels that become channels of one pixel. Images must have
            a multiple of shrink * patch pixels along each axis.
        pool: 'mean' for global average pooling, or 'flat' for a head on all pixels of the last map.
        in_loop: True in the body of a scan, or for weights of each episode (MAML). It changes the
            speed on a CPU, not the values.

    Raises:
        UserError: The variant is not such a list, or `pool` is unknown.
    """
    layers.one_of('pool', pool, ('mean', 'flat'))
    return Strided(
        num_classes,
        layers.widths('strided', variant),
        shrink=shrink,
        patch=patch,
        pool=pool,
        dtype=dtype,
        param_dtype=param_dtype,
        in_loop=in_loop,
    )
