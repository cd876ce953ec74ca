"""Few-shot methods that compare the features of queries with the features of the support set."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core import keys
from jaxvision.core.errors import unknown
from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.trees import (
    parted,
)
from jaxvision.core.types import Batch, Module, Tree
from jaxvision.image import color
from jaxvision.losses import few_shot
from jaxvision.models.types import Intermediates
from jaxvision.tasks.shared.networks import make_model

Images = Float[Array, '*b h w c']
Query = Float[Array, 'm d']
Support = Float[Array, 'n k d']
Mask = Float[Array, 'n k']
Logits = Float[Array, 'm n']
# `(query, support, mask) -> logits`, from the features of one episode.
Compare = Callable[[Query, Support, Mask], Logits]
# `(params, model_state, images [B, N * K + M, H, W, C], mask [B, N, K], train=, keys=)
# -> (logits [B, M, N], new model state)`. Images are in [0, 1], the support set first.
Scores = Callable[..., tuple[Array, Tree]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A model with an intermediate that, flattened, is the feature vector of an image.

    Attributes:
        model: a Flax module.
        layer: name of the intermediate.
        image_shape: (height, width, channels) of an image.
        preprocessing: preprocessing with the mean and std of the images.
        dtype: dtype of images and features.
    """

    model: Module
    layer: str
    image_shape: tuple[int, ...]
    preprocessing: Preprocessing
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Backbone':
        """Build the backbone of a config.

        Raises:
            UserError: The model is wrong, or has no intermediate `task.layer`.
        """
        layer = config.task.layer
        image_shape = spec.details.image_shape
        model = make_model(config, num_classes=0)
        blank = jnp.zeros((1, *image_shape))
        (_, intermediates), _ = jax.eval_shape(
            model.init_with_output, jax.random.key(0), blank
        )
        if layer not in intermediates:
            raise unknown(
                f'task.layer: model {config.model.name!r} has no intermediate',
                layer,
                intermediates,
            )
        return cls(
            model=model,
            layer=layer,
            image_shape=image_shape,
            preprocessing=spec.preprocessing,
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Initialise the model; return (parameters, model state), the latter {collection: tree}."""
        images = jnp.zeros((1, *self.image_shape), self.dtype)
        variables = self.model.init(keys.stream(key, 'init'), images)
        params = variables.pop('params')
        return params, variables

    def width(self, params: Tree, model_state: Tree) -> int:
        """Return the number of features of an image."""
        images = jax.ShapeDtypeStruct((1, *self.image_shape), self.dtype)
        features, _ = jax.eval_shape(self.features, params, model_state, images)
        return features.shape[-1]

    def images(self, inputs: Batch) -> Float[Array, 'b n h w c']:
        """Concatenate support and query images of each episode, in [0, 1].

        Args:
            inputs: 'support' [B, N, K, H, W, C] and 'query' [B, M, H, W, C] in [0, 255].

        Returns:
            [B, N * K + M, H, W, C], the support set first, class by class.
        """
        support = jnp.asarray(inputs['support'])
        query = jnp.asarray(inputs['query'])
        support = support.reshape(support.shape[0], -1, *support.shape[3:])
        return color.to_float(jnp.concatenate([support, query], 1), self.dtype)

    def mask(self, inputs: Batch) -> Float[Array, 'b ways shots']:
        """Return `inputs['support_mask']` as floats: 1 for an image, 0 for padding."""
        return jnp.asarray(inputs['support_mask'], self.dtype)

    def normalize(self, pixels: Images) -> Images:
        """Normalise pixels [..., C] in [0, 1] by the preprocessing's mean and std of channels."""
        return color.normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def features(
        self,
        params: Tree,
        model_state: Tree,
        images: Images,
        train: bool = False,
        keys: Key[Array, 'n'] | None = None,
    ) -> tuple[Float[Array, '*b d'], Tree]:
        """Compute the features of all images as one batch.

        Args:
            params: parameters of the model; a head in them is ignored.
            model_state: model state, such as batch statistics.
            images: images in [0, 1], [..., H, W, C].
            train: whether the model is in training.
            keys: random key of each image, in training, in one axis for all images.

        Returns:
            (features [..., D], new model state, which is the old one without `train`).
        """
        flat = self.normalize(images.reshape(-1, *images.shape[-3:]))
        (_, intermediates), model_state = self.model.apply(
            {'params': _without_head(params), **model_state},
            flat,
            train=train,
            keys=keys,
            mutable=list(model_state),
        )
        features = intermediates[self.layer]
        return features.reshape(*images.shape[:-3], -1), model_state

    def apply(
        self, variables: Tree, images: Images
    ) -> tuple[Float[Array, 'b d'], Intermediates]:
        """Compute (features [B, D], all intermediates by name) of normalised images, in inference.

        `variables` are `TrainState.variables`.
        """
        params = _without_head(variables['params']['model'])
        _, intermediates = self.model.apply(
            {'params': params, **variables['model_state']['model']}, images
        )
        return intermediates[self.layer].reshape(len(images), -1), intermediates


def _without_head(params: Tree) -> Tree:
    _, backbone_params = parted(params, ('head',))
    return backbone_params


def by_features(backbone: Backbone, compare: Compare) -> Scores:
    """Build the scores of a method that compares fixed features by `compare`.

    Args:
        backbone: the model that computes features.
        compare: `(query [M, D], support [N, K, D], mask [N, K]) -> logits [M, N]` for one episode.

    Returns:
        `(params, model_state, images [B, N * K + M, H, W, C], mask [B, N, K],
        train=False, keys=None) -> (logits [B, M, N], new model state)`. Images are in
        [0, 1], the support set first. In training, `keys` has a random key for each
        image, in one axis.
    """

    def scores(params, model_state, images, mask, train=False, keys=None):
        features, model_state = backbone.features(
            params, model_state, images, train, keys
        )
        support_size = mask.shape[1] * mask.shape[2]
        support = features[:, :support_size].reshape(*mask.shape, -1)
        logits = jax.vmap(compare)(features[:, support_size:], support, mask)
        return logits, model_state

    return scores


def to_prototypes(query: Query, support: Support, mask: Mask) -> Logits:
    """Compute the logits of prototypical networks (Snell et al., arXiv 1703.05175).

    Args:
        query: features of the queries, [M, D].
        support: features of the support set, [N, K, D].
        mask: 1 for images of the support set, 0 for padding, [N, K].

    Returns:
        [M, N], negative squared distances to the mean of each class, up to a constant for each
        query.
    """
    return few_shot.distance_logits(query, few_shot.prototypes(support, mask))


def to_centres(scale: float) -> Compare:
    """Build the comparison by the cosine to the mean direction of each class.

    See Chen et al., arXiv 1904.04232. The logits are cosines times `scale`.

    Returns:
        `(query [M, D], support [N, K, D], mask [N, K]) -> logits [M, N]` for one episode. The mask
        is 1 for images of the support set, 0 for padding.
    """

    def compare(query, support, mask):
        centres = few_shot.prototypes(few_shot.unit(support), mask)
        return few_shot.cosine_logits(query, centres, scale)

    return compare


def to_examples(scale: float) -> Compare:
    """Build the comparison of matching networks (Vinyals et al., arXiv 1606.04080).

    `scale` is the factor of the cosines in the attention over the support images.

    Returns:
        `(query [M, D], support [N, K, D], mask [N, K]) -> log-probabilities [M, N]` for one
        episode. The mask is 1 for images of the support set, 0 for padding.
    """

    def compare(query, support, mask):
        return few_shot.attention_logits(query, support, mask, scale)

    return compare
