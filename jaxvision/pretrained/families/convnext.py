"""ConvNeXt as its authors, timm and torchvision publish it, and Keras applications."""

import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

_PARTS = {  # of a block
    'authors': {
        'dwconv': 'depthwise_conv',
        'norm': 'norm',
        'pwconv1': 'mlp1',
        'pwconv2': 'mlp2',
        'gamma': 'layer_scale',
    },
    'timm': {
        'conv_dw': 'depthwise_conv',
        'norm': 'norm',
        'mlp.fc1': 'mlp1',
        'mlp.fc2': 'mlp2',
        'gamma': 'layer_scale',
    },
    'torchvision': {
        'block.0': 'depthwise_conv',
        'block.2': 'norm',
        'block.3': 'mlp1',
        'block.5': 'mlp2',
        'layer_scale': 'layer_scale',
    },
}
_AROUND = {
    'authors': {
        'downsample_layers.0.0': 'stem_conv',
        'downsample_layers.0.1': 'stem_norm',
        'norm': 'norm',
        'head': 'head',
        **{
            f'downsample_layers.{i}.{j}': f'stage{i + 1}_{kind}'
            for i in (1, 2, 3)
            for j, kind in enumerate(('norm', 'conv'))
        },
    },
    'timm': {
        'stem.0': 'stem_conv',
        'stem.1': 'stem_norm',
        'head.norm': 'norm',
        'head.fc': 'head',
        **{
            f'stages.{i}.downsample.{j}': f'stage{i + 1}_{kind}'
            for i in (1, 2, 3)
            for j, kind in enumerate(('norm', 'conv'))
        },
    },
    'torchvision': {
        'features.0.0': 'stem_conv',
        'features.0.1': 'stem_norm',
        'classifier.0': 'norm',
        'classifier.2': 'head',
        **{
            f'features.{2 * i}.{j}': f'stage{i + 1}_{kind}'
            for i in (1, 2, 3)
            for j, kind in enumerate(('norm', 'conv'))
        },
    },
}
_KERAS_LAYERS = {'conv': 'conv', 'layernorm': 'norm'}
_KERAS = {
    'depthwise_conv': 'depthwise_conv',
    'layernorm': 'norm',
    'pointwise_conv_1': 'mlp1',
    'pointwise_conv_2': 'mlp2',
    'layer_scale': 'layer_scale',
}
_KERAS_AROUND = {
    'stem_conv': 'stem_conv',
    'stem_layernorm': 'stem_norm',
    'head_layernorm': 'norm',
    'head_dense': 'head',
}
_BLOCK = {
    'authors': r'stages\.(\d)\.(\d+)\.(.+)',
    'timm': r'stages\.(\d)\.blocks\.(\d+)\.(.+)',
    'torchvision': r'features\.([1357])\.(\d+)\.(.+)',
}


def of(publisher: str):
    def modules(module: str) -> str:
        """'stages.0.1.dwconv' -> 'stage1_block2/depthwise_conv'"""
        if not (found := re.fullmatch(_BLOCK[publisher], module)):
            return _AROUND[publisher][module]
        stage = int(found[1]) // (2 if publisher == 'torchvision' else 1) + 1
        return f'stage{stage}_block{int(found[2]) + 1}/{_PARTS[publisher][found[3]]}'

    def leaves(tensors: Tensors) -> Leaves:
        found = convert.from_torch(tensors, modules)
        return {
            name: leaf.reshape(-1)
            if name.endswith('/layer_scale')
            else leaf  # [C, 1, 1]
            for name, leaf in found.items()
        }

    return leaves


def keras(model: str):
    def modules(module: str) -> str:
        """'convnext_tiny_stage_0_block_1_layernorm' -> 'stage1_block2/norm'"""
        name = module.removeprefix(f'{model}_')
        if found := re.fullmatch(r'stage_(\d)_block_(\d+)_(.+)', name):
            part = re.sub(
                r'/variable(_\d+)?$', '', found[3].lower()
            )  # what a layer_scale holds
            return f'stage{int(found[1]) + 1}_block{int(found[2]) + 1}/{_KERAS[part]}'
        if found := re.fullmatch(r'downsampling_(conv|layernorm)_(\d)', name):
            return f'stage{int(found[2]) + 2}_{_KERAS_LAYERS[found[1]]}'
        if re.fullmatch(
            r'layer_normalization(_\d+)?', name
        ):  # of a model without the head
            return 'norm'
        return _KERAS_AROUND[name]

    return lambda tensors: convert.from_keras(tensors, modules)


def _torchvision_recipe(leaves: Leaves) -> str:
    """T is the one of so few blocks, and B the one so wide."""
    small = 'stage3_block10/mlp1/kernel' not in leaves
    wide = 'stem_conv/bias' in leaves and len(leaves['stem_conv/bias']) > 96
    return f'torchvision_convnext_{"T" if small else "B" if wide else "S"}'


FORMATS = (
    Format(
        'its authors', 'stages.0.0.dwconv.weight', of('authors'), 'efficientnet_224'
    ),
    Format(
        'timm',
        'stages.0.blocks.0.conv_dw.weight',
        of('timm'),
        'timm_full',
        image_size=lambda leaves: 288,
    ),
    Format(
        'torchvision',
        'features.1.0.block.0.weight',
        of('torchvision'),
        _torchvision_recipe,
    ),
    *(
        Format(
            'Keras',
            f'{model}_stage_0_block_0_layernorm/gamma',
            keras(model),
            'efficientnet_224',
        )
        for model in ('convnext_tiny', 'convnext_small', 'convnext_base')
    ),
)
