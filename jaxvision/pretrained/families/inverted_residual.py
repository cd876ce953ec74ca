"""The names that MobileNetV2 and EfficientNet share, in the forms in which they are published.

The publishers number blocks within each stage; our models number them through.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Leaves, Tensors


class Parts(NamedTuple):
    """The modules of a block -> ours.

    Attributes:
        expanding: of a block that begins with an expansion.
        plain: of a block that does not, whose other modules may have other names.
    """

    expanding: dict[str, str]
    plain: dict[str, str]


class Around(NamedTuple):
    """The publisher's names of the modules outside the blocks."""

    stem_conv: str
    stem_norm: str
    last_conv: str
    last_norm: str
    head: str
    other_head: str = ''  # in other files of the same publisher


TIMM = Parts(
    expanding={
        'conv_pw': 'expand_conv',
        'bn1': 'expand_norm',
        'conv_dw': 'depthwise_conv',
        'bn2': 'depthwise_norm',
        'se.conv_reduce': 'squeeze',
        'se.conv_expand': 'excite',
        'conv_pwl': 'project_conv',
        'bn3': 'project_norm',
    },
    plain={
        'conv_dw': 'depthwise_conv',
        'bn1': 'depthwise_norm',
        'se.conv_reduce': 'squeeze',
        'se.conv_expand': 'excite',
        'conv_pw': 'project_conv',
        'bn2': 'project_norm',
    },
)
TIMM_AROUND = Around('conv_stem', 'bn1', 'conv_head', 'bn2', 'classifier')
# Options of our models, by the library that trained the weights.
OPTIONS = {
    'torch': lambda leaves: {'padding': 'symmetric', 'epsilon': 1e-5},
    'tensorflow': lambda leaves: {'padding': 'same', 'epsilon': 1e-3},
}


def modules(
    tensors: Tensors, block: str, parts: Parts, around: Around
) -> dict[str, str]:
    """Name the modules of a file.

    Args:
        tensors: of the file.
        block: regular expression of the prefix of a block, by whose groups the blocks are
            ordered.
        parts: modules within a block.
        around: modules outside the blocks.

    Returns:
        {'blocks.1.0.conv_dw': 'block2/depthwise_conv', ...}
    """
    blocks = {}
    for name in tensors:
        module = re.sub(r'[./][^./]*$', '', name)
        if match := re.match(block, module):
            parts_of_block = blocks.setdefault((_order(match), match[0]), set())
            parts_of_block.add(module[match.end() :])
    names = {
        around.stem_conv: 'stem_conv',
        around.stem_norm: 'stem_norm',
        around.last_conv: 'last_conv',
        around.last_norm: 'last_norm',
        around.head: 'head',
    }
    if around.other_head:
        names[around.other_head] = 'head'
    for number, (key, parts_of_block) in enumerate(sorted(blocks.items()), start=1):
        _, prefix = key
        expands = list(parts.expanding)[-1] in parts_of_block
        for part, ours in (parts.expanding if expands else parts.plain).items():
            names[prefix + part] = f'block{number}/{ours}'
    return names


def _order(match: re.Match) -> tuple[int, ...]:
    """(2, 1) of 'blocks.2.1.', (2, 11) of 'block2b', () of 'expanded_conv', which is first."""
    return tuple(int(part, 36) for part in match.groups() if part)


def torch_converter(
    block: str, parts: Parts, around: Around
) -> Callable[[Tensors], Leaves]:
    """The conversion of PyTorch's tensors.

    Args:
        block: regular expression of the prefix of a block, as for `modules`.
        parts: modules within a block.
        around: modules outside the blocks.
    """

    def leaves(tensors: Tensors) -> Leaves:
        names = modules(tensors, block, parts, around)
        return convert.from_torch(tensors, names.__getitem__)

    return leaves


def keras_converter(
    block: str, parts: Parts, around: Around
) -> Callable[[Tensors], Leaves]:
    """The conversion of Keras' tensors.

    Args:
        block: regular expression of the prefix of a block, as for `modules`.
        parts: modules within a block.
        around: modules outside the blocks.
    """

    def leaves(tensors: Tensors) -> Leaves:
        # The normalisation of the image is in the recipe.
        network = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith('normalization')
        }
        names = modules(network, block, parts, around)
        converted = convert.from_keras(network, names.__getitem__)
        for name in converted:
            if name.endswith('/depthwise_conv/kernel'):
                converted[name] = np.swapaxes(converted[name], -1, -2)
        return converted

    return leaves
