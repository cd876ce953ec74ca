"""What the published forms of MobileNetV2 and EfficientNet share.

Their blocks are numbered stage by stage; ours are numbered through. The parts of a block are told
twice: of one that widens, and of one that does not, where they are called otherwise.
"""

import re

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Leaves, Tensors

Parts = tuple[dict[str, str], dict[str, str]]

TIMM = (
    {
        'conv_pw': 'expand_conv',
        'bn1': 'expand_norm',
        'conv_dw': 'depthwise_conv',
        'bn2': 'depthwise_norm',
        'se.conv_reduce': 'squeeze',
        'se.conv_expand': 'excite',
        'conv_pwl': 'project_conv',
        'bn3': 'project_norm',
    },
    {
        'conv_dw': 'depthwise_conv',
        'bn1': 'depthwise_norm',
        'se.conv_reduce': 'squeeze',
        'se.conv_expand': 'excite',
        'conv_pw': 'project_conv',
        'bn2': 'project_norm',
    },
)
TIMM_AROUND = 'conv_stem', 'bn1', 'conv_head', 'bn2', 'classifier'
# Of our models, by whose library the weights were trained.
OPTIONS = {
    'torch': lambda leaves: {'padding': 'symmetric', 'epsilon': 1e-5},
    'tensorflow': lambda leaves: {'padding': 'same', 'epsilon': 1e-3},
}


def modules(
    tensors: Tensors, block: str, parts: Parts, around: tuple[str, ...]
) -> dict[str, str]:
    """{'blocks.1.0.conv_dw': 'block2/depthwise_conv', ...}: of a file whose blocks are called as the
    pattern `block`, by whose groups they are ordered; `around` them are the stem's convolution and
    norm, the last ones, and the head, by one name or another."""
    found = {}
    for name in tensors:
        module = re.sub(r'[./][^./]*$', '', name)
        if match := re.match(block, module):
            found.setdefault((_order(match), match[0]), set()).add(
                module[match.end() :]
            )
    ours = dict(
        zip(
            around, ('stem_conv', 'stem_norm', 'last_conv', 'last_norm', 'head', 'head')
        )
    )
    for number, ((_, prefix), there) in enumerate(sorted(found.items()), start=1):
        wide, narrow = parts
        known = wide if list(wide)[-1] in there else narrow
        ours |= {prefix + part: f'block{number}/{name}' for part, name in known.items()}
    return ours


def _order(match: re.Match) -> tuple[int, ...]:
    """(2, 1) of 'blocks.2.1.' and of 'block2b'; nothing, which comes first, of 'expanded_conv'."""
    return tuple(int(part, 36) for part in match.groups() if part)


def torch(block: str, parts: Parts, *around: str):
    return lambda tensors: convert.from_torch(
        tensors, modules(tensors, block, parts, around).__getitem__
    )


def keras(block: str, parts: Parts, *around: str):
    def leaves(tensors: Tensors) -> Leaves:
        # What it does to an image before the first layer is the recipe's.
        own = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith('normalization')
        }
        found = convert.from_keras(own, modules(own, block, parts, around).__getitem__)
        return {
            name: np.swapaxes(leaf, -1, -2)
            if name.endswith('/depthwise_conv/kernel')
            else leaf
            for name, leaf in found.items()
        }

    return leaves
