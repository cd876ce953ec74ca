"""A model that scores the frames of videos, with its preprocessing and losses."""

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

# One number for each frame.
FrameScores = Float[Array, 'b t']

# Frames of videos.
Videos = Float[Array, 'b t h w c']
# False for padding behind a short video.
Mask = Bool[Array, 'b t']

# `(frozen variables, frames in [0, 1]) -> features`, with vectors of norm 1 at most.
FrameFeatures = Callable[[Tree, Videos], Float[Array, 'b t d']]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that scores frames, with its preprocessing and losses.

    Attributes:
        model: `(frames or similarities, mask) -> (logits [B, T], intermediates)`.
        preprocessing: preprocessing of the frames.
        features: `(state.frozen, frames [B, T, H, W, C] in [0, 1]) -> features [B, T, D]`, which
            are not trained.
        input_kind: whether the input of the model is frames or similarities.
        supervised: whether the model learns importance (True) or maximises rewards.
        target: target of a frame in supervised training: rank or value of its importance.
        episodes: number of summaries that are sampled per video and step.
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
        """Build the model and the feature extractor of a config.

        Raises:
            UserError: The model or the feature extractor is wrong.
        """
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
        """Initialise the variables of the model, {'params': tree, ...}.

        Only the shape of `batch['video']` is used.
        """
        shape = batch['video'].shape
        if self.input_kind == 'similarity':
            shape = (*shape[:2], similarity.WIDTH)
        mask = jnp.ones(shape[:2], bool)
        return self.model.init(key, jnp.zeros(shape, self.dtype), mask)

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Normalise pixels in [0, 1] by mean and std, if the model's input is frames.

        If its input is similarities, the pixels are returned unchanged.
        """
        if self.input_kind == 'similarity':
            return pixels
        return color.normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def frames(self, inputs: Batch) -> tuple[Videos, Mask]:
        """Read videos from a batch.

        Args:
            inputs: 'video' [B, T, H, W, C] in [0, 255], and 'video_mask' [B, T], above 0 for
                frames.

        Returns:
            (the frames in [0, 1], their mask [B, T], False for padding).
        """
        pixels = color.to_float(jnp.asarray(inputs['video']), self.dtype)
        # The mask becomes a float first, because TFLite cannot compare uint8.
        return pixels, jnp.asarray(inputs['video_mask'], self.dtype) > 0

    def masked_features(
        self, frozen: Tree, pixels: Videos, mask: Mask
    ) -> Float[Array, 'b t d']:
        """Compute the features of frames; 0 for padding.

        Args:
            frozen: `state.frozen`, with the variables of the feature extractor.
            pixels: frames in [0, 1].
            mask: True for frames, False for padding.
        """
        features = self.features(frozen, pixels)
        return features * mask[..., None].astype(self.dtype)

    def model_input(
        self,
        pixels: Videos,
        features: Float[Array, 'b t d'],
        mask: Mask,
    ) -> Float[Array, 'b t *n']:
        """Compute the input of the model: normalised frames or similarities.

        Args:
            pixels: frames in [0, 1].
            features: result of `masked_features`.
            mask: True for frames, False for padding.

        Returns:
            Frames [B, T, H, W, C], or similarities [B, T, 24].
        """
        if self.input_kind == 'similarity':
            return jax.vmap(similarity.similarity)(features, mask)
        return self.normalize(pixels)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the squared error of the scores, or the REINFORCE loss.

        Args:
            params: parameters of the model.
            state: train state, with the model state and the feature extractor.
            batch: training examples.
            key: random key of the step.

        Returns:
            (terms, aux). The term is 'mse', (sum over the frames [B], number of frames [B]), or
            'policy', (REINFORCE loss [B], ones [B]). `aux` has the new 'model_state' and, with
            'policy', 'scalars': {'reward': (mean over the summaries [B], ones [B])}.
        """
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
            episode_keys, losses.bound_logits(logits), features, mask
        )
        ones = jnp.ones_like(reward)
        scalars = {'reward': (reward, ones)}
        return {'policy': (policy, ones)}, {**aux, 'scalars': scalars}

    def regression(
        self,
        logits: FrameScores,
        importance: FrameScores,
        mask: Mask,
    ) -> tuple[Float[Array, 'b'], Float[Array, 'b']]:
        """Compute the squared error between scores and targets.

        The score of a frame is the sigmoid of its logit. Its target is the importance, or the
        rank of the importance in the video.

        Args:
            logits: logits of the frames.
            importance: importance of the frames.
            mask: True for frames, False for padding.

        Returns:
            (sum over the frames of each video, number of frames of each video).
        """
        target = importance
        if self.target == 'rank':
            target = jax.vmap(losses.ranks)(importance, mask)
        errors = jnp.where(mask, jnp.square(jax.nn.sigmoid(logits) - target), 0)
        return errors.sum(1), mask.sum(1, dtype=errors.dtype)

    def apply(
        self,
        variables: Tree,
        frames: Videos,
        mask: Mask,
    ) -> tuple[FrameScores, Scalars]:
        """Compute the logits of the scores and named intermediates, in inference.

        Args:
            variables: `TrainState.variables`.
            frames: frames after `normalize`.
            mask: True for frames, False for padding.

        Returns:
            (logits [B, T], {name: intermediate}). Without supervision the logits are bounded to
            (-3, 3).
        """
        if self.input_kind == 'frames':
            return self._logits(variables, frames, mask)
        features = self.masked_features(variables['frozen'], frames, mask)
        model_input = self.model_input(frames, features, mask)
        return self._logits(variables, model_input, mask)

    def _logits(
        self, variables: Tree, model_input: Array, mask: Array
    ) -> tuple[FrameScores, Scalars]:
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        logits, intermediates = self.model.apply(
            {'params': params, **model_state}, model_input, mask
        )
        if not self.supervised:
            logits = losses.bound_logits(logits)
        return logits, intermediates

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the scores of frames.

        Args:
            variables: `TrainState.variables`.
            inputs: 'video' in [0, 255] and 'video_mask'.

        Returns:
            {'scores': [B, T] in (0, 1), 'features': [B, T, D]}. Both are 0 for padding.
        """
        pixels, mask = self.frames(inputs)
        features = self.masked_features(variables['frozen'], pixels, mask)
        model_input = self.model_input(pixels, features, mask)
        logits, _ = self._logits(variables, model_input, mask)
        scores = jax.nn.sigmoid(logits) * mask.astype(self.dtype)
        return {'scores': scores, 'features': features}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """Make one record per video from outputs of `predict` and the batch.

        It has 'scores', 'features', 'video_mask' and, if known, 'importance' of the frames.
        """
        records = {'scores': outputs['scores'], 'features': outputs['features']}
        for name in ('video_mask', 'importance'):
            if name in batch:
                records[name] = batch[name]
        return records

    def evaluation(self, has_importance: bool) -> Evaluation:
        """Build the evaluation: rewards of summaries, and agreement with the importance.

        `has_importance` says whether the importance of frames is known.
        """

        def evaluate(state, batch):
            return self.record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=metrics.summarize,
            metrics=metrics.names(has_importance),
            record=self.record,
        )


def make_features(options: Config, spec: Spec, dtype: DTypeLike) -> FrameFeatures:
    """Build the function from frames to fixed features.

    Args:
        options: `config.task`.
        spec: spec of the run, with the classifier if `task.features` names one.
        dtype: dtype of the computation.

    Returns:
        `(state.frozen, frames [B, T, H, W, C] in [0, 1]) -> features [B, T, D]`, vectors of
        norm 1 at most.

    Raises:
        UserError: The run in `task.features` is no classification run, or its model has no
            intermediate `task.layer`.
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
        images = frames.reshape(-1, *image_shape)
        intermediates = extract(frozen['feature_extractor'], images)
        features = intermediates[options.layer]
        # The mean over all positions of a feature map.
        features = features.mean(range(1, features.ndim - 1))
        features = features.reshape(batch, time, -1)
        length = jnp.sqrt(jnp.square(features).sum(-1, keepdims=True))
        return features / jnp.maximum(length, 1e-6)

    return extracted
