"""Few-shot methods that adapt to an episode by gradient steps on the support set.

In every episode the head starts at zero. This start treats all classes alike, so one run
serves any number of classes.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.trees import (
    parted,
)
from jaxvision.core.types import Tree
from jaxvision.tasks.few_shot.comparison import (
    Backbone,
    Compare,
    Images,
    Logits,
    Mask,
)

Scalar = Float[Array, '']

# `(params, batch) -> loss`, for a batch of any type.
Loss = Callable[[Tree, Tree], Scalar]


def adapt(
    loss: Loss,
    params: Tree,
    batches: Sequence[Tree],
    rate: float,
    first_order: bool = False,
) -> tuple[Tree, list[Scalar]]:
    """Take one gradient step on each batch.

    Args:
        loss: `loss(params, batch)`.
        params: parameters before the first step.
        batches: the batches, one per step.
        rate: learning rate.
        first_order: whether derivatives of the result treat the gradients as constants
            (Finn et al., arXiv 1703.03400, section 5.2).

    Returns:
        (the adapted parameters, the loss before each step).
    """
    losses = []
    for batch in batches:
        value, gradient = jax.value_and_grad(loss)(params, batch)
        if first_order:
            gradient = jax.lax.stop_gradient(gradient)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        losses.append(value)
    return params, losses


def reptile(
    loss: Loss, params: Tree, batches: Sequence[Tree], rate: float
) -> tuple[Tree, Scalar]:
    """Compute Reptile's direction, which replaces the gradient of an optimizer.

    The direction is `params` minus the adapted parameters, so that a step against it moves
    towards the adapted ones (Nichol et al., arXiv 1803.02999).

    Args:
        loss: `loss(params, batch)`.
        params: parameters before the first step.
        batches: the batches, one per step, at least one.
        rate: learning rate.

    Returns:
        (the direction, the loss before the last step).
    """
    adapted, losses = adapt(loss, params, batches, rate)
    return jax.tree.map(jnp.subtract, params, adapted), losses[-1]


def apply_head(head: Tree, features: Float[Array, '*b d']) -> Float[Array, '*b n']:
    """Compute the logits of a linear head, {'kernel': [D, N], 'bias': [N]}."""
    return features @ head['kernel'] + head['bias']


def start_head(width: int, ways: int, dtype: DTypeLike) -> Tree:
    """Return the head of zeros with which every episode starts.

    Args:
        width: number of features.
        ways: number of classes.
        dtype: dtype of the head.

    Returns:
        {'kernel': [width, ways], 'bias': [ways]}.
    """
    return {'kernel': jnp.zeros((width, ways), dtype), 'bias': jnp.zeros(ways, dtype)}


def support_loss(logits: Float[Array, 'nk n'], mask: Mask) -> Scalar:
    """Compute the cross-entropy of the support set: the sum over classes of each class's mean.

    With this sum, one learning rate serves any number of ways and shots.

    Args:
        logits: of N classes, for the K images of the first class, then of the second, and so on:
            [N * K, N].
        mask: 1 for images, 0 for padding, [N, K], with at least one image of each class.
    """
    ways, shots = mask.shape
    log_likelihood = jax.nn.log_softmax(logits).reshape(ways, shots, ways)
    of_true_class = jnp.einsum('nkn->nk', log_likelihood)
    return -((of_true_class * mask).sum(1) / mask.sum(1)).sum()


def by_head(rate: float, steps: int) -> Compare:
    """Build ANIL: train a head in each episode, on fixed features.

    See Raghu et al., arXiv 1909.09157.

    Args:
        rate: learning rate.
        steps: gradient steps.

    Returns:
        `(query [M, D], support [N, K, D], mask [N, K]) -> logits [M, N]` for one episode. The mask
        is 1 for images of the support set, 0 for padding.
    """

    def compare(query, support, mask):
        features = support.reshape(-1, support.shape[-1])
        head = start_head(query.shape[-1], len(mask), query.dtype)

        def loss(head, features):
            return support_loss(apply_head(head, features), mask)

        head, _ = adapt(loss, head, [features] * steps, rate)
        return apply_head(head, query)

    return compare


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """A backbone and a head that both adapt to an episode.

    Attributes:
        backbone: the model that computes features. It has no model state, such as batch
            statistics.
        rate: learning rate within an episode.
        first_order: whether derivatives of the adapted parameters treat the gradients within
            an episode as constants. Reptile takes no such derivatives.
    """

    backbone: Backbone
    rate: float
    first_order: bool

    def start(self, params: Tree, ways: int) -> Tree:
        """Add the head of zeros with which an episode starts, as 'head', to the parameters."""
        width = self.backbone.width(params, {})
        return {**params, 'head': start_head(width, ways, self.backbone.dtype)}

    def classify(self, params: Tree, images: Images) -> Logits:
        """Compute the logits [M, N] of M images in [0, 1] with backbone and head.

        `params` are those of the backbone and, as 'head', those of the head.
        """
        features, _ = self.backbone.features(params, {}, images)
        return apply_head(params['head'], features)

    def loss(self, params: Tree, batch: tuple[Images, Mask]) -> Scalar:
        """Compute the cross-entropy of a support set, summed over the classes' means.

        Args:
            params: parameters of backbone and head.
            batch: (images [N * K, H, W, C] in [0, 1], class by class, mask [N, K], 1 for images
                and 0 for padding).
        """
        images, mask = batch
        return support_loss(self.classify(params, images), mask)

    def scores(self, params: Tree, images: Images, mask: Mask, steps: int) -> Logits:
        """Adapt to the support set, then compute the logits of the queries (MAML).

        Args:
            params: parameters of the backbone.
            images: images of an episode in [0, 1], [N * K + M, H, W, C]: the support set class by
                class, then the queries.
            mask: 1 for images of the support set, 0 for padding, [N, K].
            steps: gradient steps.

        Returns:
            Logits of the queries, [M, N].
        """
        support = (images[: mask.size], mask)
        adapted, _ = adapt(
            self.loss,
            self.start(params, len(mask)),
            [support] * steps,
            self.rate,
            self.first_order,
        )
        return self.classify(adapted, images[mask.size :])

    def reptile(
        self, params: Tree, images: Float[Array, 'ways n h w c'], steps: int
    ) -> tuple[Tree, Scalar]:
        """Compute Reptile's direction for the backbone.

        Args:
            params: parameters of the backbone.
            images: images of each class in [0, 1]. They are divided among the steps.
            steps: gradient steps, at most as many as images of a class.

        Returns:
            (the direction, `params` minus the adapted ones, without the head, the loss before the
            last step).
        """
        batches = []
        for part in jnp.array_split(images, steps, 1):
            mask = jnp.ones(part.shape[:2], part.dtype)
            batches.append((part.reshape(-1, *part.shape[2:]), mask))
        start = self.start(params, len(images))
        direction, loss = reptile(self.loss, start, batches, self.rate)
        _, backbone_direction = parted(direction, ('head',))
        return backbone_direction, loss
