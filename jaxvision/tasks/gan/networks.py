"""The generator and the discriminator as functions of their variables."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec
from jaxvision.core.types import Batch, Module, NetworkTrees, Tree
from jaxvision.models.types import Intermediates
from jaxvision.tasks.shared.networks import make_model

Images = Float[Array, 'b h w c']
Latent = Float[Array, 'b z']
# None for networks without classes.
Label = Int[Array, 'b'] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The generator and the discriminator; images are in [-1, 1].

    Attributes:
        generator: module from latents and labels to images.
        discriminator: module from images and labels to scores, higher for real images.
        spec: spec of the run.
        dtype: dtype of latents and images.
    """

    generator: Module
    discriminator: Module
    spec: Spec
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Networks':
        """Build both networks of a config.

        Args:
            config: config of the run.
            spec: spec of the run, with class names, latents and images.

        Raises:
            UserError: The model is no GAN, or its variant or an option does not fit.
        """
        generator, discriminator = make_model(
            config,
            num_classes=len(spec.class_names),
            image_shape=spec.targets['image'].shape,
        )
        return cls(
            generator=generator,
            discriminator=discriminator,
            spec=spec,
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def init(self, key: jax.Array) -> tuple[NetworkTrees, NetworkTrees]:
        """Initialise both networks.

        Returns:
            (parameters, model state), each {'generator': tree, 'discriminator': tree}.
        """
        latent = jnp.zeros((2, *self.spec.inputs['latent'].shape), self.dtype)
        image = jnp.zeros((2, *self.spec.targets['image'].shape), self.dtype)
        label = None
        if 'label' in self.spec.inputs:
            label = jnp.zeros(2, jnp.int32)
        variables = {
            'generator': self.generator.init(
                keys.stream(key, 'generator'), latent, label, train=True
            ),
            'discriminator': self.discriminator.init(
                keys.stream(key, 'discriminator'), image, label, train=True
            ),
        }
        params = {name: tree.pop('params') for name, tree in variables.items()}
        return params, variables

    def generate(
        self, params: Tree, model_state: Tree, latent: Latent, label: Label
    ) -> tuple[Images, Tree]:
        """Generate images in training.

        Args:
            params: parameters of the generator.
            model_state: model state of the generator.
            latent: latents.
            label: class numbers; None without classes.

        Returns:
            (images [B, H, W, C], meant to be in [-1, 1], the new model state).
        """
        return self.generator.apply(
            {'params': params, **model_state},
            latent,
            label,
            train=True,
            mutable=list(model_state),
        )

    def score(
        self, params: Tree, model_state: Tree, images: Images, label: Label
    ) -> tuple[Float[Array, 'b'], Tree]:
        """Score images with the discriminator in training.

        Args:
            params: parameters of the discriminator.
            model_state: model state of the discriminator.
            images: images in [-1, 1].
            label: class numbers; None without classes.

        Returns:
            (scores [B], higher for images that look real, the new model state).
        """
        (scores, _), new_state = self.discriminator.apply(
            {'params': params, **model_state},
            images,
            label,
            train=True,
            mutable=list(model_state),
        )
        return scores, new_state

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Map pixels from [0, 1] to [-1, 1], the range of both networks."""
        return 2 * pixels - 1

    def discriminate(
        self, variables: Tree, images: Images, label: Label = None
    ) -> tuple[Float[Array, 'b'], Intermediates]:
        """Score images with the discriminator in inference.

        Args:
            variables: `TrainState.variables`.
            images: images in [-1, 1].
            label: class numbers; None without classes.

        Returns:
            (scores [B], higher for images that look real, {name: intermediate}).
        """
        return self.discriminator.apply(
            {
                'params': variables['params']['discriminator'],
                **variables['model_state']['discriminator'],
            },
            images,
            label,
        )

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Generate images, in inference.

        Args:
            variables: `TrainState.variables`.
            inputs: 'latent' [B, Z] and, with classes, 'label' [B].

        Returns:
            {'image': [B, H, W, C]}, clipped to [0, 255] but not rounded.
        """
        image = self.generator.apply(
            {
                'params': variables['params']['generator'],
                **variables['model_state']['generator'],
            },
            jnp.asarray(inputs['latent'], self.dtype),
            inputs.get('label'),
        )
        return {'image': 255 * jnp.clip((image + 1) / 2, 0, 1)}
