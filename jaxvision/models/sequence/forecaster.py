"""Video prediction by an encoder and a forecaster of ConvLSTMs.

Shi et al. 2015, arXiv 1506.04214.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import conv_lstm, convolution, layers, resampling
from jaxvision.models.types import Images, Intermediates

Frames = Float[Array, 'b t h w c']
Frame = Float[Array, 'b h w c']
Map = Float[Array, 'b y x n']
# The states of a stack of ConvLSTMs.
States = list[conv_lstm.State]


class Forecaster(nn.Module):
    """A ConvLSTM encoder of past frames, and a ConvLSTM forecaster of future frames.

    The encoder reads all frames but the last. The forecaster starts with its states and the last
    frame. It predicts the next frame, which becomes its next input.

    A call takes past frames [B, S, H, W, C] in [0, 1]. It returns (T predicted frames
    [B, T, H, W, C] in [0, 1], intermediates): 'state1', 'state2', ... of the encoder.
    In training it also takes the true frames `future` [B, T, H, W, C] and `shown` [B,
    T]. If `shown` is True for a frame, the next input is the true frame.

    All maps are `patch` times smaller than the frames, and blocks of pixels become channels. With
    `reach`, a prediction is a mixture at each pixel of a generated frame and of the moved last
    frame. Each patch moves up to `reach` pixels along rows and columns. This is a separable form of
    dynamic filters (De Brabandere et al. 2016, arXiv 1605.09673).

    Attributes:
        frames: number of frames to predict without `shown`.
        channels: of a frame.
        widths: of the ConvLSTMs, the same for encoder and forecaster.
        patch: side of the squares of pixels that are one pixel to the ConvLSTMs.
        window: side of the kernels of the ConvLSTMs, an odd number.
        reach: pixels that a patch of the last frame may move, 0 to generate all pixels.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    frames: int
    channels: int
    widths: tuple[int, ...]
    patch: int = 4
    window: int = 3
    reach: int = 0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def setup(self):
        self.encoder = self._stack()
        self.forecaster = self._stack()
        maps = functools.partial(
            convolution.Conv,
            kernel_size=(1, 1),
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
        )
        self.drawing = maps(self.patch**2 * self.channels)
        if self.reach:
            taps = 2 * self.reach + 1
            self.motion = maps(2 * taps)
            # A positive bias: at first most of a prediction is moved.
            bias = nn.initializers.constant(2.0)
            self.share = maps(self.patch**2, bias_init=bias)

    def _stack(self) -> list[conv_lstm.ConvLSTM]:
        return [
            conv_lstm.ConvLSTM(width, self.window, self.dtype, self.param_dtype)
            for width in self.widths
        ]

    def __call__(
        self,
        past: Float[Array, 'b s h w c'],
        future: Frames | None = None,
        shown: Bool[Array, 'b t'] | None = None,
    ) -> tuple[Frames, Intermediates]:
        """Predict future frames.

        Args:
            past: frames in [0, 1], [B, S, H, W, C].
            future: in training, the true future frames, [B, T, H, W, C]. It is ignored without
                `shown`.
            shown: True where the true frame, instead of the prediction of it, is the input for
                the frame after it, [B, T]. None: T is `frames`, and predictions are the inputs.

        Returns:
            Predicted frames [B, T, H, W, C] in [0, 1], each from the frames before it, and
            intermediates: 'state1', 'state2', ..., hidden states of the encoder's layers
            [B, h, w, N] after its last frame.
        """
        batch, _, *frame_shape = past.shape
        states = self._encode(past[:, :-1])
        if shown is None:
            future = jnp.zeros((batch, self.frames, *frame_shape), past.dtype)
            shown = jnp.zeros((batch, self.frames), bool)
        start = (states, past[:, -1])
        predict = conv_lstm.over_time(Forecaster._predict_frame)
        _, predictions = predict(self, start, (future, shown))
        intermediates = {}
        for i, (_, hidden) in enumerate(states, start=1):
            intermediates[f'state{i}'] = hidden
        return predictions, intermediates

    def _encode(self, frames: Float[Array, 'b _s _h _w _c']) -> States:
        """The state of each layer after these frames."""
        batch, time, *frame_shape = frames.shape
        x = self._as_map(frames.reshape(-1, *frame_shape))
        x = x.reshape(batch, time, *x.shape[1:])
        states = []
        for cell in self.encoder:
            state, x = cell(x)
            states.append(state)
        return states

    def _predict_frame(self, carry, truth):
        """Predict one frame, and choose the next input."""
        states, frame = carry
        true_frame, shown = truth
        x = self._as_map(frame)
        new_states = []
        for cell, state in zip(self.forecaster, states, strict=True):
            state, x = cell.step(state, x)
            new_states.append(state)
        hidden = jnp.concatenate([h for _, h in new_states], -1)
        prediction = self._draw(hidden, frame)
        is_shown = shown[:, None, None, None]
        frame = jnp.where(is_shown, true_frame, prediction)
        return (new_states, frame), prediction

    def _as_map(self, frame: Images) -> Map:
        patches = resampling.pixel_unshuffle(frame, self.patch)
        return patches.astype(self.dtype)

    def _draw(self, x: Map, frame: Frame) -> Frame:
        """Compute the next frame from hidden states and the last frame."""
        pixels = resampling.pixel_shuffle(self.drawing(x), self.patch)
        generated = nn.sigmoid(pixels)
        if not self.reach:
            return generated
        rows, columns = jnp.split(self.motion(x), 2, -1)
        transposed = _moved_down(frame, rows).swapaxes(1, 2)
        moved = _moved_down(transposed, columns.swapaxes(1, 2))
        moved = moved.swapaxes(1, 2)
        moved_fraction = resampling.pixel_shuffle(self.share(x), self.patch)
        moved_fraction = nn.sigmoid(moved_fraction)
        return generated + moved_fraction * (moved - generated)


