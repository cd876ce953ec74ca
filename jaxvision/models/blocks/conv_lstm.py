"""Convolutional LSTM without peepholes (Shi et al. 2015, arXiv 1506.04214)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution
from jaxvision.models.types import Images

# A map of `n` channels after one frame, and after each frame.
Hidden = Float[Array, 'b h w n']
HiddenStates = Float[Array, 'b t h w n']
# (cell, hidden state).
State = tuple[Hidden, Hidden]

LoopConv = functools.partial(
    nn.Conv,
    conv_general_dilated=functools.partial(convolution.convolve, in_loop=True),
)


def open_to_the_past(key, shape, dtype=jnp.float32) -> Array:
    """Initialise the biases of the gates i, f, g, o: 1 for f, so that cells start remembering.

    Args:
        key: not used. Flax passes a key to every initialiser.
        shape: (4 * N,), for N channels.
        dtype: of the biases.

    Returns:
        N zeros, N ones and 2 N zeros.
    """
    biases = jnp.zeros(shape, dtype).reshape(4, -1)
    return biases.at[1].set(1).reshape(shape)


class ConvLSTM(nn.Module):
    """LSTM whose gates are convolutions of the input and of the previous hidden state.

    i, f, g, o = W_x * x + W_h * h + b
    c <- sigmoid(f) c + sigmoid(i) tanh(g),    h <- sigmoid(o) tanh(c)

    A call takes frames [B, T, H, W, C] and the (cell, hidden state) before them, or
    None for zeros. It returns ((cell, hidden state) after the last frame, all hidden
    states [B, T, H, W, N]).

    Attributes:
        width: number of channels N of the cell and of the hidden state.
        window: side of the kernels in pixels.
        dtype: of the computation.
        param_dtype: of the parameters.
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
            use_bias=False,
            kernel_init=nn.initializers.orthogonal(),
        )

    def blank(self, x: Float[Array, 'b *t h w c']) -> State:
        """Return the state before the first frame: two arrays of zeros [B, H, W, N].

        `x` is one frame [B, H, W, C] or a clip [B, T, H, W, C]. Only its shape is used.
        """
        batch, *_, height, width, _ = x.shape
        zeros = jnp.zeros((batch, height, width, self.width), self.dtype)
        return zeros, zeros

    def step(self, state: State, x: Images) -> tuple[State, Hidden]:
        """Process one frame.

        Args:
            state: (cell, hidden state) before the frame, each [B, H, W, N].
            x: the frame, [B, H, W, C].

        Returns:
            The new (cell, hidden state), and the new hidden state once more.
        """
        return self._advance(state, self.from_input(x))

    def __call__(
        self,
        x: Float[Array, 'b t h w c'],
        state: State | None = None,
    ) -> tuple[State, HiddenStates]:
        """Process all frames.

        Args:
            x: frames, [B, T, H, W, C].
            state: (cell, hidden state) before the first frame. None: zeros.

        Returns:
            (cell, hidden state) after the last frame, and the hidden state after each frame
            [B, T, H, W, N].
        """
        # This part does not depend on the recurrence, so all frames are computed at once.
        frames = x.reshape(-1, *x.shape[2:])
        inputs = self.from_input(frames)
        inputs = inputs.reshape(*x.shape[:-1], -1)
        advance = over_time(ConvLSTM._advance)
        return advance(self, state or self.blank(x), inputs)

    def _advance(self, state: State, inputs: Array) -> tuple[State, Hidden]:
        """Update the state, given the input's contribution to the gates."""
        c, h = state
        gates = inputs + self.from_hidden(h)
        i, f, g, o = jnp.split(gates, 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h


# Turns a method (module, state, x) -> (state, y) into one that loops over axis 1 of x and y.
over_time = functools.partial(
    nn.scan,
    variable_broadcast='params',
    split_rngs={'params': False},
    in_axes=1,
    out_axes=1,
)
