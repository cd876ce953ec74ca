"""The common parts of the formats of torchvision's FCN and DeepLabv3."""

import functools
import re
from collections.abc import Mapping

from jaxvision.core.types import Values
from jaxvision.pretrained import convert, segmentation_classes
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors
from jaxvision.pretrained.families import resnet

# The layers of a head of FCN: convolution, norm, ReLU, dropout and the last convolution.
FCN_HEAD = {'0': 'hidden/conv', '1': 'hidden/norm', '4': 'scores'}


def from_torch(tensors: Tensors, head: Mapping[str, str]) -> Leaves:
    """Convert tensors of torchvision to leaves of our segmenter.

    Args:
        tensors: {PyTorch name: array}.
        head: {layer of 'classifier': our name in the head}.

    Returns:
        {parameter path: array}. An unknown tensor keeps its name.
    """

    def module(name: str) -> str:
        if name.startswith('backbone.'):
            inner = resnet.torch_module(name.removeprefix('backbone.'))
            return f'backbone/{inner}'
        match = re.match(r'(aux_)?classifier\.', name)
        if not match:
            raise KeyError(name)
        layer = name[match.end() :]
        if match[1]:
            return f'auxiliary/{FCN_HEAD[layer]}'
        return f'head/{head[layer]}'

    return flat_scores(convert.from_torch(tensors, module))


def flat_scores(leaves: Leaves) -> Leaves:
    """Copy leaves with kernels of 1x1 convolutions of scores as matrices [C, K]."""
    converted = dict(leaves)
    for name, leaf in leaves.items():
        if name.endswith('scores/kernel'):
            converted[name] = leaf.reshape(leaf.shape[-2:])
    return converted


def options(leaves: Leaves) -> Values:
    """Options of the model: whether there is an auxiliary head."""
    return {'auxiliary': 'auxiliary/scores/bias' in leaves}


def classes(leaves: Leaves) -> OutputClasses:
    """Name the outputs: the 21 classes of VOC with the background, or numbers."""
    return segmentation_classes.of_outputs(len(leaves['head/scores/bias']), 'voc')


def make_format(marker: str, head: Mapping[str, str]) -> Format:
    """Describe a format of torchvision.

    Args:
        marker: name of a tensor of the head.
        head: {layer of 'classifier': our name in the head}.
    """
    return Format(
        publisher='torchvision',
        marker=marker,
        convert=functools.partial(from_torch, head=head),
        recipe='torchvision_segmentation',
        options=options,
        classes=classes,
    )
