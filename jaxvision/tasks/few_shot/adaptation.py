"""Few-shot learning by learning: gradient steps on the support, from a start that makes them tell.

The head starts at zero in every episode, the one start that treats all classes alike: so one run
serves any number of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.core.trees import parted
from jaxvision.tasks.few_shot.comparison import Backbone

Tree = Any


def adapt(
    loss: Callable,
    params: Tree,
    batches: Sequence,
    rate: float,
    first_order: bool = False,
) -> tuple[Tree, list]:
    """The parameters after a step of gradient descent on `loss(params, batch)` for each batch, and
    the losses before each.

    With `first_order` their derivative by where they began takes the gradients for constants
    (Finn et al., arXiv 1703.03400, section 5.2).
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
    loss: Callable, params: Tree, batches: Sequence, rate: float
) -> tuple[Tree, Any]:
    """What Reptile descends, which is no loss's gradient: the way back from the adapted parameters
    (Nichol et al., arXiv 1803.02999); and the last loss."""
    adapted, losses = adapt(loss, params, batches, rate)
    return jax.tree.map(jnp.subtract, params, adapted), losses[-1]


def apply_head(head: Tree, features):
    return features @ head['kernel'] + head['bias']


def start_head(width: int, ways: int, dtype) -> Tree:
    return {'kernel': jnp.zeros((width, ways), dtype), 'bias': jnp.zeros(ways, dtype)}


def support_loss(logits, mask):
    """Cross-entropy of the support [N * K, N], its mean over each class's examples, summed over the
    classes: one rate serves any number of ways and shots."""
    ways, shots = mask.shape
    log_likelihood = jax.nn.log_softmax(logits).reshape(ways, shots, ways)
    own = jnp.einsum('nkn->nk', log_likelihood)
    return -((own * mask).sum(1) / mask.sum(1)).sum()


def by_head(rate: float, steps: int) -> Callable:
    """ANIL (Raghu et al., arXiv 1909.09157): features stay and the head is learned; of one
    episode's features, as `comparison.by_features` has them."""

    def compare(query, support, mask):
        features = support.reshape(-1, support.shape[-1])
        head = start_head(query.shape[-1], len(mask), query.dtype)

        def loss(head, features):
            return support_loss(apply_head(head, features), mask)

        head, _ = adapt(loss, head, [features] * steps, rate)
        return apply_head(head, query)

    return compare


class Learner:
    """A backbone and a head that both learn within an episode, on images [n, H, W, C]."""

    def __init__(self, backbone: Backbone, rate: float, first_order: bool):
        self._backbone, self._rate, self._first_order = backbone, rate, first_order

    def begin(self, params: Tree, images, ways: int) -> Tree:
        features, _ = jax.eval_shape(self._backbone.features, params, {}, images)
        return {
            **params,
            'head': start_head(features.shape[-1], ways, self._backbone.dtype),
        }

    def classify(self, params: Tree, images):
        return apply_head(
            params['head'], self._backbone.features(params, {}, images)[0]
        )

    def loss(self, params: Tree, batch):
        images, mask = batch
        return support_loss(self.classify(params, images), mask)

    def scores(self, params: Tree, images, mask, steps: int):
        """MAML, of whatever order: the logits [M, N] of an episode's queries after `steps`."""
        shown = mask.size
        support = images[:shown], mask
        start = self.begin(params, images, len(mask))
        adapted, _ = adapt(
            self.loss, start, [support] * steps, self._rate, self._first_order
        )
        return self.classify(adapted, images[shown:])

    def reptile(self, params: Tree, images, steps: int):
        """Reptile's direction for the backbone, and its last loss; `images` [N, n, H, W, C] are
        dealt out: each of the `steps` sees others of every class."""
        parts = jnp.array_split(images, steps, 1)
        batches = [
            (part.reshape(-1, *part.shape[2:]), jnp.ones(part.shape[:2], part.dtype))
            for part in parts
        ]
        start = self.begin(params, batches[0][0], len(images))
        direction, loss = reptile(self.loss, start, batches, self._rate)
        return parted(direction, ('head',))[1], loss
