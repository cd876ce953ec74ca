"""A network on images with its preprocessing, which detectors and segmenters share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import Init
from jaxvision.core.types import Batch, Module, Tree
from jaxvision.image import color
from jaxvision.image.types import Size
from jaxvision.models.types import Images, Intermediates, Predictions
from jaxvision.train import update

# A further argument of a model, such as an array or a function that chooses regions.
Option = Any
# `(**options) -> (outputs by name, {'model': the model state after it})`, the model on the
# images of a batch
Forward = Callable[..., tuple[Predictions, Tree]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNetwork:
    """A network with the preprocessing of its images.

    Attributes:
        model: a Flax module, `(normalised images) -> (outputs by name, intermediates)`.
        spec: spec of the run.
        options: `config.task`.
        dtype: dtype of the images.
    """

    model: Module
    spec: Spec
    options: Config
    dtype: DTypeLike

    def init(self, key: PRNGKeyArray, batch: Batch) -> tuple[Tree, Tree]:
        """Initialise (the parameters, the model state) for the shape of `batch['image']`."""
        images = color.to_float(batch['image'], self.dtype)
        variables = self.model.init(key, images)
        return variables.pop('params'), variables

    def make_init(self, tx: optax.GradientTransformation, ema: float) -> Init:
        """Make the function `(key, batch) -> state` before the first step.

        Args:
            tx: optimizer of the model.
            ema: largest decay of the averaged weights; 0: no averages.
        """

        def init(key: jax.Array, batch: Batch) -> TrainState:
            params, model_state = self.init(keys.stream(key, 'init'), batch)
            return create(
                key,
                {'model': params},
                {'model': tx},
                {'model': model_state},
                ema=ema,
            )

        return init

    def normalize(self, images: Float[jax.Array, '...']) -> Float[jax.Array, '...']:
        """Normalise pixels in [0, 1] by the preprocessing's mean and std."""
        preprocessing = self.spec.preprocessing
        return color.normalize(images, preprocessing.mean, preprocessing.std)

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: PRNGKeyArray
    ) -> tuple[update.Terms, Tree]:
        """The terms of the loss, in training and in inference. A subclass has them.

        Args:
            forward: applies the model to the images.
            size: (height, width) of the images, pixels.
            batch: prepared examples with 'index'.
            key: for what is random, by example.

        Returns:
            (the terms, what `forward` returns as the model state).
        """
        raise NotImplementedError

    def inference_loss(
        self, variables: Tree, batch: Batch, pixels: Images
    ) -> Float[Array, 'b']:
        """The loss of each image in inference: running statistics, no dropout, no augmentation.

        It is the sum over the terms of values divided by weights. The loss of an example
        does not depend on the others of the batch. Attacks raise it.

        Args:
            variables: `TrainState.variables`.
            batch: prepared examples with 'index'. Their images are not used.
            pixels: the images, in [0, 1].
        """

        def forward(**options: Option) -> tuple[Predictions, Tree]:
            outputs, _ = self.apply(variables, self.normalize(pixels), **options)
            return outputs, {}

        size = (pixels.shape[1], pixels.shape[2])
        terms, _ = self.terms(forward, size, batch, jax.random.key(0))
        return update.per_example(terms)

    def apply(
        self, variables: Tree, images: Images, **options: Option
    ) -> tuple[Predictions, Intermediates]:
        """The model's (outputs, intermediates), each by name, in inference.

        Args:
            variables: `TrainState.variables`.
            images: normalised images.
            **options: further arguments of the model.
        """
        model_variables = {
            'params': variables['params']['model'],
            **variables['model_state']['model'],
        }
        return self.model.apply(model_variables, images, **options)

    def outputs(self, variables: Tree, inputs: Batch, **options: Option) -> Predictions:
        """The model's outputs by name for `inputs['image']` in [0, 255], in inference.

        `variables` are `TrainState.variables`. `options` are passed to the model.
        """
        images = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        outputs, _ = self.apply(variables, self.normalize(images), **options)
        return outputs

    def train(
        self,
        params: Tree,
        state: TrainState,
        images: Images,
        batch: Batch,
        key: PRNGKeyArray,
        **options: Callable[..., Option],
    ) -> tuple[Predictions, Tree]:
        """Apply the model in training.

        Args:
            params: parameters of the model.
            state: train state, with the model state.
            images: normalised images.
            batch: with 'index', the row of each example in its split.
            key: random key of the step.
            **options: further arguments of the model.

        Returns:
            (outputs by name, {'model': the new model state}).
        """
        model_state = state.model_state['model']
        (outputs, _), new_state = self.model.apply(
            {'params': params, **model_state},
            images,
            train=True,
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
            mutable=list(model_state),
            **options,
        )
        return outputs, {'model': new_state}
