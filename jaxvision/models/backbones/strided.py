"""A convolutional network for many small pictures, such as the frames of clips: every convolution
has a stride, so that it costs little."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers


class Stages(nn.Module):
    """3x3 convolutions, of stride 2 but the first, each with ReLU: the map of each.

    The image is first made `shrink` times smaller; of that, `patch` x `patch` pixels become one of
    many channels.
    """

    widths: tuple[int, ...]
    shrink: int
    patch: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    in_loop: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, 'b h w c']
    ) -> list[Float[Array, 'b h2 w2 n']]:
        height, width = image.shape[1:3]
        side = self.shrink * self.patch
        if height % side or width % side:
            raise UserError(
                f'model: squares of {side} pixels (shrink x patch) do not tile images '
                f'of {height}x{width}'
            )
        x = squares(image, self.shrink).mean(3)
        x = squares(x, self.patch).reshape(
            x.shape[0], height // side, width // side, -1
        )
        maps = []
        for stage, channels in enumerate(self.widths, start=1):
            x = nn.relu(
                nn.Conv(
                    channels,
                    (3, 3),
                    1 if stage == 1 else 2,
                    kernel_init=layers.he_normal,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f'conv{stage}',
                    conv_general_dilated=partial(
                        convolution.convolve, in_loop=self.in_loop
                    ),
                )(x)
            )
            maps.append(x)
        return maps


def squares(x: Float[Array, 'b h w c'], side: int) -> Float[Array, 'b h2 w2 n c']:
    """The pixels of each square."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(
        batch, height // side, width // side, side * side, channels
    )


class Strided(nn.Module):
    """Intermediates: 'stage1', 'stage2', ..., 'pooled', 'logits'."""

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
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b n'], dict[str, Array]]:
        maps = Stages(
            self.widths,
            self.shrink,
            self.patch,
            self.dtype,
            self.param_dtype,
            self.in_loop,
            name='stages',
        )(image)
        tensors = {f'stage{stage}': x for stage, x in enumerate(maps, start=1)}
        x = maps[-1]
        x = x.mean((1, 2)) if self.pool == 'mean' else x.reshape(x.shape[0], -1)
        tensors['pooled'] = x
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


# Examples; the docstring of `make` says what others there are.
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
        variant: the stages' widths, '24-48-96'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        shrink: see `Stages`.
        patch: see `Stages`.
        pool: 'mean' forgets where in the image a thing is, 'flat' reads the last map whole.
        in_loop: see `convolution.convolve`; also for weights that are an episode's own (MAML).

    Raises:
        UserError: The variant is not such a list, or `pool` is unknown.
    """
    layers.one_of('pool', pool, ('mean', 'flat'))
    return Strided(
        num_classes,
        read_widths(variant),
        shrink,
        patch,
        pool,
        dtype,
        param_dtype,
        in_loop,
    )


def read_widths(variant: str) -> tuple[int, ...]:
    return tuple(width for width, _ in layers.stages('strided', variant, 1))
