"""Encoder and forecaster of ConvLSTMs: what comes after some frames (Shi et al. 2015, arXiv
1506.04214)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import conv_lstm, convolution, layers, resampling


class Forecaster(nn.Module):
    """A stack of ConvLSTMs reads all frames but the last. Another one begins with its states and
    the last frame, answers with the next, and takes that for its own next input.

    All maps are `patch` times smaller than the frames, whose blocks of pixels become channels. With
    `reach` a frame is not only drawn: it is a mix, pixel by pixel, of what is drawn and of the last
    frame, each patch of which has moved up to `reach` pixels along rows and columns (dynamic
    filters, here separable: De Brabandere et al. 2016, arXiv 1605.09673).
    Intermediates: 'state1', 'state2', ...: h of the encoder's stack.
    """

    frames: int  # to answer
    channels: int
    widths: tuple[int, ...]
    patch: int = 4
    window: int = 3
    reach: int = 0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def setup(self):
        def stack():
            return [
                conv_lstm.ConvLSTM(width, self.window, self.dtype, self.param_dtype)
                for width in self.widths
            ]

        self.encoder, self.forecaster = stack(), stack()
        maps = functools.partial(
            convolution.Conv,
            kernel_size=(1, 1),
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
        )
        self.drawing = maps(self.patch**2 * self.channels)
        if self.reach:
            self.motion = maps(2 * (2 * self.reach + 1))
            # At first it is mostly moved.
            self.share = maps(self.patch**2, bias_init=nn.initializers.constant(2.0))

    def __call__(
        self,
        past: Float[Array, 'b s h w c'],
        future: Float[Array, 'b t h w c'] | None = None,
        shown: Bool[Array, 'b t'] | None = None,
    ) -> tuple[Float[Array, 'b t h w c'], dict[str, Array]]:
        """Frames in [0, 1].

        In training the frames of the `future` that are `shown` are given in the
        place of the answers, which are always those for a frame from the frames before it."""
        states = self._encode(past[:, :-1])
        if shown is None:
            future = jnp.zeros(
                (past.shape[0], self.frames, *past.shape[2:]), past.dtype
            )
            shown = jnp.zeros(future.shape[:2], bool)
        _, answers = conv_lstm.over_time(Forecaster._foresee)(
            self, (states, past[:, -1]), (future, shown)
        )
        tensors = {f'state{i}': h for i, (_, h) in enumerate(states, start=1)}
        return answers, tensors

    def _encode(self, frames):
        """The states after these frames, layer by layer."""
        b, time, *shape = frames.shape
        x = self._as_map(frames.reshape(-1, *shape))
        x, states = x.reshape(b, time, *x.shape[1:]), []
        for cell in self.encoder:
            state, x = cell(x)
            states.append(state)
        return states

    def _foresee(self, carry, truth):
        (states, frame), (true_frame, shown) = carry, truth
        x, new = self._as_map(frame), []
        for cell, state in zip(self.forecaster, states, strict=True):
            state, x = cell.step(state, x)
            new.append(state)
        answer = self._draw(jnp.concatenate([h for _, h in new], -1), frame)
        frame = jnp.where(shown[:, None, None, None], true_frame, answer)
        return (new, frame), answer

    def _as_map(self, frame):
        return resampling.pixel_unshuffle(frame, self.patch).astype(self.dtype)

    def _draw(self, x, frame):
        drawn = nn.sigmoid(resampling.pixel_shuffle(self.drawing(x), self.patch))
        if not self.reach:
            return drawn
        rows, columns = jnp.split(self.motion(x), 2, -1)
        turned = _moved_down(frame, rows).swapaxes(1, 2)
        moved = _moved_down(turned, columns.swapaxes(1, 2)).swapaxes(1, 2)
        kept = nn.sigmoid(resampling.pixel_shuffle(self.share(x), self.patch))
        return drawn + kept * (moved - drawn)


def _moved_down(frame, logits):
    """Each pixel the weighted mean of those above and below it, the weights one softmax a patch;
    outside it is black."""
    (size, _, channels), (patches, across, taps) = frame.shape[1:], logits.shape[1:]
    patch, reach, weights = size // patches, taps // 2, nn.softmax(logits)
    # Of each patch the matrix from the rows within its reach to its own: small matrix products are
    # some ten times faster on a CPU than sums over shifted frames.
    band = jnp.stack(
        [jnp.pad(weights, [(0, 0)] * 3 + [(i, patch - 1 - i)]) for i in range(patch)], 3
    )
    padded = jnp.pad(frame, [(0, 0), (reach, reach), (0, 0), (0, 0)])
    near = jnp.stack(
        [padded[:, i : i + patch + 2 * reach] for i in range(0, size, patch)], 1
    )
    near = near.reshape(*near.shape[:3], across, patch * channels)
    return jnp.einsum('bnmik,bnkmj->bnimj', band, near).reshape(frame.shape)


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('64-64',)


def make(
    variant: str,
    *,
    frames: int,
    image_shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    patch: int = 4,
    window: int = 3,
    reach: int = 0,
) -> Forecaster:
    """Build a forecaster.

    Args:
        variant: the ConvLSTMs' widths, '64-64'.
        frames: number of frames to predict.
        image_shape: (height, width, channels) of a frame.
        dtype: of the computation.
        param_dtype: of the parameters.
        patch: side of the squares, in pixels, that are one pixel to the ConvLSTMs.
        window: side of their convolutions, an odd number.
        reach: pixels that a frame's content may be moved; 0 for none.

    Raises:
        UserError: The variant is not such a list, or an option does not fit.
    """
    height, width, channels = image_shape
    if patch < 1 or height % patch or width % patch:
        raise UserError(
            f'model.options.patch={patch} does not divide frames of {width}x{height} '
            'pixels'
        )
    if window < 1 or window % 2 == 0:
        raise UserError(f'model.options.window={window}: an odd number of pixels')
    if reach < 0:
        raise UserError(f'model.options.reach={reach}: pixels, from 0 up')
    widths = tuple(width for width, _ in layers.stages('forecaster', variant, depth=1))
    return Forecaster(
        frames, channels, widths, patch, window, reach, dtype, param_dtype
    )
