"""Format of SegFormer on the Hugging Face hub, such as segformer-b0-finetuned-ade-512-512."""

import re

import numpy as np

from jaxvision.pretrained import convert, segmentation_classes
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors
from jaxvision.pretrained.families import mit
from jaxvision.pretrained.families.torchvision_segmenters import flat_scores

_HEAD = {
    'decode_head.batch_norm': 'head/norm',
    'decode_head.classifier': 'head/scores',
}
_FUSION = 'decode_head.linear_fuse.weight'
_MAPS = 4
# The number of outputs tells the dataset.
_DATASETS = {19: 'cityscapes'}


def _module(name: str) -> str:
    match = re.fullmatch(
        r'decode_head\.(?:linear_c|linear_projections)\.(\d)\.proj', name
    )
    if match:
        return f'head/linear{int(match[1]) + 1}'
    if name.startswith('segformer.'):
        return f'backbone/{mit.module(name)}'
    return _HEAD[name]


def from_hub(tensors: Tensors) -> Leaves:
    """Convert tensors of the hub to leaves of our SegFormer.

    The layer that joins the maps, the coarsest first, is split into one for each map.
    An unknown tensor keeps its name.

    Raises:
        KeyError: The tensor of this layer is missing.
    """
    others = {name: tensor for name, tensor in tensors.items() if name != _FUSION}
    leaves = flat_scores(convert.from_torch(others, _module))
    fusion = tensors[_FUSION]
    kernel = fusion.reshape(fusion.shape[:2]).T
    parts = np.split(kernel, _MAPS)
    for number, part in enumerate(reversed(parts), start=1):
        leaves[f'head/fusion{number}/kernel'] = part
    return leaves


def _classes(leaves: Leaves) -> OutputClasses:
    count = len(leaves['head/scores/bias'])
    dataset = _DATASETS.get(count, 'ade20k')
    return segmentation_classes.of_outputs(count, dataset)


FORMATS = (
    Format(
        publisher='the Hugging Face hub',
        marker='decode_head.classifier.weight',
        convert=from_hub,
        recipe='segformer',
        classes=_classes,
        license=mit.LICENSE,
    ),
)
