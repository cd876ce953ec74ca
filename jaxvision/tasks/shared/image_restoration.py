"""Training of image restoration networks: pixel, adversarial and perceptual losses.

The adversarial loss comes from a patch discriminator. The perceptual loss is a distance
between the features of restored and true images.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.core import keys
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Init,
    RequiredNetwork,
    Update,
)
from jaxvision.core.types import Batch, Module, NetworkTrees, Tree
from jaxvision.losses import adversarial
from jaxvision.models.generators import patchgan
from jaxvision.models.types import Images, Intermediates
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import optimizers, update

# One number for each image.
PerImage = Float[Array, 'b']

PIXEL_LOSSES = {'l1': jnp.abs, 'mse': jnp.square}

FIELDS: Fields = {
    'loss': Field('l1', 'Pixel loss.', choices=tuple(PIXEL_LOSSES)),
    'adversarial_weight': Field(
        0.0, 'Weight of the adversarial loss; 0: no discriminator is trained.', least=0
    ),
    'adversarial_loss': Field(
        'non_saturating', 'Kind of adversarial loss.', choices=adversarial.KINDS
    ),
    'discriminator': Field(
        '32-64-128', 'Channels of each layer of the SN-PatchGAN discriminator.'
    ),
    'perceptual_weight': Field(
        0.0, 'Weight of the perceptual loss; 0: no feature extractor.', least=0
    ),
    'feature_extractor': Field(
        'small_cnn',
        'Feature extractor: the folder of a classification run, or small_cnn: a small '
        'classifier, trained once on this dataset.',
    ),
    'layer': Field(
        'stage2',
        'Intermediate of the feature extractor that the perceptual loss compares.',
    ),
}

# Arrays [B, ...] of the degraded images: the input of the restoration network.
Degraded = Any
Features = Callable[[Tree, Images], Intermediates]


@runtime_checkable
class Restorer(Protocol):
    """A degradation and the network that reverses it; images are in [0, 1]."""

    def blank(self, batch: Batch) -> tuple[Degraded, Images]:
        """Return (degraded, truth) of the right shapes, to initialise the networks.

        `batch` has all inputs and targets of the spec. The values of the result do not matter.
        """
        ...

    def degrade(self, state: TrainState, batch: Batch) -> tuple[Degraded, Images]:
        """Return (degraded, truth) of a training step.

        It is called once for each network, and must return equal arrays in one step. So it
        derives its random numbers from `state.key` and `state.step`.
        """
        ...

    def init(self, key: jax.Array, degraded: Degraded) -> Tree:
        """Initialise the network: {'params': tree, COLLECTION: tree, ...}."""
        ...

    def restore(
        self, params: Tree, model_state: Tree, degraded: Degraded
    ) -> tuple[Images, Tree]:
        """Restore images in training.

        Args:
            params: parameters of the network.
            model_state: model state, such as batch statistics.
            degraded: the degraded images.

        Returns:
            (the restored images, the new model state).
        """
        ...

    def error(self, errors: Images, degraded: Degraded) -> tuple[PerImage, PerImage]:
        """Reduce pixel losses to the (values [B], weights [B]) of a loss term, one per image.

        The loss is sum(values) / sum(weights) over the batch. `errors` are the absolute or squared
        differences [B, H, W, C] of restored and true images.
        """
        ...

    def discriminated(
        self, image: Images, degraded: Degraded
    ) -> Float[Array, 'b h w k']:
        """Make the discriminator's input [B, H, W, K] from restored or true images.

        A mask in `degraded`, for example, becomes one more channel.
        """
        ...


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """List the network that the perceptual loss needs.

    Returns:
        {'feature_extractor': the classifier}, or {} if `task.perceptual_weight` is 0.
    """
    if not config.task.perceptual_weight:
        return {}
    return {
        'feature_extractor': feature_extractor.required(
            config, config.task.feature_extractor
        )
    }


def make(config: Config, spec: Spec, restorer: Restorer) -> tuple[Init, Update]:
    """Build the `init` and the `update` of a task that restores images.

    The networks are 'model' and, with an adversarial loss, 'discriminator', which is updated
    before 'model' in each step.

    Args:
        config: config of the run; `config.task` has the fields of `FIELDS`.
        spec: spec of the run. With a perceptual loss it has the network 'feature_extractor'.
        restorer: the degradation and the restoration network.

    Returns:
        (`Task.init`, `Task.update`).

    Raises:
        UserError: The optimizer, the discriminator or the feature extractor is wrong.
    """
    training = _Training.build(config, spec, restorer)
    tx, lr = optimizers.make(config, spec.examples)
    learn = functools.partial(
        update.from_loss, tx=tx, accumulate=config.optimizer.accumulate
    )
    updates = [learn(training.model_loss, ema=config.optimizer.ema)]
    if config.task.adversarial_weight:
        updates.insert(0, learn(training.discriminator_loss, network='discriminator'))
    descend = update.in_turn(*updates)

    def init(key: jax.Array, batch: Batch) -> TrainState:
        variables = training.init(key, batch)
        params = {name: tree.pop('params') for name, tree in variables.items()}
        return create(
            key,
            params,
            dict.fromkeys(params, tx),
            variables,
            ema=config.optimizer.ema,
        )

    return init, update.with_learning_rate(descend, lr)


def per_image(values: Float[Array, 'b ...']) -> PerImage:
    """Average the values of each image over all axes but the first."""
    return values.mean(range(1, values.ndim))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
    """The losses of a restoration network and of its discriminator.

    Attributes:
        options: `config.task`.
        restorer: the degradation and the restoration network.
        discriminator: a Flax module that scores patches.
        features: `(variables, images) -> {name: intermediate}`, the feature extractor;
            None: no perceptual loss.
    """

    options: Config
    restorer: Restorer
    discriminator: Module
    features: Features | None

    @classmethod
    def build(cls, config: Config, spec: Spec, restorer: Restorer) -> '_Training':
        options = config.task
        dtype = jnp.dtype(config.model.param_dtype)
        discriminator = patchgan.make(
            options.discriminator,
            dtype=jnp.dtype(config.model.dtype),
            param_dtype=dtype,
        )
        features = None
        if options.perceptual_weight:
            network = spec.networks['feature_extractor']
            features = feature_extractor.build(network, options.layer, dtype)
        return cls(
            options=options,
            restorer=restorer,
            discriminator=discriminator,
            features=features,
        )

    def init(self, key: jax.Array, batch: Batch) -> NetworkTrees:
        """Initialise the variables of each network."""
        degraded, truth = self.restorer.blank(batch)
        model_key = keys.stream(key, 'init')
        variables = {'model': self.restorer.init(model_key, degraded)}
        if self.options.adversarial_weight:
            variables['discriminator'] = self.discriminator.init(
                keys.stream(key, 'discriminator'),
                self.restorer.discriminated(truth, degraded),
            )
        return variables

    def model_loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the loss of the restoration network, for `update.from_loss`.

        Args:
            params: parameters of the restoration network.
            state: train state.
            batch: training examples.
            key: not used: the degradation has a key of its own.

        Returns:
            ({term: (values [B], weights [B])}, the new model state).
        """
        degraded, truth = self.restorer.degrade(state, batch)
        image, model_state = self.restorer.restore(
            params, state.model_state['model'], degraded
        )
        pixel_loss = PIXEL_LOSSES[self.options.loss]
        errors = pixel_loss(image - truth)
        terms = {self.options.loss: self.restorer.error(errors, degraded)}
        if self.options.perceptual_weight:
            terms['perceptual'] = self._perceptual(state, image, truth)
        if self.options.adversarial_weight:
            terms['adversarial'] = self._adversarial(state, image, truth, degraded)
        return terms, {'model_state': {'model': model_state}}

    def _perceptual(self, state, image, truth):
        layer = self.options.layer
        variables = state.frozen['feature_extractor']
        restored_features = self.features(variables, image)[layer]
        true_features = self.features(variables, truth)[layer]
        distance = per_image(jnp.square(restored_features - true_features))
        weights = jnp.ones(len(truth), truth.dtype)
        return self.options.perceptual_weight * distance, weights

    def _adversarial(self, state, image, truth, degraded):
        params = state.params['discriminator']
        model_state = state.model_state['discriminator']
        real, _ = self._scores(params, model_state, truth, degraded)
        fake, _ = self._scores(params, model_state, image, degraded)
        values = adversarial.generator(self.options.adversarial_loss, real, fake)
        weights = jnp.ones(len(truth), truth.dtype)
        return self.options.adversarial_weight * per_image(values), weights

    def discriminator_loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the loss of the discriminator, for `update.from_loss`.

        Args:
            params: parameters of the discriminator.
            state: train state.
            batch: training examples.
            key: not used: the degradation has a key of its own.

        Returns:
            ({term: (values [B], weights [B])}, the new model state).
        """
        degraded, truth = self.restorer.degrade(state, batch)
        image, _ = self.restorer.restore(
            state.params['model'], state.model_state['model'], degraded
        )
        model_state = state.model_state['discriminator']
        real, model_state = self._scores(params, model_state, truth, degraded)
        fake, model_state = self._scores(params, model_state, image, degraded)
        values = per_image(
            adversarial.discriminator(self.options.adversarial_loss, real, fake)
        )
        terms = {'adversarial': (values, jnp.ones_like(values))}
        return terms, {'model_state': {'discriminator': model_state}}

    def _scores(self, params, model_state, image, degraded):
        """Score patches: (scores [B, h, w], the new spectral norms)."""
        (scores, _), model_state = self.discriminator.apply(
            {'params': params, **model_state},
            self.restorer.discriminated(image, degraded),
            train=True,
            mutable=list(model_state),
        )
        return scores, model_state
