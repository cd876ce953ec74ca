"""Queries of RT-DETR: the best cells of feature maps, refined layer by layer (arXiv 2304.08069)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxvision.boxes import anchors
from jaxvision.image.types import Size
from jaxvision.models.blocks import selection
from jaxvision.models.blocks.deformable_attention import DeformableAttention
from jaxvision.models.detectors.transformer_layers import (
    Perceptron,
    SelfAttention,
    Settings,
    zeros,
)

PRIOR = 0.01  # probability of each class at the start
SIDE = 0.05  # of the finest map's anchors, as a fraction of the image
MARGIN = 0.01  # from the border, within which an anchor is not used
EPSILON = 1e-5  # least fraction that a logit is computed of
prior = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
# The logit of an anchor that is not used. Its box covers (1, 1), whatever is added.
_UNUSED = 1e4

# The queries, and the cells of all maps.
QueryTokens = Float[Array, 'b q d']
Memory = Float[Array, 'b n d']
# [y, x, height, width] of centre and size, as fractions of the image.
Boxes = Float[Array, 'b q 4']
Logits = Float[Array, 'b q k']


class Queries(NamedTuple):
    """The queries of a layer, and what is predicted for them.

    Attributes:
        tokens: [B, Q, D], without gradient.
        boxes: centre and size, fractions of the image.
        logits: of the classes.
    """

    tokens: QueryTokens
    boxes: Boxes
    logits: Logits


def grid_anchors(
    shapes: Sequence[Size],
) -> tuple[Float[np.ndarray, 'n 4'], Bool[np.ndarray, 'n 1']]:
    """List one anchor for each cell of all maps, the finest map first, row by row.

    Args:
        shapes: (rows, columns) of each map.

    Returns:
        (the logits of [y, x, height, width], fractions of the image; whether an anchor
        is used: no number is within `MARGIN` of 0 or 1).
    """
    boxes = []
    for level, shape in enumerate(shapes):
        centers = anchors.cell_centers(shape, (1, 1)) / np.array(shape)
        sides = np.full_like(centers, SIDE * 2**level)
        boxes.append(np.concatenate([centers, sides], axis=1))
    fractions = np.concatenate(boxes)
    is_used = (fractions > MARGIN) & (fractions < 1 - MARGIN)
    is_used = is_used.all(axis=1, keepdims=True)
    inner = np.where(is_used, fractions, 0.5)
    logits = np.where(is_used, np.log(inner / (1 - inner)), _UNUSED)
    return logits.astype(np.float32), is_used


def logit(fractions: Boxes) -> Boxes:
    """The inverse of the sigmoid, of fractions that are kept 1e-5 away from 0 and 1."""
    fractions = jnp.clip(fractions, 0, 1)
    rest = jnp.maximum(1 - fractions, EPSILON)
    return jnp.log(jnp.maximum(fractions, EPSILON) / rest)


class BoxOutput(nn.Module):
    """Three layers that give four numbers for each token, 0 at the start.

    Attributes:
        settings: of the transformer.
    """

    settings: Settings

    @nn.compact
    def __call__(self, x: QueryTokens) -> Boxes:
        width = x.shape[-1]
        x = nn.relu(self.settings.output(width, 'dense1')(x))
        x = nn.relu(self.settings.output(width, 'dense2')(x))
        return self.settings.output(4, 'dense3', kernel_init=zeros)(x)


class QuerySelection(nn.Module):
    """The cells of feature maps that become queries, called as `selection(memory, shapes)`.

    Each cell predicts class logits and a box from its anchor. Those with the largest
    logits are chosen.

    Attributes:
        num_classes: without background.
        queries: number of the chosen cells, or all if there are fewer.
        settings: of the transformer.
    """

    num_classes: int
    queries: int
    settings: Settings

    @nn.compact
    def __call__(self, memory: Memory, shapes: Sequence[Size]) -> Queries:
        """Choose queries.

        Args:
            memory: the cells of all maps, map after map, row by row.
            shapes: (rows, columns) of each map.
        """
        settings = self.settings
        box_logits, is_used = grid_anchors(shapes)
        x = settings.dense(memory.shape[-1], 'dense')(memory * is_used)
        x = settings.norm('norm')(x)
        logits = settings.output(self.num_classes, 'scores', bias_init=prior)(x)
        box_logits = box_logits + BoxOutput(settings, name='boxes')(x)
        number = min(self.queries, x.shape[1])

        def choose(tokens: Array, boxes: Array, logits: Array) -> Queries:
            _, order = selection.best(logits.max(axis=-1), number)
            boxes = nn.sigmoid(boxes[order])
            return Queries(lax.stop_gradient(tokens[order]), boxes, logits[order])

        return jax.vmap(choose)(x, box_logits, logits)


class DecoderLayer(nn.Module):
    """Attention of the queries to each other and to feature maps, and a perceptron.

    Attributes:
        shapes: (rows, columns) of each map.
        points: of each map and head that a query attends to.
        settings: of the transformer.
    """

    shapes: tuple[Size, ...]
    points: int
    settings: Settings

    @nn.compact
    def __call__(
        self, x: QueryTokens, positions: QueryTokens, boxes: Boxes, memory: Memory
    ) -> QueryTokens:
        """Update the queries.

        Args:
            x: the queries.
            positions: of the queries, as wide as these.
            boxes: of the queries.
            memory: the cells of all maps.
        """
        settings = self.settings
        y = SelfAttention(settings, name='attention')(x, positions)
        x = settings.norm('norm1')(x + y)
        deformable = DeformableAttention(
            shapes=self.shapes,
            heads=settings.heads,
            points=self.points,
            dtype=settings.dtype,
            param_dtype=settings.param_dtype,
            name='deformable',
        )
        x = settings.norm('norm2')(x + deformable(x + positions, boxes, memory))
        y = Perceptron(settings, nn.relu, name='perceptron')(x)
        return settings.norm('norm3')(x + y)


class QueryDecoder(nn.Module):
    """Layers that refine the boxes of queries, called as `decoder(memory, shapes, queries)`.

    Attributes:
        num_classes: without background.
        layers: number of layers.
        points: of each map and head that a query attends to.
        settings: of the transformer.
    """

    num_classes: int
    layers: int
    points: int
    settings: Settings

    @nn.compact
    def __call__(
        self, memory: Memory, shapes: Sequence[Size], queries: Queries
    ) -> tuple[list[Logits], list[Boxes]]:
        """Refine boxes.

        Args:
            memory: the cells of all maps, map after map, row by row.
            shapes: (rows, columns) of each map.
            queries: at the start.

        Returns:
            (class logits of each layer, boxes of each layer).
        """
        settings = self.settings
        width = memory.shape[-1]
        position1 = settings.dense(2 * width, 'position1')
        position2 = settings.dense(width, 'position2')
        x = queries.tokens
        boxes = lax.stop_gradient(queries.boxes)
        every_logits = []
        every_boxes = []
        for i in range(1, self.layers + 1):
            seen = lax.stop_gradient(boxes)
            layer = DecoderLayer(tuple(shapes), self.points, settings, name=f'layer{i}')
            x = layer(x, position2(nn.relu(position1(seen))), seen, memory)
            scores = settings.output(
                self.num_classes, f'layer{i}_scores', bias_init=prior
            )
            every_logits.append(scores(x))
            shifts = BoxOutput(settings, name=f'layer{i}_boxes')(x)
            # A layer also learns from the boxes of the next one (DINO, arXiv 2203.03605).
            every_boxes.append(nn.sigmoid(shifts + logit(boxes)))
            boxes = nn.sigmoid(shifts + logit(seen))
        return every_logits, every_boxes
