"""Backbones by their names, and their feature maps by strides.

A backbone returns (features, intermediates). Its feature maps are the intermediates of four axes,
[B, h, w, C]. The stride of a map is the number of pixels from one of its cells to the next.
"""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.core.options import call
from jaxvision.core.registry import resolve
from jaxvision.core.types import Values
from jaxvision.models.types import FeatureMap, Images, Intermediates

# A multiple of all strides of a backbone.
_SIDE = 1024


def make_backbone(
    variant: str,
    options: Values | None,
    *,
    momentum: float,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
) -> nn.Module:
    """Build the backbone that the variant of a detector or segmenter names, without its head.

    Args:
        variant: NAME:VARIANT of the backbone.
        options: of the backbone, by name; None: its defaults.
        momentum: fraction of the running statistics that a training step keeps. It is
            left out if the backbone has no such option, or if `options` set it.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: There is no such backbone, or it has no such option.
    """
    name, colon, size = variant.partition(':')
    if not colon:
        raise UserError(
            f'model.variant={variant!r}: expected NAME:VARIANT of a backbone, or a '
            "variant in the list of `jaxvision models`. Write a backbone as 'resnet:50'"
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


def parse_strides(text: str) -> tuple[int, ...]:
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


def strides_of(backbone: nn.Module) -> tuple[int, ...]:
    """List the strides of a backbone's feature maps in pixels, the finest first.

    Shapes are computed for an image of 1,024 pixels a side, without any numbers.

    Args:
        backbone: called as `backbone(image)`. It returns (features, intermediates).

    Raises:
        UserError: The backbone has no feature maps of two or more strides.
    """
    image = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
    initialised = functools.partial(backbone.init_with_output, jax.random.key(0))
    (_, intermediates), _ = jax.eval_shape(initialised, image)
    sides = {x.shape[1] for x in intermediates.values() if len(x.shape) == 4}
    strides = sorted(_SIDE // side for side in sides if _SIDE % side == 0)
    if len(strides) < 2:
        raise UserError(
            'model.variant: expected a backbone with feature maps of at least two sizes, '
            f'but its strides are {strides}. Choose another one, such as '
            "'resnet:18'"
        )
    return tuple(strides)


def map_of_stride(
    intermediates: Intermediates, image: Images, stride: int
) -> FeatureMap:
    """Return the last feature map of a backbone with a stride.

    It is the last intermediate of four axes whose height and width are those of the
    image over the stride, rounded up.

    Args:
        intermediates: of the backbone, in the order of computation.
        image: its input.
        stride: pixels of a cell.

    Raises:
        UserError: The backbone has no map of this stride.
    """
    height, width = image.shape[1:3]
    shape = (-(-height // stride), -(-width // stride))
    maps = [tensor for tensor in intermediates.values() if tensor.ndim == 4]
    of_stride = [tensor for tensor in maps if tensor.shape[1:3] == shape]
    if not of_stride:
        known = sorted({-(-height // tensor.shape[1]) for tensor in maps})
        strides = ', '.join(map(str, known)) or 'none'
        raise UserError(
            f'model.options.strides: expected strides of the backbone ({strides}), and '
            f'{stride} is not one of them. Choose others, or another backbone'
        )
    return of_stride[-1]


def last_two(
    intermediates: Intermediates, image: Images, stride: int
) -> tuple[FeatureMap, FeatureMap]:
    """Find the last feature map of a backbone with a stride, and the map before it.

    Args:
        intermediates: of the backbone, in the order of computation.
        image: its input.
        stride: pixels of a cell. The backbone may round sizes of maps up or down.

    Returns:
        (the map before, of any stride, the map), both [B, h, w, C]. The first map of all
        is its own predecessor.

    Raises:
        UserError: The backbone has no map of this stride.
    """
    height, width = image.shape[1:3]
    sizes = (
        (-(-height // stride), -(-width // stride)),
        (height // stride, width // stride),
    )
    maps = [tensor for tensor in intermediates.values() if tensor.ndim == 4]
    for place in reversed(range(len(maps))):
        if maps[place].shape[1:3] in sizes:
            return maps[max(place - 1, 0)], maps[place]
    strides = sorted({round(height / tensor.shape[1]) for tensor in maps})
    known = ', '.join(map(str, strides)) or 'none'
    raise UserError(
        f'model.options: expected strides of the maps of the backbone ({known}), and {stride} '
        'is not one of them. Choose other strides, or another backbone'
    )


def of_tokens(
    intermediates: Intermediates, image: Images, patch: int, count: int
) -> list[FeatureMap]:
    """Arrange the tokens of some blocks of a ViT as feature maps, without the class token.

    Args:
        intermediates: of the ViT. Its blocks are 'block1', 'block2', ...
        image: its input.
        patch: side of a patch in pixels.
        count: number of maps. The last one is of the last block, and the others of
            blocks at equal distances, as far as the depth allows.

    Returns:
        Maps [B, H / patch, W / patch, D] in the order of the blocks.
    """
    batch, height, width, _ = image.shape
    rows = height // patch
    columns = width // patch
    depth = sum(name.startswith('block') for name in intermediates)
    maps = []
    for part in range(1, count + 1):
        block = max(depth * part // count, 1)
        tokens = intermediates[f'block{block}'][:, -rows * columns :]
        maps.append(tokens.reshape(batch, rows, columns, -1))
    return maps
