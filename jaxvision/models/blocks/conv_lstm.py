"""The convolutional LSTM (Shi et al. 2015, arXiv 1506.04214), without peepholes."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution

State = tuple[Float[Array, 'b h w n'], Float[Array, 'b h w n']]  # (c, h)

LoopConv = functools.partial(
    nn.Conv, conv_general_dilated=functools.partial(convolution.convolve, in_loop=True)
)


def open_to_the_past(key, shape, dtype=jnp.float32) -> Array:
    """Biases of the gates i, f, g, o: that of f is 1, so that cells remember at first."""
    return jnp.zeros(shape, dtype).reshape(4, -1).at[1].set(1).reshape(shape)


class ConvLSTM(nn.Module):
    """LSTM whose gates see a window around each pixel, of its input and of its own last answer:

    i, f, g, o = W_x * x + W_h * h + b
    c <- sigmoid(f) c + sigmoid(i) tanh(g),    h <- sigmoid(o) tanh(c)
    """

    width: int
    window: int = 3
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def setup(self):
        conv = functools.partial(
            LoopConv,
            4 * self.width,
            (self.window, self.window),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        self.from_input = conv(bias_init=open_to_the_past)
        self.from_hidden = conv(
            use_bias=False, kernel_init=nn.initializers.orthogonal()
        )

    def blank(self, x: Float[Array, 'b *t h w c']) -> State:
        """The state before the first frame."""
        zeros = jnp.zeros((x.shape[0], *x.shape[-3:-1], self.width), self.dtype)
        return zeros, zeros

    def step(
        self, state: State, x: Float[Array, 'b h w c']
    ) -> tuple[State, Float[Array, 'b h w n']]:
        """One frame: the new state, and its h."""
        return self._advance(state, self.from_input(x))

    def __call__(
        self, x: Float[Array, 'b t h w c'], state: State | None = None
    ) -> tuple[State, Float[Array, 'b t h w n']]:
        """All frames: the last state, and h after each frame."""
        # What does not depend on the recurrence is computed of all frames at once.
        given = self.from_input(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:-1], -1)
        return over_time(ConvLSTM._advance)(self, state or self.blank(x), given)

    def _advance(self, state, given):
        """`given`: what the gates have of the input."""
        c, h = state
        i, f, g, o = jnp.split(given + self.from_hidden(h), 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h


# A method (module, state, x) -> (state, y) over the frames, axis 1, of x and y.
over_time = functools.partial(
    nn.scan,
    variable_broadcast='params',
    split_rngs={'params': False},
    in_axes=1,
    out_axes=1,
)
