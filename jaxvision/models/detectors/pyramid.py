"""Feature pyramid network: Lin et al., 2017 (arXiv 1612.03144).

Coarser maps than the backbone's may follow, each of half the size of the one before:

- 'pool' takes every other cell of the coarsest map, as in Faster R-CNN.
- 'P5' and 'C5' add two maps by convolutions of stride 2. The first one sees the coarsest map of
  the pyramid ('P5') or of the backbone ('C5'), as in RetinaNet (arXiv 1708.02002).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.types import Values
from jaxvision.image.types import Size
from jaxvision.models.backbones.feature_maps import (
    make_backbone,
    map_of_stride,
    parse_strides,
)
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys

Extra = Literal['none', 'pool', 'P5', 'C5']
# Number of the coarser maps.
EXTRA_MAPS: dict[Extra, int] = {'none': 0, 'pool': 1, 'P5': 2, 'C5': 2}


class Grid(NamedTuple):
    """The cells of a feature map.

    Attributes:
        shape: (rows, columns).
        stride: pixels from one cell to the next, vertically and horizontally.
    """

    shape: Size
    stride: Size


class FeaturePyramid(nn.Module):
    """Maps of one width, each with the context of all coarser ones.

    A call `(maps, train)` takes a backbone's maps, the finest first. It returns as many
    of the same heights and widths, then the extra ones.

    Attributes:
        width: channels of every map.
        extra: maps coarser than the backbone's. 'pool' adds every other cell of the
            coarsest map. 'P5' and 'C5' add two by convolutions of stride 2, from the
            coarsest map of the pyramid or of the backbone. 'none' adds none.
        norm: 'none', or 'batch' after each convolution, whose biases are then left out. The
            extra maps have biases and no normalisation.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    extra: Extra = 'none'
    norm: str = 'none'
    momentum: float = 0.9
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[FeatureMap], train: bool = False
    ) -> list[FeatureMap]:
        """Combine maps of a backbone.

        Args:
            maps: [B, H, W, C], the finest first.
            train: whether batch norms use the statistics of the batch.

        Returns:
            Maps of the same heights and widths, then the extra ones.
        """
        combined = []
        coarser = None
        for level in reversed(range(len(maps))):
            x = self._convolved(maps[level], (1, 1), train, f'lateral{level + 1}')
            if coarser is not None:
                x = x + enlarged(coarser, x.shape[1], x.shape[2])
            coarser = x
            combined.append(self._convolved(x, (3, 3), train, f'output{level + 1}'))
        combined = combined[::-1]
        return combined + self._extra_maps(maps[-1], combined[-1])

    def _convolved(
        self, x: FeatureMap, window: Size, train: bool, name: str
    ) -> FeatureMap:
        x = self._conv()(window, use_bias=self.norm == 'none', name=name)(x)
        if self.norm == 'none':
            return x
        norm = layers.normalization(
            self.norm, train, self.dtype, self.param_dtype, self.momentum
        )
        return norm(name=f'{name}_norm')(x)

    def _extra_maps(self, last: FeatureMap, coarsest: FeatureMap) -> list[FeatureMap]:
        """The extra maps by the coarsest maps of the backbone and of the pyramid."""
        if self.extra == 'none':
            return []
        if self.extra == 'pool':
            return [coarsest[:, ::2, ::2]]
        x = last if self.extra == 'C5' else coarsest
        conv = self._conv()
        first = conv((3, 3), 2, padding=1, name='extra1')(x)
        second = conv((3, 3), 2, padding=1, name='extra2')(nn.relu(first))
        return [first, second]

    def _conv(self) -> Callable[..., nn.Module]:
        return partial(
            convolution.Conv,
            self.width,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )


def enlarged(x: FeatureMap, height: int, width: int) -> FeatureMap:
    """Enlarge a map by the nearest cell to `height` and `width`.

    Each is twice the side of the map, or one less. In the first case each cell is
    repeated, in the second case all but a cell in the middle.
    """
    if height == 2 * x.shape[1] and width == 2 * x.shape[2]:
        return x.repeat(2, axis=1).repeat(2, axis=2)
    shape = (x.shape[0], height, width, x.shape[3])
    return jax.image.resize(x, shape, 'nearest')


class PyramidBackbone(nn.Module):
    """A backbone and the pyramid of its feature maps of some strides.

    A call `(image, train, keys)` returns (maps of the pyramid, the finest first, and
    the intermediates of the backbone). It raises a UserError if the backbone has no map
    of a stride.

    Attributes:
        backbone: a model without a head, called as `backbone(image, train=train,
            keys=keys)`. It returns (features, intermediates).
        strides: pixels of a cell of each map of the backbone, the finest first.
        width: channels of every map.
        extra: maps coarser than these, see `FeaturePyramid`.
        norm: after each convolution of the pyramid, see `FeaturePyramid`.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    backbone: nn.Module
    strides: tuple[int, ...]
    width: int
    extra: Extra = 'none'
    norm: str = 'none'
    momentum: float = 0.9
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[list[FeatureMap], Intermediates]:
        """Compute the maps of the pyramid, and the backbone's intermediates."""
        _, intermediates = self.backbone(image, train=train, keys=keys)
        maps = [map_of_stride(intermediates, image, stride) for stride in self.strides]
        pyramid = FeaturePyramid(
            self.width,
            self.extra,
            self.norm,
            self.momentum,
            self.dtype,
            self.param_dtype,
            name='pyramid',
        )
        return pyramid(maps, train), intermediates

    def grids(self, size: Size) -> list[Grid]:
        """List the cells of every map, the finest first and the extra ones last.

        Rows and columns are rounded up, so that the cells cover the image.

        The stride of an extra map is the image's size over the map's, rounded down, as in
        torchvision. It can be less than twice the stride before, if the image's sides
        are no multiples of twice this stride.

        Args:
            size: (height, width) of the image, pixels.
        """
        grids = []
        for stride in self.strides:
            shape = (-(-size[0] // stride), -(-size[1] // stride))
            grids.append(Grid(shape, (stride, stride)))
        for _ in range(EXTRA_MAPS[self.extra]):
            height, width = grids[-1].shape
            shape = (-(-height // 2), -(-width // 2))
            grids.append(Grid(shape, (size[0] // shape[0], size[1] // shape[1])))
        return grids


def make_features(
    variant: str,
    options: Values | None,
    strides: str,
    width: int,
    *,
    momentum: float,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    extra: Extra = 'none',
    norm: str = 'none',
) -> PyramidBackbone:
    """Build the backbone of a detector and its pyramid.

    Args:
        variant: NAME:VARIANT of the backbone.
        options: of the backbone, by name; None: its defaults.
        strides: pixels of a cell of each map, each twice the one before: '8-16-32'.
        width: channels of every map.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, if it has this option and `options` do not set it.
        dtype: of the computation.
        param_dtype: of the parameters.
        extra: maps coarser than the backbone's, see `FeaturePyramid`.
        norm: after each convolution of the pyramid, see `FeaturePyramid`.

    Raises:
        UserError: There is no such backbone, it has no such option, or the strides do
            not double.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    return PyramidBackbone(
        backbone=make_backbone(variant, options, momentum=momentum, **types),
        strides=parse_strides(strides),
        width=width,
        extra=extra,
        norm=norm,
        momentum=momentum,
        **types,
    )
