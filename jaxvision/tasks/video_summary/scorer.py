"""A model that scores the frames of videos, with its input and its loss."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Evaluation,
    Scalars,
)
from jaxvision.core.types import Batch, Module, Tree
from jaxvision.image import color, descriptors
from jaxvision.tasks.shared import feature_extractor
from jaxvision.tasks.shared.networks import make_model
from jaxvision.tasks.video_summary import losses, metrics, similarity
from jaxvision.train import update

# `(frozen variables, frames [B, T, H, W, C] in [0, 1]) -> [B, T, D]`, of length 1 at most.
FrameFeatures = Callable[[Tree, Float[Array, 'b t h w c']], Float[Array, 'b t d']]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that scores frames, with its preprocessing and its loss.

    Attributes:
        model: of frames or similarities, and their mask, to logits [B, T].
        preprocessing: preprocessing of the frames.
        features: function from frames to fixed features.
        input_kind: kind of the model's input.
        supervised: whether it learns the importance of frames.
        target: target of a frame in supervised training.
        episodes: summaries that are drawn of a video in a step.
        dtype: dtype of the frames.
    """

    model: Module
    preprocessing: Preprocessing
    features: FrameFeatures
    input_kind: Literal['frames', 'similarity']
    supervised: bool
    target: Literal['rank', 'value']
    episodes: int
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Scorer':
        options = config.task
        dtype = jnp.dtype(config.model.param_dtype)
        return cls(
            model=make_model(config),
            preprocessing=spec.preprocessing,
            features=make_features(options, spec, dtype),
            input_kind=options.input,
            supervised=options.supervised,
            target=options.target,
            episodes=options.episodes,
            dtype=dtype,
        )

    def init(self, key: jax.Array, batch: Batch) -> Tree:
        """Draw the model's variables."""
        shape = batch['video'].shape
        if self.input_kind == 'similarity':
            shape = (*shape[:2], similarity.WIDTH)
        mask = jnp.ones(shape[:2], bool)
        return self.model.init(key, jnp.zeros(shape, self.dtype), mask)

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Normalise pixels in [0, 1] by mean and std, unless similarities are made of them."""
        if self.input_kind == 'similarity':
            return pixels
        return color.normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def frames(
        self, inputs: Batch
    ) -> tuple[Float[Array, 'b t h w c'], Bool[Array, 'b t']]:
        """The frames in [0, 1], and which of them are no padding."""
        pixels = color.to_float(jnp.asarray(inputs['video']), self.dtype)
        # The mask is made a float first: TFLite compares no uint8.
        return pixels, jnp.asarray(inputs['video_mask'], self.dtype) > 0

    def masked_features(
        self, frozen: Tree, pixels: Float[Array, 'b t h w c'], mask: Bool[Array, 'b t']
    ) -> Float[Array, 'b t d']:
        """The features of frames in [0, 1]; 0 for padding.

        Args:
            frozen: `state.frozen`, with the classifier's variables.
            pixels: the frames.
            mask: True for frames, False for padding.
        """
        features = self.features(frozen, pixels)
        return features * mask[..., None].astype(self.dtype)

    def model_input(
        self,
        pixels: Float[Array, 'b t h w c'],
        features: Float[Array, 'b t d'],
        mask: Bool[Array, 'b t'],
    ) -> Float[Array, 'b t *n']:
        """The input of the model.

        Args:
            pixels: the frames in [0, 1].
            features: those of `masked_features`.
            mask: True for frames, False for padding.
        """
        if self.input_kind == 'similarity':
            return jax.vmap(similarity.similarity)(features, mask)
        return self.normalize(pixels)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, update.Aux]:
        """The error of the scores or the negative reward, as `update.from_loss` takes it."""
        pixels, mask = self.frames(batch)
        features = self.masked_features(state.frozen, pixels, mask)
        (logits, _), model_state = self.model.apply(
            {'params': params, **state.model_state['model']},
            self.model_input(pixels, features, mask),
            mask,
            train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
        )
        aux = {'model_state': {'model': model_state}}
        if self.supervised:
            return {'mse': self.regression(logits, batch['importance'], mask)}, aux
        episode_keys = keys.per_example(keys.stream(key, 'episodes'), batch['index'])
        reinforce = functools.partial(losses.reinforce, episodes=self.episodes)
        policy, reward = jax.vmap(reinforce)(
            episode_keys, losses.bounded(logits), features, mask
        )
        ones = jnp.ones_like(reward)
        return {'policy': (policy, ones)}, {
            **aux,
            'scalars': {'reward': (reward, ones)},
        }

    def regression(
        self,
        logits: Float[Array, 'b t'],
        importance: Float[Array, 'b t'],
        mask: Bool[Array, 'b t'],
    ) -> tuple[Float[Array, 'b'], Float[Array, 'b']]:
        """The squared error of the scores.

        Args:
            logits: logits of the frames.
            importance: importance of the frames.
            mask: True for frames, False for padding.

        Returns:
            (sums over the frames of each video, numbers of frames).
        """
        target = importance
        if self.target == 'rank':
            target = jax.vmap(losses.ranks)(importance, mask)
        errors = jnp.where(mask, jnp.square(jax.nn.sigmoid(logits) - target), 0)
        return errors.sum(1), mask.sum(1, dtype=errors.dtype)

    def apply(
        self,
        variables: Tree,
        frames: Float[Array, 'b t h w c'],
        mask: Bool[Array, 'b t'],
    ) -> tuple[Float[Array, 'b t'], Scalars]:
        """The logits of the scores, and named intermediates.

        Args:
            variables: `TrainState.variables`.
            frames: normalised.
            mask: True for frames, False for padding.
        """
        if self.input_kind == 'frames':
            return self._logits(variables, frames, mask)
        features = self.masked_features(variables['frozen'], frames, mask)
        model_input = self.model_input(frames, features, mask)
        return self._logits(variables, model_input, mask)

    def _logits(
        self, variables: Tree, model_input: Array, mask: Array
    ) -> tuple[Float[Array, 'b t'], Scalars]:
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        logits, intermediates = self.model.apply(
            {'params': params, **model_state}, model_input, mask
        )
        if not self.supervised:
            logits = losses.bounded(logits)
        return logits, intermediates

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """The scores of frames [B, T] in (0, 1), 0 for padding, and their features."""
        pixels, mask = self.frames(inputs)
        features = self.masked_features(variables['frozen'], pixels, mask)
        model_input = self.model_input(pixels, features, mask)
        logits, _ = self._logits(variables, model_input, mask)
        scores = jax.nn.sigmoid(logits) * mask.astype(self.dtype)
        return {'scores': scores, 'features': features}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """The scores and features of a video, and its importance where it is known."""
        records = {'scores': outputs['scores'], 'features': outputs['features']}
        for name in ('video_mask', 'importance'):
            if name in batch:
                records[name] = batch[name]
        return records

    def evaluation(self, has_importance: bool) -> Evaluation:
        """Rewards of summaries, and agreement with the importance, on the test split."""

        def evaluate(state, batch):
            return self.record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=metrics.summarize,
            metrics=metrics.names(has_importance),
            record=self.record,
        )


def make_features(options: Config, spec: Spec, dtype: DTypeLike) -> FrameFeatures:
    """Build the function from frames to features that no training changes.

    Args:
        options: `config.task`.
        spec: with the classifier, where `task.features` names one.
        dtype: dtype of the computation.
    """
    if options.features == 'layout':

        def layout(frozen, frames):
            return jax.vmap(jax.vmap(descriptors.layout))(frames)

        return layout
    extract = feature_extractor.build(
        spec.networks['feature_extractor'], options.layer, dtype
    )

    def extracted(frozen, frames):
        batch, time, *image_shape = frames.shape
        named = extract(frozen['feature_extractor'], frames.reshape(-1, *image_shape))
        features = named[options.layer]
        features = features.mean(range(1, features.ndim - 1)).reshape(batch, time, -1)
        length = jnp.sqrt(jnp.square(features).sum(-1, keepdims=True))
        return features / jnp.maximum(length, 1e-6)

    return extracted
