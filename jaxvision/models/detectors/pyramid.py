"""Feature pyramid network: Lin et al., 2017 (arXiv 1612.03144)."""

import inspect
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import UserError
from jaxvision.core.options import call
from jaxvision.core.registry import resolve
from jaxvision.core.types import Values
from jaxvision.models.blocks import convolution, layers

FeatureMap = Float[Array, 'b _ _ _']


class FeaturePyramid(nn.Module):
    """Maps of one width, each with the context of all coarser ones.

    Attributes:
        width: channels of every map.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """Combine maps of a backbone.

        Args:
            maps: [B, H, W, C], the finest first.

        Returns:
            Maps of the same heights and widths.
        """
        conv = partial(
            convolution.Conv,
            self.width,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        combined = []
        coarser = None
        for level in reversed(range(len(maps))):
            x = conv((1, 1), name=f'lateral{level + 1}')(maps[level])
            if coarser is not None:
                x = x + _enlarged(coarser, x.shape[1], x.shape[2])
            coarser = x
            combined.append(conv((3, 3), name=f'output{level + 1}')(x))
        return combined[::-1]


def _enlarged(x: FeatureMap, height: int, width: int) -> FeatureMap:
    """Repeat the cells of a map of half the size; an odd side loses its last cell."""
    if height == 2 * x.shape[1] and width == 2 * x.shape[2]:
        return x.repeat(2, axis=1).repeat(2, axis=2)
    shape = (x.shape[0], height, width, x.shape[3])
    return jax.image.resize(x, shape, 'nearest')


class PyramidBackbone(nn.Module):
    """A backbone and the pyramid of those feature maps that have the wanted strides.

    Attributes:
        backbone: `(image) -> (logits, intermediates)`, without a head.
        strides: pixels of a cell of each map, the finest first.
        width: channels of every map.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    backbone: nn.Module
    strides: tuple[int, ...]
    width: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[list[FeatureMap], dict[str, Array]]:
        """Compute the maps of the pyramid, and the backbone's intermediates."""
        _, intermediates = self.backbone(image, train=train, keys=keys)
        maps = [map_of_stride(intermediates, image, stride) for stride in self.strides]
        pyramid = FeaturePyramid(
            self.width, self.dtype, self.param_dtype, name='pyramid'
        )
        return pyramid(maps), intermediates


def map_of_stride(
    intermediates: dict[str, Array], image: Float[Array, 'b h w c'], stride: int
) -> FeatureMap:
    """The last feature map of a backbone with a stride.

    Args:
        intermediates: of the backbone.
        image: its input.
        stride: pixels of a cell.

    Raises:
        UserError: The backbone has no map of this stride.
    """
    height = image.shape[1]
    maps = {
        -(-height // tensor.shape[1]): tensor
        for tensor in intermediates.values()
        if tensor.ndim == 4
    }
    if stride not in maps:
        strides = ', '.join(str(known) for known in sorted(maps)) or 'none'
        raise UserError(
            f'model.options.strides: expected strides of the backbone ({strides}), and '
            f'{stride} is not one of them. Choose others, or another backbone'
        )
    return maps[stride]


def make_features(
    variant: str,
    options: Values | None,
    strides: str,
    width: int,
    *,
    momentum: float,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
) -> PyramidBackbone:
    """Build the backbone of a detector and its pyramid.

    Args:
        variant: NAME:VARIANT of the backbone.
        options: of the backbone, by name; None: its defaults.
        strides: pixels of a cell of each map, such as '8-16-32'.
        width: channels of every map.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: There is no such backbone, or the strides do not double.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    return PyramidBackbone(
        backbone=_make_backbone(variant, options, momentum=momentum, **types),
        strides=_parse_strides(strides),
        width=width,
        **types,
    )


def _make_backbone(
    variant: str,
    options: Values | None,
    *,
    momentum: float,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
) -> nn.Module:
    """Build the backbone that a detector's variant names, without its head.

    Args:
        variant: NAME:VARIANT of the backbone.
        options: of the backbone, by name.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: There is no such backbone.
    """
    name, colon, size = variant.partition(':')
    if not colon:
        raise UserError(
            f'model.variant={variant!r}: expected NAME:VARIANT of a backbone. Write it '
            "as 'resnet:50'"
        )
    make_model = resolve('models', name).make
    backbone_options = dict(options or {})
    if 'momentum' in inspect.signature(make_model).parameters:
        backbone_options.setdefault('momentum', momentum)
    return call(
        make_model,
        f'model {name!r}',
        size,
        num_classes=0,
        dtype=dtype,
        param_dtype=param_dtype,
        options=backbone_options,
    )


def _parse_strides(text: str) -> tuple[int, ...]:
    """Read '8-16-32'.

    Raises:
        UserError: The text is no such list, or its strides do not double.
    """
    parts = text.split('-')
    strides = tuple(int(part) for part in parts if part.isdecimal())
    doubled = tuple(2 * stride for stride in strides[:-1])
    if len(strides) != len(parts) or not all(strides) or doubled != strides[1:]:
        raise UserError(
            f'model.options.strides={text!r}: expected strides that double. Write them '
            "as '8-16-32'"
        )
    return strides
