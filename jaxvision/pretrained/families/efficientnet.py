"""Formats of EfficientNet by torchvision, timm and Keras applications, and of its Lites.

The Lites are those of the package efficientnet_pytorch.
"""

import numpy as np

from jaxvision.pretrained.convert import Format, Leaves
from jaxvision.pretrained.families.inverted_residual import (
    OPTIONS,
    TIMM,
    TIMM_AROUND,
    Around,
    Parts,
    keras_converter,
    torch_converter,
)

_TORCHVISION = Parts(
    expanding={
        'block.0.0': 'expand_conv',
        'block.0.1': 'expand_norm',
        'block.1.0': 'depthwise_conv',
        'block.1.1': 'depthwise_norm',
        'block.2.fc1': 'squeeze',
        'block.2.fc2': 'excite',
        'block.3.0': 'project_conv',
        'block.3.1': 'project_norm',
    },
    plain={
        'block.0.0': 'depthwise_conv',
        'block.0.1': 'depthwise_norm',
        'block.1.fc1': 'squeeze',
        'block.1.fc2': 'excite',
        'block.2.0': 'project_conv',
        'block.2.1': 'project_norm',
    },
)
_PYTORCH = {
    '_expand_conv': 'expand_conv',
    '_bn0': 'expand_norm',
    '_depthwise_conv': 'depthwise_conv',
    '_bn1': 'depthwise_norm',
    '_se_reduce': 'squeeze',
    '_se_expand': 'excite',
    '_project_conv': 'project_conv',
    '_bn2': 'project_norm',
}
_KERAS = {
    '_expand_conv': 'expand_conv',
    '_expand_bn': 'expand_norm',
    '_dwconv': 'depthwise_conv',
    '_bn': 'depthwise_norm',
    '_se_reduce': 'squeeze',
    '_se_expand': 'excite',
    '_project_conv': 'project_conv',
    '_project_bn': 'project_norm',
}
# {(number of blocks, channels after the last one): side of the training images in pixels}.
# Other networks, such as B0 and Lite0, have 224.
_IMAGE_SIZES = {
    (23, 320): 240,
    (23, 352): 260,
    (26, 384): 300,
    (32, 448): 380,
    (21, 320): 240,
    (21, 352): 260,
    (24, 384): 280,
    (30, 448): 300,
}
# {training size: evaluation size} of timm's default weights of B1 to B4.
_TIMM_SIZES = {240: 288, 260: 288, 300: 320, 380: 384}
_TIMM_RECIPES = {224: 'efficientnet_224', 240: 'timm_efficientnet_b1'}


def _image_size(leaves: Leaves) -> int:
    """Derive the size of the training images from depth and width."""
    modules = {name.partition('/')[0] for name in leaves}
    depth = sum(module.startswith('block') for module in modules)
    last = leaves.get(f'block{depth}/project_conv/kernel', np.empty(0))
    return _IMAGE_SIZES.get((depth, last.shape[-1]), 224)


def _torchvision_size(leaves: Leaves) -> int:
    """Derive the size of the evaluation images, which is larger for B2."""
    size = _image_size(leaves)
    return 288 if size == 260 else size


def _torchvision_recipe(leaves: Leaves) -> str:
    return f'torchvision_efficientnet_{_torchvision_size(leaves)}'


def _timm_size(leaves: Leaves) -> int:
    size = _image_size(leaves)
    return _TIMM_SIZES.get(size, size)


def _timm_recipe(leaves: Leaves) -> str:
    return _TIMM_RECIPES.get(_image_size(leaves), 'timm_full')


def _google_recipe(leaves: Leaves) -> str:
    """Name the recipe; the Lites have no squeeze-and-excitation, and another pixel range."""
    size = _image_size(leaves)
    if 'block1/squeeze/kernel' in leaves:
        return f'efficientnet_{size}'
    return f'efficientnet_lite_{size}'


FORMATS = (
    Format(
        publisher='torchvision',
        marker='features.1.0.block.0.0.weight',
        convert=torch_converter(
            r'features\.(\d)\.(\d+)\.(?=block)',
            _TORCHVISION,
            Around(
                'features.0.0',
                'features.0.1',
                'features.8.0',
                'features.8.1',
                'classifier.1',
            ),
        ),
        recipe=_torchvision_recipe,
        options=OPTIONS['torch'],
        image_size=_torchvision_size,
    ),
    Format(
        publisher='timm',
        marker='blocks.0.0.conv_dw.weight',
        convert=torch_converter(r'blocks\.(\d)\.(\d+)\.', TIMM, TIMM_AROUND),
        recipe=_timm_recipe,
        options=OPTIONS['torch'],
        image_size=_timm_size,
    ),
    Format(
        publisher='efficientnet_pytorch',
        marker='_blocks.0._depthwise_conv.weight',
        convert=torch_converter(
            r'_blocks\.(\d+)\.',
            Parts(_PYTORCH, _PYTORCH),
            Around('_conv_stem', '_bn0', '_conv_head', '_bn1', '_fc'),
        ),
        recipe=_google_recipe,
        options=OPTIONS['tensorflow'],
        image_size=_image_size,
    ),
    Format(
        publisher='Keras',
        marker='block1a_bn/gamma',
        convert=keras_converter(
            r'block(\d)([a-z])(?=_)',
            Parts(_KERAS, _KERAS),
            Around(
                'stem_conv', 'stem_bn', 'top_conv', 'top_bn', 'predictions', 'probs'
            ),
        ),
        recipe=_google_recipe,
        options=OPTIONS['tensorflow'],
        image_size=_image_size,
    ),
)
