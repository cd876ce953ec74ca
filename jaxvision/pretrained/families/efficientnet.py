"""EfficientNet as torchvision, timm and Keras applications publish it, and its Lites as
efficientnet_pytorch has them."""

import numpy as np

from jaxvision.pretrained.convert import Format, Leaves
from jaxvision.pretrained.families.inverted_residual import (
    OPTIONS,
    TIMM,
    TIMM_AROUND,
    keras,
    torch,
)

_TORCHVISION = (
    {
        'block.0.0': 'expand_conv',
        'block.0.1': 'expand_norm',
        'block.1.0': 'depthwise_conv',
        'block.1.1': 'depthwise_norm',
        'block.2.fc1': 'squeeze',
        'block.2.fc2': 'excite',
        'block.3.0': 'project_conv',
        'block.3.1': 'project_norm',
    },
    {
        'block.0.0': 'depthwise_conv',
        'block.0.1': 'depthwise_norm',
        'block.1.fc1': 'squeeze',
        'block.1.fc2': 'excite',
        'block.2.0': 'project_conv',
        'block.2.1': 'project_norm',
    },
)
_PYTORCH = (
    {
        '_expand_conv': 'expand_conv',
        '_bn0': 'expand_norm',
        '_depthwise_conv': 'depthwise_conv',
        '_bn1': 'depthwise_norm',
        '_se_reduce': 'squeeze',
        '_se_expand': 'excite',
        '_project_conv': 'project_conv',
        '_bn2': 'project_norm',
    },
) * 2
_KERAS = (
    {
        '_expand_conv': 'expand_conv',
        '_expand_bn': 'expand_norm',
        '_dwconv': 'depthwise_conv',
        '_bn': 'depthwise_norm',
        '_se_reduce': 'squeeze',
        '_se_expand': 'excite',
        '_project_conv': 'project_conv',
        '_project_bn': 'project_norm',
    },
) * 2


def _image_size(leaves: Leaves) -> int:
    """EfficientNet's grow with its depth and width."""
    blocks = len(
        {name.partition('/')[0] for name in leaves if name.startswith('block')}
    )
    last = leaves.get(f'block{blocks}/project_conv/kernel', np.empty(0)).shape[-1]
    return {
        (23, 320): 240,
        (23, 352): 260,
        (26, 384): 300,
        (32, 448): 380,
        (21, 320): 240,
        (21, 352): 260,
        (24, 384): 280,
        (30, 448): 300,
    }.get((blocks, last), 224)


def _torchvision_size(leaves: Leaves) -> int:
    """B2 is evaluated on more than it was trained on."""
    size = _image_size(leaves)
    return 288 if size == 260 else size


def _torchvision_recipe(leaves: Leaves) -> str:
    return f'torchvision_efficientnet_{_torchvision_size(leaves)}'


def _timm_size(leaves: Leaves) -> int:
    """timm's default weights of B1 to B4 are evaluated on more than they were trained on."""
    return {240: 288, 260: 288, 300: 320, 380: 384}.get(
        size := _image_size(leaves), size
    )


def _timm_recipe(leaves: Leaves) -> str:
    size = _image_size(leaves)
    return {224: 'efficientnet_224', 240: 'timm_efficientnet_b1'}.get(size, 'timm_full')


def _google_recipe(leaves: Leaves) -> str:
    """The Lites, which have no squeeze-and-excitation, were trained on another range."""
    lite = '' if 'block1/squeeze/kernel' in leaves else 'lite_'
    return f'efficientnet_{lite}{_image_size(leaves)}'


FORMATS = (
    Format(
        'torchvision',
        'features.1.0.block.0.0.weight',
        torch(
            r'features\.(\d)\.(\d+)\.(?=block)',
            _TORCHVISION,
            'features.0.0',
            'features.0.1',
            'features.8.0',
            'features.8.1',
            'classifier.1',
        ),
        _torchvision_recipe,
        OPTIONS['torch'],
        _torchvision_size,
    ),
    Format(
        'timm',
        'blocks.0.0.conv_dw.weight',
        torch(r'blocks\.(\d)\.(\d+)\.', TIMM, *TIMM_AROUND),
        _timm_recipe,
        OPTIONS['torch'],
        _timm_size,
    ),
    Format(
        'efficientnet_pytorch',
        '_blocks.0._depthwise_conv.weight',
        torch(
            r'_blocks\.(\d+)\.',
            _PYTORCH,
            '_conv_stem',
            '_bn0',
            '_conv_head',
            '_bn1',
            '_fc',
        ),
        _google_recipe,
        OPTIONS['tensorflow'],
        _image_size,
    ),
    Format(
        'Keras',
        'block1a_bn/gamma',
        keras(
            r'block(\d)([a-z])(?=_)',
            _KERAS,
            'stem_conv',
            'stem_bn',
            'top_conv',
            'top_bn',
            'predictions',
            'probs',
        ),
        _google_recipe,
        OPTIONS['tensorflow'],
        _image_size,
    ),
)
