"""Attention to a few points of several feature maps (Deformable DETR, arXiv 2010.04159)."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.image.types import Size

Tokens = Float[Array, 'b n c']
Queries = Float[Array, 'b q c']
# [y, x, height, width] of centre and size, as fractions of the image.
References = Float[Array, 'b q 4']


def sample(
    values: Float[Array, 'n heads c'],
    shapes: Sequence[Size],
    points: Float[Array, 'q heads levels p 2'],
    weights: Float[Array, 'q heads levels p'],
) -> Float[Array, 'q heads c']:
    """Sum weighted samples of feature maps, interpolated bilinearly.

    Cells beyond the border of a map are 0, as in PyTorch's `grid_sample` without
    `align_corners`.

    Args:
        values: the cells of all maps of one image, map after map, row by row.
        shapes: (rows, columns) of each map.
        points: (y, x) as fractions of the image, any number.
        weights: of the samples.

    Returns:
        For each query and head, the sum over levels and points.
    """
    heads = values.shape[1]
    rows = values.reshape(-1, values.shape[2])
    sizes = np.array(shapes)
    cells_of_maps = sizes.prod(axis=1)
    # Levels and points are one axis, since LiteRT has few operations on many axes.
    number = points.shape[3]
    first = np.repeat(np.cumsum(cells_of_maps) - cells_of_maps, number)
    height, width = np.repeat(sizes, number, axis=0).T
    head = np.arange(heads)[:, None]
    points = points.reshape(*points.shape[:2], -1, 2)
    weights = weights.reshape(*weights.shape[:2], -1)

    total = 0.0
    for y, y_weight in _neighbours(points[..., 0], height):
        for x, x_weight in _neighbours(points[..., 1], width):
            cell = first + y * width + x
            weight = (y_weight * x_weight * weights).astype(rows.dtype)
            total += jnp.einsum('qhs,qhsc->qhc', weight, rows[cell * heads + head])
    return total


def _neighbours(
    fractions: Float[Array, 'q heads s'], cells: Int[np.ndarray, 's']
) -> list[tuple[Int[Array, 'q heads s'], Float[Array, 'q heads s']]]:
    """The two cells of each sample along one axis, each with its weight.

    Args:
        fractions: places of the samples as fractions of the image.
        cells: number of cells along the axis, for each sample.
    """
    # A cell has its centre at a whole number.
    places = fractions * cells - 0.5
    low = jnp.floor(places)
    neighbours = []
    for cell in (low, low + 1):
        is_inside = (cell >= 0) & (cell <= cells - 1)
        weight = (1 - jnp.abs(places - cell)) * is_inside
        index = jnp.clip(cell, 0, cells - 1).astype(jnp.int32)
        neighbours.append((index, weight))
    return neighbours


class DeformableAttention(nn.Module):
    """Attention of each query to points around its box, called as `(queries, references, memory)`.

    Attributes:
        shapes: (rows, columns) of each feature map.
        heads: number of heads, a divisor of the width of the queries.
        points: of each head and map.
        dtype: of the computation. Points and weights are computed in `param_dtype`.
        param_dtype: of the parameters.
    """

    shapes: tuple[Size, ...]
    heads: int
    points: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, queries: Queries, references: References, memory: Tokens
    ) -> Queries:
        """Attend.

        Args:
            queries: with their positions.
            references: the box of each query.
            memory: the cells of all maps, map after map, row by row.
        """
        batch, number, width = queries.shape
        grid = (self.heads, len(self.shapes), self.points)
        offsets = self._of_points('offsets', 2, self._star)(queries)
        offsets = offsets.reshape(batch, number, *grid, 2)
        weights = self._of_points('weights', 1, nn.initializers.zeros)(queries)
        weights = nn.softmax(weights.reshape(batch, number, self.heads, -1))
        centers, sizes = jnp.split(references[:, :, None, None, None], 2, axis=-1)
        points = centers + offsets / self.points * sizes * 0.5
        values = self._dense('value', width)(memory)
        values = values.reshape(batch, -1, self.heads, width // self.heads)
        sample_images = jax.vmap(partial(sample, shapes=self.shapes))
        sampled = sample_images(
            values, points=points, weights=weights.reshape(batch, number, *grid)
        )
        return self._dense('out', width)(sampled.reshape(queries.shape))

    def _dense(self, name: str, width: int) -> nn.Module:
        return nn.Dense(
            width,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _of_points(
        self, name: str, numbers: int, bias_init: nn.initializers.Initializer
    ) -> nn.Module:
        """The layer of some numbers of each point, the same for all queries at first."""
        return nn.Dense(
            self.heads * len(self.shapes) * self.points * numbers,
            kernel_init=nn.initializers.zeros,
            bias_init=bias_init,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _star(
        self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike
    ) -> Float[Array, '_']:
        """Offsets at the start: each head looks in its direction, each point further."""
        angles = 2 * np.pi * np.arange(self.heads) / self.heads
        directions = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        directions /= np.abs(directions).max(axis=1, keepdims=True)
        distances = np.arange(1, self.points + 1)[:, None]
        offsets = directions[:, None, None] * distances
        offsets = np.broadcast_to(
            offsets, (self.heads, len(self.shapes), self.points, 2)
        )
        return jnp.asarray(offsets.reshape(shape), dtype)