def _moved_down(frame: Frame, logits: Map) -> Frame:
    """Move each patch of a frame along its columns, by a distribution over shifts.

    Args:
        frame: [B, H, W, C]. It is black outside.
        logits: of the shifts of each patch, [B, H / patch, W / patch, 2 * reach + 1].
    """
    _, height, _, channels = frame.shape
    _, rows, columns, taps = logits.shape
    patch = height // rows
    reach = taps // 2
    weights = nn.softmax(logits)
    # For each patch, a matrix from the rows within its reach to its rows. On a CPU, products with
    # small matrices are about ten times as fast as sums over shifted frames.
    unchanged = [(0, 0), (0, 0), (0, 0)]
    bands = []
    for i in range(patch):
        bands.append(jnp.pad(weights, [*unchanged, (i, patch - 1 - i)]))
    band = jnp.stack(bands, 3)
    padded = jnp.pad(frame, [(0, 0), (reach, reach), (0, 0), (0, 0)])
    neighbourhoods = []
    for top in range(0, height, patch):
        neighbourhoods.append(padded[:, top : top + patch + 2 * reach])
    near = jnp.stack(neighbourhoods, 1)
    near = near.reshape(*near.shape[:3], columns, patch * channels)
    moved = jnp.einsum('bnmik,bnkmj->bnimj', band, near)
    return moved.reshape(frame.shape)


# Examples. The docstring of `make` describes all variants.
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
        variant: widths of the ConvLSTMs, '64-64', without an 'x'.
        frames: number of frames to predict.
        image_shape: (height, width, channels) of a frame.
        dtype: of the computation.
        param_dtype: of the parameters.
        patch: side of the squares of pixels that are one pixel to the ConvLSTMs.
        window: side of their kernels, an odd number.
        reach: pixels that a patch of the last frame may move, 0 to generate all pixels.

    Raises:
        UserError: The variant is not such a list, or an option does not fit.
    """
    height, width, channels = image_shape
    if patch < 1 or height % patch or width % patch:
        raise UserError(
            f'model.options.patch={patch}: expected a divisor of the height and width of '
            f'frames of {height}x{width} pixels. Change patch.'
        )
    if window < 1 or window % 2 == 0:
        raise UserError(
            f'model.options.window={window}: expected an odd number of pixels.'
        )
    if reach < 0:
        raise UserError(
            f'model.options.reach={reach}: expected 0 or a positive number of pixels.'
        )
    widths = layers.widths('forecaster', variant)
    return Forecaster(
        frames,
        channels,
        widths,
        patch=patch,
        window=window,
        reach=reach,
        dtype=dtype,
        param_dtype=param_dtype,
    )
