"""The evaluation of a few-shot classifier on episodes of one size."""

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
    """Build the evaluation of the first classes and shots of larger episodes.

    Args:
        predict: see `Task.predict`.
        form: the size of the episodes.

    Returns:
        The accuracy with its interval, and that of the nearest centroid of raw pixels.
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
    """The logits of the nearest centroid of raw pixels, a baseline without a network."""
    support = _pixel_vectors(episodes['support'], 3)
    query = _pixel_vectors(episodes['query'], 2)
    mask = episodes['support_mask'].astype(jnp.float32)
    centres = jax.vmap(few_shot.prototypes)(support, mask)
    return jax.vmap(few_shot.distance_logits)(query, centres)


def _pixel_vectors(images: Integer[Array, '...'], axis: int) -> Float[Array, '...']:
    """Images in [0, 1] with all axes from `axis` on as one."""
    return (images.astype(jnp.float32) / 255).reshape(*images.shape[:axis], -1)
