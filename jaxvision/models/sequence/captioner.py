"""Show, Attend and Tell: Xu et al., 2015 (arXiv 1502.03044), with its soft attention."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from jaxvision.core.errors import UserError, unknown

State = tuple[Float[Array, 'b s'], Float[Array, 'b s']]  # of the LSTM: cell, output
Seen = tuple[
    Float[Array, 'b y x d'], Float[Array, 'b y x a']
]  # what is attended to, and by what


class Captioner(nn.Module):
    """An encoder's feature map, and an LSTM that looks at it word by word.

    `see` an image once, then `say` each word from the one before. A fixed code of its place is
    beside each feature, so that the attention can be asked to go from left to right.
    """

    encoder: nn.Module  # of images to (logits, intermediates)
    layer: str  # the intermediate [B, H, W, C] that is attended to
    vocabulary: int
    hidden: int = 256
    embedding: int = 64
    attention: int = 128
    places: int = 32  # sines and cosines that tell where a feature is
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
        self.gate = dense(1)  # of section 4.2.1
        self.of_state = dense(self.embedding)
        self.of_context = dense(self.embedding, use_bias=False)
        self.head = nn.Dense(
            self.vocabulary, dtype=self.param_dtype, param_dtype=self.param_dtype
        )

    def see(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Seen, State]:
        """What there is to attend to, and the LSTM's first state."""
        _, tensors = self.encoder(image, train=train, keys=keys)
        features = feature_map(tensors, self.layer)
        where = jnp.asarray(
            place_code(*features.shape[1:3], self.places), features.dtype
        )
        where = jnp.broadcast_to(where, (features.shape[0], *where.shape))
        features = jnp.concatenate([features, where], -1)
        cell, output = jnp.split(jnp.tanh(self.start(features.mean((1, 2)))), 2, -1)
        return (features, self.key(features)), (cell, output)

    def say(
        self, seen: Seen, state: State, word: Int[Array, 'b']
    ) -> tuple[State, Float[Array, 'b v'], Float[Array, 'b y x']]:
        """After `word`: the new state, the next word's logits, and how much of its attention each
        place had."""
        (features, key), (_, output) = seen, state
        energy = self.energy(jnp.tanh(key + self.query(output)[:, None, None]))[..., 0]
        weights = nn.softmax(energy, (1, 2))
        context = jnp.einsum('bhw,bhwc->bc', weights, features)
        context = nn.sigmoid(self.gate(output)) * context
        embedded = self.word(word)
        state, output = self.lstm(state, jnp.concatenate([embedded, context], -1))
        logits = self.head(embedded + self.of_state(output) + self.of_context(context))
        return state, logits, weights

    def __call__(self, image: Float[Array, 'b h w c'], word: Int[Array, 'b']):
        """One word, which is enough to initialise."""
        seen, state = self.see(image)
        return self.say(seen, state, word)


def feature_map(tensors: dict[str, Array], layer: str) -> Float[Array, 'b h w c']:
    """Raises a UserError where there is none of that name."""
    maps = [name for name, tensor in tensors.items() if tensor.ndim == 4]
    if not maps:
        raise UserError(
            'an image is attended to place by place: the model has no feature maps, '
            f'but {", ".join(tensors)}'
        )
    if layer not in maps:
        raise unknown('the model has no feature map', layer, maps)
    return tensors[layer]


def place_code(
    height: int, width: int, size: int
) -> Float[np.ndarray, '{height} {width} {size}']:
    """Sines and cosines of y and of x, each in [0, 1], of `size` / 4 frequencies from half a turn
    over the image upwards."""
    turns = np.pi * 2.0 ** (np.arange(size // 4) / 2)
    y, x = ((np.arange(side) + 0.5) / side for side in (height, width))

    def waves(place):
        return np.concatenate([f(place[:, None] * turns) for f in (np.sin, np.cos)], -1)

    down, right = np.broadcast_arrays(waves(y)[:, None], waves(x)[None])
    return np.concatenate([down, right], -1)
