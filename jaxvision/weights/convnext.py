"""ConvNeXt as its authors, timm and torchvision publish it."""

import re

from jaxvision.weights import convert
from jaxvision.weights.convert import Format, Leaves, Tensors

_PARTS = {  # of a block
    'authors': {'dwconv': 'depthwise_conv', 'norm': 'norm', 'pwconv1': 'mlp1', 'pwconv2': 'mlp2',
                'gamma': 'layer_scale'},
    'timm': {'conv_dw': 'depthwise_conv', 'norm': 'norm', 'mlp.fc1': 'mlp1', 'mlp.fc2': 'mlp2',
             'gamma': 'layer_scale'},
    'torchvision': {'block.0': 'depthwise_conv', 'block.2': 'norm', 'block.3': 'mlp1',
                    'block.5': 'mlp2', 'layer_scale': 'layer_scale'}}
_AROUND = {
    'authors': {'downsample_layers.0.0': 'stem_conv', 'downsample_layers.0.1': 'stem_norm',
                'norm': 'norm', 'head': 'head',
                **{f'downsample_layers.{i}.{j}': f'stage{i + 1}_{kind}' for i in (1, 2, 3)
                   for j, kind in enumerate(('norm', 'conv'))}},
    'timm': {'stem.0': 'stem_conv', 'stem.1': 'stem_norm', 'head.norm': 'norm', 'head.fc': 'head',
             **{f'stages.{i}.downsample.{j}': f'stage{i + 1}_{kind}' for i in (1, 2, 3)
                for j, kind in enumerate(('norm', 'conv'))}},
    'torchvision': {'features.0.0': 'stem_conv', 'features.0.1': 'stem_norm',
                    'classifier.0': 'norm', 'classifier.2': 'head',
                    **{f'features.{2 * i}.{j}': f'stage{i + 1}_{kind}' for i in (1, 2, 3)
                       for j, kind in enumerate(('norm', 'conv'))}}}
_BLOCK = {'authors': r'stages\.(\d)\.(\d+)\.(.+)', 'timm': r'stages\.(\d)\.blocks\.(\d+)\.(.+)',
          'torchvision': r'features\.([1357])\.(\d+)\.(.+)'}


def of(publisher: str):
    def modules(module: str) -> str:
        """'stages.0.1.dwconv' -> 'stage1_block2/depthwise_conv'"""
        if not (found := re.fullmatch(_BLOCK[publisher], module)):
            return _AROUND[publisher][module]
        stage = int(found[1]) // (2 if publisher == 'torchvision' else 1) + 1
        return f'stage{stage}_block{int(found[2]) + 1}/{_PARTS[publisher][found[3]]}'

    def leaves(tensors: Tensors) -> Leaves:
        found = convert.from_torch(tensors, modules)
        return {name: leaf.reshape(-1) if name.endswith('/layer_scale') else leaf  # [C, 1, 1]
                for name, leaf in found.items()}
    return leaves


def _torchvision_recipe(leaves: Leaves) -> str:
    """T is the one of so few blocks, and B the one so wide."""
    small = 'stage3_block10/mlp1/kernel' not in leaves
    wide = 'stem_conv/bias' in leaves and len(leaves['stem_conv/bias']) > 96
    return f'torchvision_convnext_{"T" if small else "B" if wide else "S"}'


FORMATS = (
    Format('its authors', 'stages.0.0.dwconv.weight', of('authors'), 'efficientnet'),
    Format('timm', 'stages.0.blocks.0.conv_dw.weight', of('timm'), 'timm_full',
           image_size=lambda leaves: 288),
    Format('torchvision', 'features.1.0.block.0.weight', of('torchvision'), _torchvision_recipe))
