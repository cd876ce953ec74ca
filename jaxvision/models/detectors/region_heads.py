"""The heads of Faster and Mask R-CNN: proposals of regions, their classes, and their masks."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers, resampling
from jaxvision.models.types import FeatureMap

# The maps of several regions, as one batch.
RegionMaps = Float[Array, 'n y x c']


class RegionProposals(nn.Module):
    """Objectness and deltas of every anchor, by one network for all levels.

    A call on the maps returns (logits [B, N], deltas [B, N, 4]): level by level, row by
    row, and the anchors of a cell together.

    Attributes:
        anchors_per_cell: number of anchors of a cell, on every level.
        depth: number of 3x3 convolutions before the outputs.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    anchors_per_cell: int
    depth: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, maps: Sequence[FeatureMap]
    ) -> tuple[Float[Array, 'b n'], Float[Array, 'b n 4']]:
        """Predict (logits of objectness, deltas) of all levels' anchors."""
        convs = [self._conv(maps[0].shape[-1], i) for i in range(1, self.depth + 1)]
        score = self._output(self.anchors_per_cell, 'objectness')
        regress = self._output(4 * self.anchors_per_cell, 'deltas')
        objectness = []
        deltas = []
        for x in maps:
            for conv in convs:
                x = nn.relu(conv(x))
            objectness.append(score(x).reshape(x.shape[0], -1))
            deltas.append(regress(x).reshape(x.shape[0], -1, 4))
        return jnp.concatenate(objectness, axis=1), jnp.concatenate(deltas, axis=1)

    def _conv(self, width: int, number: int) -> nn.Module:
        return convolution.Conv(
            width,
            (3, 3),
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='conv' if number == 1 else f'conv{number}',
        )

    def _output(self, channels: int, name: str) -> nn.Module:
        # Boxes and scores need the digits of the parameters.
        return nn.Conv(
            channels,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name=name,
        )


class BoxHead(nn.Module):
    """Class logits and deltas of regions, by dense layers, with convolutions before them.

    A call `(pooled [B, R, h, w, C], train)` returns (logits [B, R, K + 1], deltas
    [B, R, K + 1, 4]). Class 0 is the background.

    Attributes:
        num_classes: without background.
        width: of the dense layers.
        convs: number of 3x3 convolutions before the dense layers, each with batch norm.
        depth: number of dense layers.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    width: int
    convs: int
    depth: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, pooled: Float[Array, 'b r y x c'], train: bool
    ) -> tuple[Float[Array, 'b r k'], Float[Array, 'b r k 4']]:
        """Predict (logits, deltas) for each class of each region, background first."""
        regions = pooled.reshape(-1, *pooled.shape[2:])
        for i in range(1, self.convs + 1):
            regions = self._convolved(regions, train, f'conv{i}')
        x = regions.reshape(*pooled.shape[:2], -1)
        for i in range(1, self.depth + 1):
            layer = nn.Dense(
                self.width,
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f'dense{i}',
            )
            x = nn.relu(layer(x))
        # Boxes and scores need the digits of the parameters.
        types = {'dtype': self.param_dtype, 'param_dtype': self.param_dtype}
        classes = self.num_classes + 1
        logits = nn.Dense(
            classes,
            kernel_init=nn.initializers.normal(0.01),
            name='scores',
            **types,
        )(x)
        # An axis of classes, so that weights of other classes are matched by name.
        deltas = nn.DenseGeneral(
            (classes, 4),
            kernel_init=nn.initializers.normal(0.001),
            name='deltas',
            **types,
        )(x)
        return logits, deltas

    def _convolved(self, x: RegionMaps, train: bool, name: str) -> RegionMaps:
        conv = convolution.Conv(
            x.shape[-1],
            (3, 3),
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )
        norm: Callable[..., nn.Module] = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum
        )
        return nn.relu(norm(name=f'{name}_norm')(conv(x)))


class MaskHead(nn.Module):
    """Mask logits of regions for each class, by convolutions (arXiv 1703.06870, figure 4).

    A call on pooled regions [B, R, h, w, C] returns logits [B, R, 2 h, 2 w, K + 1].
    Class 0 is the background, whose mask means nothing.

    Attributes:
        num_classes: without background.
        width: of the convolutions.
        depth: number of 3x3 convolutions before the map is enlarged.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    width: int
    depth: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, pooled: Float[Array, 'b r y x c']
    ) -> Float[Array, 'b r 2*y 2*x k']:
        """Predict logits for each class of each region, background first."""
        x = pooled.reshape(-1, *pooled.shape[2:])
        types = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        for i in range(1, self.depth + 1):
            conv = convolution.Conv(
                self.width,
                (3, 3),
                kernel_init=layers.he_normal,
                name=f'conv{i}',
                **types,
            )
            x = nn.relu(conv(x))
        enlarge = resampling.ConvTranspose(
            self.width, (2, 2), kernel_init=layers.he_normal, name='enlarge', **types
        )
        x = nn.relu(enlarge(x))
        logits = nn.Conv(
            self.num_classes + 1,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name='masks',
        )(x)
        return logits.reshape(*pooled.shape[:2], *logits.shape[1:])
