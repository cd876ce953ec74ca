"""Format of YOLOX by its authors: checkpoints such as yolox_nano.pth."""

import re

import numpy as np

from jaxvision.pretrained import coco_classes, convert
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors

_LAYERS = {
    ('', 'conv'): 'conv',
    ('', 'bn'): 'norm',
    ('dconv', 'conv'): 'depthwise_conv',
    ('dconv', 'bn'): 'depthwise_norm',
    ('pconv', 'conv'): 'conv',
    ('pconv', 'bn'): 'norm',
}
_AGGREGATION = {
    'lateral_conv0': 'lateral3',
    'C3_p4': 'top_down2',
    'reduce_conv1': 'lateral2',
    'C3_p3': 'top_down1',
    'bu_conv2': 'down1',
    'C3_n3': 'bottom_up2',
    'bu_conv1': 'down2',
    'C3_n4': 'bottom_up3',
}
# Channels of the stem of nano and tiny, which were trained on smaller images.
_SMALL = (16, 24)


def _places() -> dict[str, str]:
    """Map the published names of blocks and last convolutions to ours."""
    places = {
        'backbone.backbone.stem.conv': 'features/backbone/stem',
        'backbone.backbone.dark5.1': 'features/backbone/stage4_pool',
        'backbone.backbone.dark5.2': 'features/backbone/stage4',
    }
    for stage in range(1, 5):
        dark = f'backbone.backbone.dark{stage + 1}'
        places[f'{dark}.0'] = f'features/backbone/stage{stage}_conv'
        places.setdefault(f'{dark}.1', f'features/backbone/stage{stage}')
    for published, name in _AGGREGATION.items():
        places[f'backbone.{published}'] = f'features/{name}'
    for i in range(3):
        level = f'head/level{i + 1}'
        places[f'head.stems.{i}'] = f'{level}_stem'
        places[f'head.cls_preds.{i}'] = f'{level}_scores'
        places[f'head.reg_preds.{i}'] = f'{level}_edges'
        places[f'head.obj_preds.{i}'] = f'{level}_objectness'
        for j in (0, 1):
            places[f'head.cls_convs.{i}.{j}'] = f'{level}_class{j + 1}'
            places[f'head.reg_convs.{i}.{j}'] = f'{level}_box{j + 1}'
    return places


_PLACES = _places()


def _module(name: str) -> str:
    """Rename 'backbone.C3_p4.m.0.conv2.bn' to 'features/top_down2/block1/conv2/norm'."""
    if name in _PLACES:
        return _PLACES[name]
    parts = re.fullmatch(
        r'(.+?)(?:\.m\.(\d+))?(?:\.(conv\d))?(?:\.([dp]conv))?\.(conv|bn)', name
    )
    if not parts:
        raise KeyError(name)
    place, block, conv, kind, layer = parts.groups(default='')
    path = [_PLACES[place]]
    if block:
        path.append(f'block{int(block) + 1}')
    if conv:
        path.append(conv)
    return '/'.join([*path, _LAYERS[kind, layer]])


def from_torch(tensors: Tensors) -> Leaves:
    """Convert tensors of the authors to leaves of our YOLOX.

    The leaves are for RGB images instead of BGR, with edges in the order (y, x) instead
    of (x, y). An unknown tensor keeps its name.

    Raises:
        KeyError: The first kernel is missing.
    """
    leaves = convert.from_torch(tensors, _module)
    stem = 'features/backbone/stem/conv/kernel'
    leaves[stem] = _rgb(leaves[stem])
    for name, leaf in leaves.items():
        if '_edges/' in name:
            leaves[name] = leaf[..., [1, 0, 3, 2]]
    return leaves


def _rgb(kernel: np.ndarray) -> np.ndarray:
    """Reverse the colours of each of the four pixels that the stem takes as channels."""
    height, width, _, channels = kernel.shape
    pixels = kernel.reshape(height, width, 4, 3, channels)
    return pixels[:, :, :, ::-1].reshape(kernel.shape)


def _recipe(leaves: Leaves) -> str:
    return f'yolox_{_image_size(leaves)}'


def _image_size(leaves: Leaves) -> int:
    width = leaves['features/backbone/stem/conv/kernel'].shape[-1]
    return 416 if width in _SMALL else 640


def _classes(leaves: Leaves) -> OutputClasses:
    return coco_classes.of_outputs(len(leaves['head/level1_scores/bias']))


FORMATS = (
    Format(
        publisher='Megvii',
        marker='backbone.backbone.stem.conv.conv.weight',
        convert=from_torch,
        recipe=_recipe,
        image_size=_image_size,
        classes=_classes,
        task={'nms_iou': 0.65, 'least_score': 0.01},
    ),
)
