"""Evaluation of a few-shot classifier on episodes of one size."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Evaluation,
    Predict,
)
from jaxvision.core.types import Batch
from jaxvision.data.episodes import Form
from jaxvision.losses import few_shot
from jaxvision.metrics import few_shot as metrics
from jaxvision.tasks.few_shot.forms import part

METRICS = ('accuracy', 'pixel_accuracy', 'interval')


def make(predict: Predict, form: Form) -> Evaluation:
    """Build the evaluation on episodes of one size.

    The episodes are the first classes and shots of larger episodes. The metrics are fractions.
    'interval' is half the width of the 95 % confidence interval of 'accuracy'. 'pixel_accuracy'
    is the accuracy of the nearest centroid of raw pixels.

    Args:
        predict: `(variables, episodes) -> {'logits': [B, M, N], ...}`, for M queries and N
            classes.
        form: the size of the episodes, at most that of the batches, with as many queries per
            class.
    """

    def record(outputs: Batch, batch: Batch) -> Batch:
        episodes = part(batch, form)
        label = episodes['query_label']
        return {
            'accuracy': metrics.accuracy(outputs['logits'], label),
            'pixel_accuracy': metrics.accuracy(pixel_logits(episodes), label),
        }

    def evaluate(state: TrainState, batch: Batch) -> Batch:
        return record(predict(state.variables, part(batch, form)), batch)

    return Evaluation(
        evaluate=evaluate,
        summarize=metrics.summarize,
        metrics=METRICS,
        record=record,
        inputs=functools.partial(part, form=form),
    )


def pixel_logits(episodes: Batch) -> Float[Array, 'b m n']:
    """Compute the logits of the nearest centroid of raw pixels, a baseline without a network.

    Args:
        episodes: 'support' [B, N, K, H, W, C], 'support_mask' [B, N, K] and 'query'
            [B, M, H, W, C], with uint8 images.

    Returns:
        [B, M, N], highest for the class with the nearest mean image.
    """
    support = _pixel_vectors(episodes['support'], 3)
    query = _pixel_vectors(episodes['query'], 2)
    mask = episodes['support_mask'].astype(jnp.float32)
    centres = jax.vmap(few_shot.prototypes)(support, mask)
    return jax.vmap(few_shot.distance_logits)(query, centres)


def _pixel_vectors(images: Integer[Array, '...'], axis: int) -> Float[Array, '...']:
    """Convert uint8 images to [0, 1] and flatten all axes from `axis` on."""
    return (images.astype(jnp.float32) / 255).reshape(*images.shape[:axis], -1)
