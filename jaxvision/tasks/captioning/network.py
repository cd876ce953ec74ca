"""A captioner with its preprocessing: it encodes an image, then gives word after word."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Scalars,
)
from jaxvision.core.types import Batch, Tree
from jaxvision.image import color
from jaxvision.models.sequence import captioner, decoding
from jaxvision.tasks.shared.networks import make_model

# Result of `encode`: (features and keys of all places, first state of the LSTM).
Encoded = tuple[captioner.Seen, captioner.State]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionNetwork:
    """A captioner of the spec's images.

    Attributes:
        model: the captioner.
        preprocessing: preprocessing of the images.
        length: of a caption, words and END.
        beam: captions that the beam search keeps.
        dtype: dtype of the images.
    """

    model: captioner.Captioner
    preprocessing: Preprocessing
    length: int
    beam: int
    dtype: DTypeLike

    @classmethod
    def build(
        cls, config: Config, spec: Spec, vocabulary: Sequence[str]
    ) -> 'CaptionNetwork':
        """Build the captioner of a config.

        Args:
            config: config of the run.
            spec: with the length of a caption and the preprocessing.
            vocabulary: the words by number.

        Raises:
            UserError: The model or its variant is wrong.
        """
        options = config.task
        param_dtype = jnp.dtype(config.model.param_dtype)
        model = captioner.Captioner(
            make_model(config, num_classes=0),
            options.layer,
            len(vocabulary),
            **options.decoder,
            dtype=jnp.dtype(config.model.dtype),
            param_dtype=param_dtype,
        )
        (length,) = spec.targets['caption'].shape
        return cls(
            model=model,
            preprocessing=spec.preprocessing,
            length=length,
            beam=options.beam_size,
            dtype=param_dtype,
        )

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Normalise pixels in [0, 1] by the preprocessing's mean and std."""
        return color.normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def images(self, inputs: Batch) -> Float[Array, 'b h w c']:
        """The normalised images of a batch."""
        pixels = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        return self.normalize(pixels)

    def encode(
        self, params: Tree, model_state: Tree, images: Float[Array, 'b h w c']
    ) -> Encoded:
        """Encode normalised images, in inference."""
        variables = {'params': params, **model_state}
        encoded: Any = self.model.apply(variables, images, method='see')
        return encoded

    def encode_to_train(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[Encoded, dict[str, Tree]]:
        """Encode a batch's images in training.

        Args:
            params: parameters of the captioner.
            state: holds the batch statistics.
            batch: training examples.
            key: random key of the step.

        Returns:
            (the encoded images, `aux` of the loss with the new model state).
        """
        model_state = state.model_state['model']
        encoded, model_state = self.model.apply(
            {'params': params, **model_state},
            self.images(batch),
            method='see',
            train=True,
            mutable=list(model_state),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
        )
        return encoded, {'model_state': {'model': model_state}}

    def decoder(
        self, params: Tree, seen: captioner.Seen, any_word: bool = False
    ) -> decoding.Step:
        """Build the function that gives the next word.

        Args:
            params: parameters of the captioner.
            seen: the features and keys of all places.
            any_word: whether BEGIN and UNKNOWN may be the next word.

        Returns:
            `step(state, word) -> (state, logits, attention)`.
        """
        barred = 0
        if not any_word:
            token_ids = np.arange(self.model.vocabulary)
            is_barred = np.isin(token_ids, (decoding.BEGIN, decoding.UNKNOWN))
            barred = np.where(is_barred, -1e9, 0)

        def step(state, word):
            answer: Any = self.model.apply(
                {'params': params}, seen, state, word, method='say'
            )
            state, logits, attention = answer
            return state, logits + jnp.asarray(barred, logits.dtype), attention

        return step

    def apply(
        self,
        variables: Tree,
        images: Float[Array, 'b h w c'],
        caption: Int[Array, 'b l'] | None = None,
    ) -> tuple[Float[Array, 'b l v'], Scalars]:
        """Give the logits of each word of a caption from the words before it.

        Args:
            variables: `TrainState.variables`.
            images: normalised.
            caption: its words by number; None: the greedy caption.

        Returns:
            (the logits, {'features': those attended to [B, Y, X, D], 'attention':
            weights of all places for each word [B, L, Y, X]}).
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        seen, start = self.encode(params, model_state, images)
        if caption is None:
            step = self.decoder(params, seen)
            caption, _ = decoding.greedy(step, start, self.length)
        step = self.decoder(params, seen, any_word=True)
        logits, attention = decoding.forced(step, start, caption)
        return logits, {'features': seen[0], 'attention': attention}

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """The greedy caption with its attention, and the captions of a beam search."""
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        seen, start = self.encode(params, model_state, self.images(inputs))
        step = self.decoder(params, seen)
        caption, attention = decoding.greedy(step, start, self.length)
        beams, log_probabilities = decoding.beam(step, start, self.length, self.beam)
        return {
            'caption': caption,
            'attention': attention,
            'beams': beams,
            'log_probabilities': log_probabilities,
        }
