"""Losses of the generator and the discriminator, for `update.from_loss`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Tree
from jaxvision.image import augment, color
from jaxvision.losses import adversarial
from jaxvision.tasks.gan.networks import Images, Label, Latent, Networks
from jaxvision.train import update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of the generator and the discriminator.

    Attributes:
        options: `config.task`.
        networks: the generator and the discriminator.
    """

    options: Config
    networks: Networks

    def discriminator(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the adversarial loss of the discriminator and the gradient penalties.

        Args:
            params: parameters of the discriminator.
            state: train state, with the generator.
            batch: training examples.
            key: random key of the step.

        Returns:
            (terms, aux). The terms {name: (values [B], ones [B])} are 'adversarial' and, if
            their fields are above 0, the weighted 'r1', 'r2' and 'gradient_penalty'.
            `aux` is {'model_state': {'discriminator': the new one}, 'scalars':
            'real_score' and 'fake_score', the scores of real and of generated images}.
        """
        real, label, latent = self._read(batch, key)
        fake, _ = self.networks.generate(
            state.params['generator'], state.model_state['generator'], latent, label
        )
        real = self._augmented(real, batch, key, 'real')
        fake = self._augmented(fake, batch, key, 'fake')
        old_state = state.model_state['discriminator']
        real_score, model_state = self.networks.score(params, old_state, real, label)
        fake_score, model_state = self.networks.score(params, model_state, fake, label)

        def score(images):
            return self.networks.score(params, old_state, images, label)[0]

        loss = adversarial.discriminator(self.options.loss, real_score, fake_score)
        penalties = self._penalties(score, real, fake, batch, key)
        ones = jnp.ones(len(real), self.networks.dtype)
        terms = {'adversarial': (loss, ones)}
        for name, values in penalties.items():
            terms[name] = (values, ones)
        return terms, {
            'model_state': {'discriminator': model_state},
            'scalars': {
                'real_score': (real_score, ones),
                'fake_score': (fake_score, ones),
            },
        }

    def generator(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the adversarial loss of the generator.

        Args:
            params: parameters of the generator.
            state: train state, with the discriminator.
            batch: training examples.
            key: random key of the step.

        Returns:
            ({'adversarial': (values [B], ones [B])}, {'model_state': {'generator': the new model
            state}}). The discriminator does not change.
        """
        real, label, latent = self._read(batch, key)
        fake, model_state = self.networks.generate(
            params, state.model_state['generator'], latent, label
        )

        def score(images, name):
            return self.networks.score(
                state.params['discriminator'],
                state.model_state['discriminator'],
                self._augmented(images, batch, key, name),
                label,
            )[0]

        real_score = score(real, 'real')
        fake_score = score(fake, 'fake')
        loss = adversarial.generator(self.options.loss, real_score, fake_score)
        terms = {'adversarial': (loss, jnp.ones_like(loss))}
        return terms, {'model_state': {'generator': model_state}}

    def _read(self, batch: Batch, key: jax.Array) -> tuple[Images, Label, Latent]:
        """Return real images in [-1, 1], their labels, and one random latent per image."""
        dtype = self.networks.dtype
        sample = functools.partial(
            jax.random.normal, shape=(self.options.latent,), dtype=dtype
        )
        latent_keys = keys.per_example(keys.stream(key, 'latent'), batch['index'])
        latent = jax.vmap(sample)(latent_keys)
        real = self.networks.normalize(color.to_float(batch['image'], dtype))
        return real, batch.get('label'), latent

    def _augmented(
        self, images: Images, batch: Batch, key: jax.Array, name: str
    ) -> Images:
        """Apply `task.diffaugment` to images; `name` is the random stream."""
        policy = self.options.diffaugment
        if not policy:
            return images
        image_keys = keys.per_example(keys.stream(key, name), batch['index'])
        diffaugment = functools.partial(augment.diffaugment, policy=policy)
        return 2 * jax.vmap(diffaugment)(image_keys, (images + 1) / 2) - 1

    def _penalties(
        self,
        score: adversarial.Score,
        real: Images,
        fake: Images,
        batch: Batch,
        key: jax.Array,
    ) -> dict[str, Float[Array, 'b']]:
        """Compute the weighted gradient penalties that are switched on, by name."""
        options = self.options
        terms = {}
        if options.r1:
            terms['r1'] = options.r1 / 2 * adversarial.squared_gradient(score, real)
        if options.r2:
            terms['r2'] = options.r2 / 2 * adversarial.squared_gradient(score, fake)
        if options.gradient_penalty:
            sample = functools.partial(jax.random.uniform, shape=(), dtype=real.dtype)
            # A stream's name is part of the randomness: it stays 'share'.
            mix_keys = keys.per_example(keys.stream(key, 'share'), batch['index'])
            fraction = jax.vmap(sample)(mix_keys)
            terms['gradient_penalty'] = (
                options.gradient_penalty
                * adversarial.interpolation_penalty(score, real, fake, fraction)
            )
        return terms
