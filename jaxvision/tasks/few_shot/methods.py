"""The few-shot methods: the logits of an episode, and the training update of each method."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Update,
)
from jaxvision.core.trees import (
    part_like,
)
from jaxvision.core.types import Batch, Tree
from jaxvision.losses import classification as cross_entropies
from jaxvision.losses import few_shot
from jaxvision.metrics import few_shot as metrics
from jaxvision.tasks.few_shot import adaptation, comparison
from jaxvision.tasks.few_shot.comparison import Backbone, Compare, Scores
from jaxvision.tasks.few_shot.forms import by_class, class_positions
from jaxvision.tasks.shared import image_input
from jaxvision.train import update

# Methods with fixed features in an episode.
COMPARING = ('protonet', 'matching', 'baseline', 'anil')
# Methods that adapt all weights to an episode.
WITHIN = ('maml', 'first_order_maml', 'reptile')


def make_scores(options: Config, backbone: Backbone, steps: int) -> Scores:
    """Build the function that computes the logits of the queries by `task.method`.

    Args:
        options: `config.task`.
        backbone: the model that computes features.
        steps: gradient steps of a method that adapts to an episode.

    Returns:
        `(params, model_state, images [B, N * K + M, H, W, C], mask [B, N, K],
        train=False, keys=None) -> (logits [B, M, N], new model state)`. Images are in
        [0, 1], the support set first. In training, `keys` has a random key for each
        image, in one axis.
    """
    comparisons: dict[str, Compare] = {
        'protonet': comparison.to_prototypes,
        'matching': comparison.to_examples(options.cosine_scale),
        'baseline': comparison.to_centres(options.cosine_scale),
        'anil': adaptation.by_head(options.inner_lr, steps),
    }
    if options.method in comparisons:
        return comparison.by_features(backbone, comparisons[options.method])
    learner = adaptation.Learner(
        backbone=backbone,
        rate=options.inner_lr,
        first_order=options.method != 'maml',
    )

    def scores(params, model_state, images, mask, train=False, keys=None):
        def of_episode(episode):
            episode_images, episode_mask = episode
            return learner.scores(params, episode_images, episode_mask, steps)

        # In inference the episodes are computed one by one. Each has its own weights, so
        # under vmap the convolutions would be grouped by the batch size, which an exported
        # program does not know.
        if train:
            logits = jax.vmap(of_episode)((images, mask))
        else:
            logits = jax.lax.map(of_episode, (images, mask))
        return logits, model_state

    return scores


def make_update(
    config: Config, backbone: Backbone, tx: optax.GradientTransformation
) -> Update:
    """Build the training update of `task.method`.

    Reptile does not use `optimizer.accumulate`.

    Args:
        config: config of the run.
        backbone: the model that computes features.
        tx: the optimizer.

    Returns:
        `(state, batch of episodes) -> (state, scalars)`.
    """
    options = config.task
    ema = config.optimizer.ema
    if options.method == 'reptile':
        gradients = reptile_gradients(options, backbone)
        return update.from_gradients(gradients, tx, ema=ema)
    if options.method == 'baseline':
        loss = class_loss(options, backbone)
    else:
        loss = episode_loss(options, backbone)
    return update.from_loss(loss, tx, ema=ema, accumulate=config.optimizer.accumulate)


def episode_loss(options: Config, backbone: Backbone) -> update.Loss:
    """Build the cross-entropy of the queries, classified by the support set.

    Args:
        options: `config.task`.
        backbone: the model that computes features.

    Returns:
        `(params, state, batch, key) -> (terms, aux)`, for `update.from_loss`. The batch
        has 'index', 'support', 'support_mask', 'query' and 'query_label'. The term
        'cross_entropy', in nats, and the scalar 'accuracy' are (means over the queries
        of each episode [B], ones [B]).
    """
    scores = make_scores(options, backbone, options.inner_steps)

    def loss(params, state, batch, key):
        images, image_keys = augment_episodes(
            options.augment, key, batch['index'], backbone.images(batch)
        )
        logits, model_state = scores(
            params,
            state.model_state['model'],
            images,
            backbone.mask(batch),
            train=True,
            keys=image_keys,
        )
        return _terms(logits, batch['query_label'], model_state)

    return loss


def class_loss(options: Config, backbone: Backbone) -> update.Loss:
    """Build the loss of the baseline: a cosine classifier of all training classes.

    Support and query images have equal weight. The parameters hold the classifier as 'head'.
    The mask of the support set is not used, so padding is trained on like images.

    Args:
        options: `config.task`.
        backbone: the model that computes features.

    Returns:
        `(params, state, batch, key) -> (terms, aux)`, for `update.from_loss`. The batch
        also has 'classes' [B, N], the training class of each class of an episode. The
        term and the scalar are those of `episode_loss`, but as means over all images of
        each episode.
    """

    def loss(params, state, batch, key):
        images, image_keys = augment_episodes(
            options.augment, key, batch['index'], backbone.images(batch)
        )
        features, model_state = backbone.features(
            params, state.model_state['model'], images, train=True, keys=image_keys
        )
        logits = few_shot.cosine_logits(features, params['head'], options.cosine_scale)
        label = jnp.take_along_axis(batch['classes'], class_positions(batch), 1)
        return _terms(logits, label, model_state)

    return loss


def reptile_gradients(
    options: Config, backbone: Backbone
) -> Callable[[TrainState, Batch], update.Gradients]:
    """Build Reptile's gradients: the mean direction over the episodes of a batch.

    Support and query images have equal weight, and so has padding of the support set.

    Args:
        options: `config.task`.
        backbone: the model that computes features.

    Returns:
        `(state, batch) -> (gradient, model state, {'loss': the mean loss before the last step})`,
        for `update.from_gradients`. Frozen parameters have no gradient. The model state does not
        change.
    """
    learner = adaptation.Learner(
        backbone=backbone, rate=options.inner_lr, first_order=True
    )

    def gradients(state, batch):
        key = keys.at_step(state.key, 'model', state.step)
        images, _ = augment_episodes(
            options.augment, key, batch['index'], backbone.images(batch)
        )
        params = state.whole(state.params)['model']

        def of_episode(images):
            return learner.reptile(params, images, options.inner_steps)

        directions, losses = jax.vmap(of_episode)(by_class(batch, images))
        direction = jax.tree.map(lambda x: x.mean(0), directions)
        return (
            part_like(direction, state.params['model']),
            state.model_state,
            {'loss': losses.mean()},
        )

    return gradients


def _terms(
    logits: Float[Array, 'b m n'], label: Int[Array, 'b m'], model_state: Tree
) -> tuple[update.Terms, dict[str, Any]]:
    """Compute the cross-entropy and accuracy of each episode, for `update.from_loss`."""
    targets = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
    entropy = jax.vmap(cross_entropies.softmax_cross_entropy)(logits, targets).mean(1)
    accuracy = metrics.accuracy(logits, label)
    terms = {'cross_entropy': (entropy, jnp.ones_like(entropy))}
    return terms, {
        'model_state': {'model': model_state},
        'scalars': {'accuracy': (accuracy, jnp.ones_like(accuracy))},
    }


def augment_episodes(
    options: Config,
    key: jax.Array,
    index: Int[Array, 'b'],
    images: Float[Array, 'b n h w c'],
) -> tuple[Float[Array, 'b n h w c'], Key[Array, 'bn']]:
    """Flip, shift and rotate each image at random.

    Args:
        options: `config.task.augment`.
        key: random key of the step.
        index: row of each episode in its split, from which random keys are made.
        images: images in [0, 1].

    Returns:
        (the images, a key for each of the B * n images, for the model's dropout).
    """
    per_episode = images.shape[1]
    numbers = (index[:, None] * per_episode + jnp.arange(per_episode)).ravel()
    flat = images.reshape(-1, *images.shape[2:])
    moved = image_input.augment_geometry(options, key, numbers, flat)
    image_keys = keys.per_example(keys.stream(key, 'model'), numbers)
    return moved.reshape(images.shape), image_keys
