"""Names that MobileNetV2 and EfficientNet share, in their published forms.

Publishers number the blocks within each stage. Our models number all blocks in one sequence.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvision.core.types import Values
from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Leaves, Tensors


class Parts(NamedTuple):
    """The names of the modules of a block, as {published name: our name}.

    Attributes:
        expanding: names in a block that begins with an expansion.
        plain: names in a block without expansion.
    """

    expanding: dict[str, str]
    plain: dict[str, str]


class Around(NamedTuple):
    """The published names of the modules outside the blocks.

    Attributes:
        stem_conv: first convolution.
        stem_norm: norm after it.
        last_conv: last convolution.
        last_norm: norm after it.
        head: classifier.
        other_head: classifier in other files of the publisher.
    """

    stem_conv: str
    stem_norm: str
    last_conv: str
    last_norm: str
    head: str
    other_head: str = ''


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


def _torch_options(leaves: Leaves) -> Values:
    return {'padding': 'symmetric', 'epsilon': 1e-5}


def _tensorflow_options(leaves: Leaves) -> Values:
    return {'padding': 'same', 'epsilon': 1e-3}


# {library that trained the weights: options of our models}
OPTIONS = {'torch': _torch_options, 'tensorflow': _tensorflow_options}


def modules(
    tensors: Tensors, block: str, parts: Parts, around: Around
) -> dict[str, str]:
    """Name the modules of a file.

    Args:
        tensors: {name: tensor} of the file.
        block: regular expression of the prefix of a block. Its groups, read as numbers
            in base 36, give the order of blocks: '2b' is the group '2' and the group
            'b'.
        parts: names within a block.
        around: names outside the blocks.

    Returns:
        {published name: our name}, such as {'blocks.1.0.conv_dw': 'block2/depthwise_conv'}.
        Some of these modules may be absent from the file.
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
    last_of_expanding = list(parts.expanding)[-1]
    for number, (key, parts_of_block) in enumerate(sorted(blocks.items()), start=1):
        _, prefix = key
        names_of_parts = parts.plain
        if last_of_expanding in parts_of_block:
            names_of_parts = parts.expanding
        for part, our_name in names_of_parts.items():
            names[prefix + part] = f'block{number}/{our_name}'
    return names


def _order(match: re.Match) -> tuple[int, ...]:
    """Order blocks: 'blocks.2.1.' is (2, 1), 'block2b' (2, 11), and 'expanded_conv' ()."""
    return tuple(int(part, 36) for part in match.groups() if part)


def torch_converter(
    block: str, parts: Parts, around: Around
) -> Callable[[Tensors], Leaves]:
    """Make the function that converts PyTorch tensors to leaves.

    Args:
        block: regular expression of the prefix of a block, such as
            'blocks[.]([0-9])[.]'. Its groups give the order of blocks, see `modules`.
        parts: names within a block.
        around: names outside the blocks.

    Returns:
        `(tensors) -> leaves`: from {PyTorch name: array} to {parameter path: array},
        with our names and axes. An unknown tensor keeps its name.
    """

    def leaves(tensors: Tensors) -> Leaves:
        names = modules(tensors, block, parts, around)
        return convert.from_torch(tensors, names.__getitem__)

    return leaves


def keras_converter(
    block: str, parts: Parts, around: Around
) -> Callable[[Tensors], Leaves]:
    """Make the function that converts Keras tensors to leaves.

    Args:
        block: regular expression of the prefix of a block, such as
            'block(.)([a-z])(?=_)'. Its groups give the order of blocks, see `modules`.
        parts: names within a block.
        around: names outside the blocks.

    Returns:
        `(tensors) -> leaves`: from {'LAYER/WEIGHT': array} to {parameter path: array},
        with our names and axes. The layer that normalises images is left out. Another
        unknown tensor keeps its name.
    """

    def leaves(tensors: Tensors) -> Leaves:
        # The recipe normalises the images.
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
