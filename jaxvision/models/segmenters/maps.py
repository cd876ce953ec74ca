"""Feature maps of backbones, and logits at the size of an image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.image.types import Size
from jaxvision.models.types import Images, Intermediates

# A multiple of all strides of a backbone.
_SIDE = 1024

FeatureMap = Float[Array, 'b _ _ _']
Logits = Float[Array, 'b h w k']
Resized = Float[Array, 'b h2 w2 k']
Padded = Float[Array, 'b h2 w2 c']


def resized(logits: Logits, size: Size) -> Resized:
    """Resize logits bilinearly to the size of an image.

    The centres of pixels are at half integers (`align_corners=False` of PyTorch), and a
    reduction takes no means over pixels (no antialiasing).

    Args:
        logits: [B, h, w, K].
        size: (height, width) of the result, pixels.

    Returns:
        [B, height, width, K] in the dtype of the logits.
    """
    if logits.shape[1:3] == tuple(size):
        return logits
    shape = (logits.shape[0], *size, logits.shape[3])
    return jax.image.resize(logits, shape, 'bilinear', antialias=False)


def padded(image: Images, multiple: int) -> Padded:
    """Repeat the last row and column until height and width are multiples of a number.

    Args:
        image: [B, H, W, C].
        multiple: of pixels.

    Returns:
        [B, H2, W2, C] with the image at the top left; the image itself if it fits.
    """
    _, height, width, _ = image.shape
    below = -height % multiple
    right = -width % multiple
    if not below and not right:
        return image
    return jnp.pad(image, ((0, 0), (0, below), (0, right), (0, 0)), mode='edge')


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


def head(num_classes: int, param_dtype: DTypeLike, name: str = 'head') -> nn.Dense:
    """Build the last layer of a segmenter, which computes in the dtype of its parameters.

    Its weights start as large as those of other layers. With the small weights of a
    classifier's head (`layers.head`), features first learn the most common class, and eight
    scenes of digits are not learned in 200 steps instead of 100.

    Args:
        num_classes: number of logits of a pixel.
        param_dtype: of the parameters and of the computation.
        name: of the module.
    """
    return nn.Dense(num_classes, dtype=param_dtype, param_dtype=param_dtype, name=name)


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
    feature_maps = [tensor for tensor in intermediates.values() if tensor.ndim == 4]
    for place in reversed(range(len(feature_maps))):
        if feature_maps[place].shape[1:3] in sizes:
            return feature_maps[max(place - 1, 0)], feature_maps[place]
    strides = sorted({round(height / tensor.shape[1]) for tensor in feature_maps})
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
    feature_maps = []
    for part in range(1, count + 1):
        block = max(depth * part // count, 1)
        tokens = intermediates[f'block{block}'][:, -rows * columns :]
        feature_maps.append(tokens.reshape(batch, rows, columns, -1))
    return feature_maps
