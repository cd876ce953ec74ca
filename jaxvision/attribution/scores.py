"""Scores to explain: one number for each image, read from the outputs of a network."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxvision.attribution.types import Scores


def of_class(
    logits: Float[Array, 'b k'], classes: Int[Array, 'b'] | Int[Array, '']
) -> Scores:
    """Read the logit of a class of each image.

    A logit is explained, not a probability: a softmax also rises when other classes lose, and its
    gradient vanishes where it is nearly 0 or 1.

    Args:
        logits: of a classifier.
        classes: the class of each image, or one class of all, from 0.
    """
    classes = jnp.broadcast_to(classes, len(logits))
    chosen = jnp.take_along_axis(logits, classes[:, None], axis=1)
    return chosen[:, 0]


def of_pixels(
    logits: Float[Array, 'b h w k'],
    classes: Int[Array, 'b'] | Int[Array, ''],
    mask: Bool[Array, 'b h w'],
) -> Scores:
    """Average the logits of a class over some pixels of each image.

    With the pixels that have the class, gradients at a layer give Seg-Grad-CAM (Vinogradova et
    al., "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
    Mapping", 2020).

    Args:
        logits: of a segmenter.
        classes: the class of each image, or one class of all, from 0.
        mask: the pixels that count. Without pixels the score is 0.
    """
    classes = jnp.broadcast_to(classes, len(logits))
    index = classes[:, None, None, None]
    chosen = jnp.take_along_axis(logits, index, axis=3)[..., 0]
    counted = jnp.where(mask, chosen, 0)
    total = counted.sum(axis=(1, 2))
    count = mask.sum(axis=(1, 2))
    return total / jnp.maximum(count, 1)


def of_row(
    logits: Float[Array, 'b n k'],
    rows: Int[Array, 'b'] | Int[Array, ''],
    classes: Int[Array, 'b'] | Int[Array, ''],
) -> Scores:
    """Read the logit of a class in one row of each image.

    A row is a candidate box of a detector, or the place of a word in a caption.

    Args:
        logits: of N rows and K classes or words.
        rows: the row of each image, or one row of all, from 0.
        classes: the class of each image, or one class of all, from 0.
    """
    rows = jnp.broadcast_to(rows, len(logits))
    index = rows[:, None, None]
    row_logits = jnp.take_along_axis(logits, index, axis=1)
    return of_class(row_logits[:, 0], classes)
