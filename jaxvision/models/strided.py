"""A convolutional network for many small pictures, such as the frames of clips: every convolution
has a stride, so that it costs little, and the last map is read whole, so that places count."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.errors import UserError
from jaxvision.models import layers


class Strided(nn.Module):
    """3x3 convolutions of stride 2, behind a first one of a larger stride; each with group norm and
    ReLU.

    Intermediates: 'stage1', 'stage2', ..., 'pooled', 'logits'.
    """

    num_classes: int
    widths: tuple[int, ...]
    patch: int
    pool: str
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b n'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        tensors, x = {}, image
        for stage, width in enumerate(self.widths, start=1):
            stride = self.patch if stage == 1 else 2
            size = 2 * stride if stage == 1 else 3
            x = layers.Conv(width, (size, size), stride, use_bias=False,
                            kernel_init=layers.he_normal, name=f'conv{stage}', **types)(x)
            x = nn.GroupNorm(num_groups=None, group_size=min(8, width), epsilon=1e-5, name=f'norm{stage}', **types)(x)
            tensors[f'stage{stage}'] = x = nn.relu(x)
        x = x.mean((1, 2)) if self.pool == 'mean' else x.reshape(len(x), -1)
        tensors['pooled'] = x
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


def make(
    spec: dict,
    variant: str,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    patch: int = 4,
    pool: str = 'flat',
) -> Strided:
    """A network whose `variant` lists the stages' widths, '24-48-96'."""
    layers.one_of('pool', pool, ('flat', 'mean'))
    widths = tuple(width for width, _ in layers.stages('strided', variant, 1))
    return Strided(len(spec['class_names']), widths, patch, pool, dtype, param_dtype)
