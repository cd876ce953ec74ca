"""Image captioning with soft attention.

Xu et al., "Show, Attend and Tell", 2015, arXiv 1502.03044.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError, unknown
from jaxvision.models.types import Images, Intermediates, Keys, Labels

# (cell, output) of the LSTM.
State = tuple[Float[Array, 'b s'], Float[Array, 'b s']]
# The features that the decoder attends to, and their keys.
Seen = tuple[Float[Array, 'b y x d'], Float[Array, 'b y x a']]


class Captioner(nn.Module):
    """An image encoder, and an LSTM that attends to its feature map before each word.

    Apply `see` once to each image, then `say` for each word. A fixed code of its
    position is concatenated to each feature, so that attention can move, for example,
    from left to right.

    Attributes:
        encoder: a model, called as `encoder(image, train=train, keys=keys)`, which
            returns (logits, intermediates).
        layer: name of the intermediate [B, H, W, C] to attend to.
        vocabulary: number of words.
        hidden: units of the LSTM.
        embedding: width of word embeddings.
        attention: width of keys and queries.
        places: length of the position code, a multiple of 4.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    encoder: nn.Module
    layer: str
    vocabulary: int
    hidden: int = 256
    embedding: int = 64
    attention: int = 128
    places: int = 32
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def setup(self):
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = partial(nn.Dense, **types)
        self.start = dense(2 * self.hidden)
        self.key = dense(self.attention)
        self.query = dense(self.attention, use_bias=False)
        self.energy = dense(1, use_bias=False)
        self.word = nn.Embed(self.vocabulary, self.embedding, **types)
        self.lstm = nn.OptimizedLSTMCell(self.hidden, **types)
        # The gate of section 4.2.1.
        self.gate = dense(1)
        self.of_state = dense(self.embedding)
        self.of_context = dense(self.embedding, use_bias=False)
        self.head = nn.Dense(
            self.vocabulary,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
        )

    def see(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Seen, State]:
        """Encode images for the decoder.

        Args:
            image: [B, H, W, C].
            train: passed on to the encoder.
            keys: passed on to the encoder.

        Returns:
            (features [B, h, w, D], their keys [B, h, w, A]) and the first state of the LSTM,
            (cell, output), each [B, hidden]. D includes the position code.

        Raises:
            UserError: The encoder has no feature map `layer`.
        """
        _, intermediates = self.encoder(image, train=train, keys=keys)
        features = feature_map(intermediates, self.layer)
        batch, height, width, _ = features.shape
        code = place_code(height, width, self.places)
        code = jnp.asarray(code, features.dtype)
        code = jnp.broadcast_to(code, (batch, *code.shape))
        features = jnp.concatenate([features, code], -1)
        start = jnp.tanh(self.start(features.mean((1, 2))))
        cell, output = jnp.split(start, 2, -1)
        return (features, self.key(features)), (cell, output)

    def say(
        self,
        seen: Seen,
        state: State,
        word: Labels,
    ) -> tuple[State, Float[Array, 'b v'], Float[Array, 'b y x']]:
        """Predict the next word from the previous one.

        Args:
            seen: (features, keys) from `see`.
            state: (cell, output) of the LSTM, from `see` or from the previous word.
            word: ids of the previous words, [B]; `decoding.BEGIN` before the first
                word.

        Returns:
            The new state, the logits of the next word [B, V], and attention weights [B, h, w],
            which sum to 1 for each image.
        """
        features, key = seen
        _, output = state
        query = self.query(output)[:, None, None]
        energy = self.energy(jnp.tanh(key + query))
        weights = nn.softmax(energy[..., 0], (1, 2))
        context = jnp.einsum('bhw,bhwc->bc', weights, features)
        context = nn.sigmoid(self.gate(output)) * context
        embedded = self.word(word)
        lstm_input = jnp.concatenate([embedded, context], -1)
        state, output = self.lstm(state, lstm_input)
        hidden = embedded + self.of_state(output) + self.of_context(context)
        logits = self.head(hidden)
        return state, logits, weights

    def __call__(self, image: Images, word: Labels):
        """Encode images and predict one word, which initialises all parameters.

        Args:
            image: [B, H, W, C].
            word: ids of the words before it, [B].

        Returns:
            The new state, the logits of the word [B, V], and attention weights [B, h, w].
        """
        seen, state = self.see(image)
        return self.say(seen, state, word)


def feature_map(intermediates: Intermediates, layer: str) -> Images:
    """Return the intermediate `layer`, and check that it is a feature map [B, H, W, C].

    Raises:
        UserError: There is no feature map of this name.
    """
    maps = [name for name, array in intermediates.items() if array.ndim == 4]
    if not maps:
        raise UserError(
            f'model: expected an encoder with feature maps [B, H, W, C], but it has only '
            f'{", ".join(intermediates)}. Choose a convolutional model.'
        )
    if layer not in maps:
        raise unknown('the model has no feature map', layer, maps)
    return intermediates[layer]


def place_code(
    height: int,
    width: int,
    size: int,
) -> Float[np.ndarray, '{height} {width} {size}']:
    """Code each position of a feature map by sines and cosines of its coordinates.

    Coordinates y and x are in [0, 1]. Each has `size` / 4 frequencies, which start at half a period
    over the image and grow by sqrt(2).

    Args:
        height: of the feature map.
        width: of the feature map.
        size: length of the code of a position, a multiple of 4.

    Returns:
        The codes, [H, W, size]: sines of y, cosines of y, sines of x, cosines of x.
    """
    frequencies = np.pi * 2.0 ** (np.arange(size // 4) / 2)

    def waves(length):
        coordinates = (np.arange(length) + 0.5) / length
        angles = coordinates[:, None] * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], -1)

    rows = waves(height)[:, None]
    columns = waves(width)[None]
    rows, columns = np.broadcast_arrays(rows, columns)
    return np.concatenate([rows, columns], -1)
