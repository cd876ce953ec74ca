"""Training of networks that restore images: a pixel loss, and optionally two more.

The adversarial term is the loss of a patch discriminator. The perceptual term is the
distance between features of a classifier.
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
from jaxvision.core.types import Batch, Module, Tree
from jaxvision.losses import adversarial
from jaxvision.models.generators import patchgan
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import optimizers, update

PIXEL_LOSSES = {'l1': jnp.abs, 'mse': jnp.square}

FIELDS: Fields = {
    'loss': Field('l1', 'Loss of the pixels.', choices=tuple(PIXEL_LOSSES)),
    'adversarial_weight': Field(
        0.0, 'Weight of the adversarial loss; 0: no discriminator.', least=0
    ),
    'adversarial_loss': Field(
        'non_saturating', 'Kind of the adversarial loss.', choices=adversarial.KINDS
    ),
    'discriminator': Field(
        '32-64-128', "The SN-PatchGAN discriminator's widths, one a layer."
    ),
    'perceptual_weight': Field(
        0.0, 'Weight of the squared distance between features; 0: none.', least=0
    ),
    'feature_extractor': Field(
        'small_cnn',
        "Feature extractor: a run's folder, or small_cnn: a small classifier of this dataset.",
    ),
    'layer': Field('stage2', 'Intermediate of the feature extractor.'),
}

Degraded = Any  # arrays [B, ...]: what the network is given of the degraded images
Features = Callable[[Tree, Float[Array, 'b h w c']], dict[str, Array]]


@runtime_checkable
class Restorer(Protocol):
    """A kind of degradation, and the network that undoes it. Images are in [0, 1]."""

    def blank(self, batch: Batch) -> tuple[Degraded, Float[Array, 'b h w c']]:
        """Make (degraded, truth) of the right shapes, for the networks' initialisation."""
        ...

    def degrade(
        self, state: TrainState, batch: Batch
    ) -> tuple[Degraded, Float[Array, 'b h w c']]:
        """Make (degraded, truth) of a training step, the same for both networks."""
        ...

    def init(self, key: jax.Array, degraded: Degraded) -> Tree:
        """Draw the network's variables."""
        ...

    def restore(
        self, params: Tree, model_state: Tree, degraded: Degraded
    ) -> tuple[Float[Array, 'b h w c'], Tree]:
        """Restore images in training; also returns the new model state."""
        ...

    def error(
        self, errors: Float[Array, 'b h w c'], degraded: Degraded
    ) -> tuple[Float[Array, 'b'], Float[Array, 'b']]:
        """Reduce the errors of pixels to the values and weights of a loss term."""
        ...

    def discriminated(
        self, image: Float[Array, 'b h w c'], degraded: Degraded
    ) -> Float[Array, 'b h w k']:
        """Make the discriminator's input of a restored or true image."""
        ...


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """The feature extractor of the perceptual loss, if there is one."""
    if not config.task.perceptual_weight:
        return {}
    return {
        'feature_extractor': feature_extractor.required(
            config, config.task.feature_extractor
        )
    }


def make(config: Config, spec: Spec, restorer: Restorer) -> tuple[Init, Update]:
    """Build the first state and the update of 'model', and of a 'discriminator' if any.

    Args:
        config: of the run; `config.task` has the fields of `FIELDS`.
        spec: with the number of examples and, for the perceptual loss, the network
            'feature_extractor'.
        restorer: the degradation and the network.

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
        updates.insert(0, learn(training.discriminator_loss, player='discriminator'))
    descend = update.in_turn(*updates)

    def init(key: jax.Array, batch: Batch) -> TrainState:
        variables = training.init(key, batch)
        params = {player: tree.pop('params') for player, tree in variables.items()}
        return create(
            key,
            params,
            dict.fromkeys(params, tx),
            variables,
            ema=config.optimizer.ema,
        )

    return init, update.with_learning_rate(descend, lr)


def per_image(values: Float[Array, 'b ...']) -> Float[Array, 'b']:
    """The mean of each image's values."""
    return values.mean(range(1, values.ndim))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
    """The losses of a restoration network and of its discriminator.

    Attributes:
        options: the config's task.
        restorer: the degradation and the network.
        discriminator: a Flax module.
        features: `(variables, images) -> {name: intermediate}`; None: no perceptual loss.
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

    def init(self, key: jax.Array, batch: Batch) -> dict[str, Tree]:
        """The variables of each network."""
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
    ) -> tuple[update.Terms, update.Aux]:
        """The loss of the restoration network, as `update.from_loss` takes it."""
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
        restored, wanted = (
            self.features(state.frozen['feature_extractor'], x)[layer]
            for x in (image, truth)
        )
        values = self.options.perceptual_weight * per_image(
            jnp.square(restored - wanted)
        )
        return values, jnp.ones(len(truth), truth.dtype)

    def _adversarial(self, state, image, truth, degraded):
        params = state.params['discriminator']
        model_state = state.model_state['discriminator']
        real, fake = (
            self._scores(params, model_state, x, degraded)[0] for x in (truth, image)
        )
        values = adversarial.generator(self.options.adversarial_loss, real, fake)
        weights = jnp.ones(len(truth), truth.dtype)
        return self.options.adversarial_weight * per_image(values), weights

    def discriminator_loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, update.Aux]:
        """The loss of the discriminator, as `update.from_loss` takes it."""
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
        """The scores of the patches [B, h, w], and the new spectral norms."""
        (scores, _), model_state = self.discriminator.apply(
            {'params': params, **model_state},
            self.restorer.discriminated(image, degraded),
            train=True,
            mutable=list(model_state),
        )
        return scores, model_state
