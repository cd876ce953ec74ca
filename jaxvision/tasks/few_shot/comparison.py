"""Few-shot learning by comparing features: a query's with those of the support."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.core.errors import unknown
from jaxvision.core.trees import parted
from jaxvision.image import color
from jaxvision.losses import few_shot
from jaxvision.tasks.shared.networks import make_model


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A model as features of images: the values of one of its intermediates, in a row."""

    model: Any
    layer: str
    mean: list[float]
    deviation: list[float]
    dtype: Any

    @staticmethod
    def of(config, spec: dict) -> 'Backbone':
        model = make_model(config, num_classes=0)
        _, known = jax.eval_shape(
            model.init_with_output, jax.random.key(0), jnp.zeros((1, *spec['image']))
        )[0]
        if config.task.layer not in known:
            raise unknown(
                f'task.layer: {config.model.name!r} has no intermediate',
                config.task.layer,
                known,
            )
        return Backbone(
            model,
            config.task.layer,
            spec['mean'],
            spec['deviation'],
            jnp.dtype(config.model.param_dtype),
        )

    def see(self, inputs: dict):
        """The images of each episode [B, N * K + M, H, W, C] in [0, 1], the support's first."""
        support, query = (jnp.asarray(inputs[name]) for name in ('support', 'query'))
        support = support.reshape(support.shape[0], -1, *support.shape[3:])
        return color.to_float(jnp.concatenate([support, query], 1), self.dtype)

    def mask(self, inputs: dict):
        return jnp.asarray(inputs['support_mask'], self.dtype)

    def features(self, params, model_state, images, train: bool = False, keys=None):
        """([..., D] of images [..., H, W, C], new model state), all images as one batch."""
        flat = color.normalize(
            images.reshape(-1, *images.shape[-3:]), self.mean, self.deviation
        )
        (_, named), model_state = self.model.apply(
            {'params': parted(params, ('head',))[1], **model_state},
            flat,
            train=train,
            keys=keys,
            mutable=list(model_state),
        )
        return named[self.layer].reshape(*images.shape[:-3], -1), model_state


def by_features(backbone: Backbone, compare: Callable) -> Callable:
    """Logits [B, M, N] and the new model state, of images as `Backbone.see` puts them and the
    support's mask [B, N, K]; `compare` has one episode's features: of the queries [M, D], of the
    support [N, K, D], and its mask."""

    def scores(params, model_state, images, mask, **train):
        features, model_state = backbone.features(params, model_state, images, **train)
        shown = mask.shape[1] * mask.shape[2]
        support = features[:, :shown].reshape(*mask.shape, -1)
        return jax.vmap(compare)(features[:, shown:], support, mask), model_state

    return scores


def to_prototypes(query, support, mask):
    """Prototypical networks (Snell et al., arXiv 1703.05175)."""
    return few_shot.distance_logits(query, few_shot.prototypes(support, mask))


def to_centres(scale: float):
    """The cosine to the mean direction of each class (Chen et al., arXiv 1904.04232)."""

    def compare(query, support, mask):
        centres = few_shot.prototypes(few_shot.unit(support), mask)
        return few_shot.cosine_logits(query, centres, scale)

    return compare


def to_examples(scale: float):
    """Matching networks (Vinyals et al., arXiv 1606.04080)."""
    return lambda query, support, mask: few_shot.attention_logits(
        query, support, mask, scale
    )
