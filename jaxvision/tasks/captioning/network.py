"""A captioner with its preprocessing: an image encoder and a decoder of words."""

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
from jaxvision.models.types import Images
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import update

# Result of `encode`: (features and attention keys of all places, first state of the LSTM).
Encoded = tuple[captioner.Seen, captioner.State]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionNetwork:
    """A captioner with its preprocessing, decoding and loss inputs.

    Attributes:
        model: the Flax module.
        preprocessing: preprocessing of the images.
        length: length of a caption: words and END.
        beam: number of captions that the beam search keeps.
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
            spec: spec of the run, with the length of a caption and the preprocessing.
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
        """Normalise pixels [..., C] in [0, 1] by the preprocessing's mean and std of channels."""
        return color.normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def images(self, inputs: Batch) -> Images:
        """Read `inputs['image']`, in [0, 255], and return it normalised, [B, H, W, C]."""
        pixels = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        return self.normalize(pixels)

    def encode(self, params: Tree, model_state: Tree, images: Images) -> Encoded:
        """Encode images, in inference.

        Args:
            params: parameters of the captioner.
            model_state: model state, such as batch statistics.
            images: normalised images.

        Returns:
            ((features [B, Y, X, D], attention keys [B, Y, X, A]) of all places, (cell, output)
            of the LSTM before the first word).
        """
        variables = {'params': params, **model_state}
        encoded: Any = self.model.apply(variables, images, method='see')
        return encoded

    def encode_to_train(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[Encoded, update.Aux]:
        """Encode the images of a batch, in training.

        Args:
            params: parameters of the captioner.
            state: train state, with the batch statistics.
            batch: training examples.
            key: random key of the step.

        Returns:
            (the encoded images, as `encode` returns them, {'model_state': {'model': the new model
            state}}, the `aux` of a loss).
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
        self, params: Tree, places: captioner.Seen, any_word: bool = False
    ) -> decoding.Step:
        """Build the function that computes the logits of the next word.

        Args:
            params: parameters of the captioner.
            places: features and attention keys of all places.
            any_word: whether the next word may be BEGIN or UNKNOWN.

        Returns:
            `step(state, word [B]) -> (state, logits [B, V], attention [B, Y, X])`, where `word` is
            the previous word. A word that is excluded has its logit lowered by 1e9.
        """
        penalty = 0
        if not any_word:
            tokens = np.arange(self.model.vocabulary)
            is_excluded = np.isin(tokens, (decoding.BEGIN, decoding.UNKNOWN))
            penalty = np.where(is_excluded, -1e9, 0)

        def step(state, word):
            outputs: Any = self.model.apply(
                {'params': params}, places, state, word, method='say'
            )
            state, logits, attention = outputs
            return state, logits + jnp.asarray(penalty, logits.dtype), attention

        return step

    def apply(
        self,
        variables: Tree,
        images: Images,
        caption: Int[Array, 'b l'] | None = None,
    ) -> tuple[Float[Array, 'b l v'], Scalars]:
        """Compute the logits of each word of a caption from the words before it.

        Args:
            variables: `TrainState.variables`.
            images: normalised images.
            caption: word numbers of the captions; None: the greedy captions.

        Returns:
            (the logits [B, L, V], {'features': the encoded images [B, Y, X, D], 'attention':
            weights of all places for each word [B, L, Y, X]}). BEGIN and UNKNOWN are not
            excluded from the logits.
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        places, start = self.encode(params, model_state, images)
        if caption is None:
            step = self.decoder(params, places)
            caption, _ = decoding.greedy(step, start, self.length)
        step = self.decoder(params, places, any_word=True)
        logits, attention = decoding.forced(step, start, caption)
        features, _ = places
        return logits, {'features': features, 'attention': attention}

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the greedy caption with its attention, and the captions of a beam search.

        Args:
            variables: `TrainState.variables`.
            inputs: a batch with 'image', not yet normalised.

        Returns:
            'caption' [B, L] and 'beams' [B, beam, L], the likeliest first: word numbers, then
            END. 'attention' [B, L, Y, X] of the greedy caption. 'log_probabilities' [B, beam]
            of the beams: natural logarithms, summed over the words.
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        places, start = self.encode(params, model_state, self.images(inputs))
        step = self.decoder(params, places)
        caption, attention = decoding.greedy(step, start, self.length)
        beams, log_probabilities = decoding.beam(step, start, self.length, self.beam)
        return {
            'caption': caption,
            'attention': attention,
            'beams': beams,
            'log_probabilities': log_probabilities,
        }
