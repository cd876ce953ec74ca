"""Self-attention with positions, and perceptrons, as detection transformers have them."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Tokens = Float[Array, 'b n d']
# The positions of all tokens, for each image or for all images alike.
Positions = Float[Array, 'b n d'] | Float[np.ndarray, 'n d']
Initializer = nn.initializers.Initializer

xavier = nn.initializers.xavier_uniform()
zeros = nn.initializers.zeros


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that the layers of a transformer share.

    Attributes:
        heads: of the attention, a divisor of the width of the tokens.
        hidden: width inside the perceptrons.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    heads: int
    hidden: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    def dense(self, width: int, name: str) -> nn.Module:
        """Build a linear layer."""
        return nn.Dense(
            width,
            kernel_init=xavier,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def output(
        self,
        width: int,
        name: str,
        kernel_init: Initializer = xavier,
        bias_init: Initializer = zeros,
    ) -> nn.Module:
        """Build a linear layer that computes in the dtype of its parameters.

        Args:
            width: of its outputs.
            name: of the module.
            kernel_init: initialiser of the kernel.
            bias_init: initialiser of the bias.
        """
        return nn.Dense(
            width,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def norm(self, name: str) -> nn.Module:
        """Build a layer norm."""
        return nn.LayerNorm(
            epsilon=1e-5, dtype=self.dtype, param_dtype=self.param_dtype, name=name
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention, called as `attention(tokens, positions)`.

    Positions are added to the input of queries and keys, not to that of the values.

    Attributes:
        settings: of the transformer.
    """

    settings: Settings

    @nn.compact
    def __call__(self, x: Tokens, positions: Positions) -> Tokens:
        placed = x + jnp.asarray(positions, x.dtype)
        queries = self._heads(placed, 'query')
        keys = self._heads(placed, 'key')
        values = self._heads(x, 'value')
        scores = jnp.einsum('bqhd,bkhd->bhqk', queries, keys)
        # The softmax sums over all tokens, so it needs float32 even if the rest is bfloat16.
        precise = jnp.promote_types(x.dtype, jnp.float32)
        scores = scores.astype(precise) / np.sqrt(queries.shape[-1])
        weights = nn.softmax(scores).astype(x.dtype)
        y = jnp.einsum('bhqk,bkhd->bqhd', weights, values)
        return self.settings.dense(x.shape[-1], 'out')(y.reshape(x.shape))

    def _heads(self, x: Tokens, name: str) -> Float[Array, 'b n heads c']:
        batch, number, width = x.shape
        y = self.settings.dense(width, name)(x)
        return y.reshape(batch, number, self.settings.heads, -1)


class Perceptron(nn.Module):
    """A hidden layer, and a layer of the width of the tokens.

    Attributes:
        settings: of the transformer.
        activation: of the hidden layer.
    """

    settings: Settings
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        y = self.settings.dense(self.settings.hidden, 'dense1')(x)
        return self.settings.dense(x.shape[-1], 'dense2')(self.activation(y))
