"""Formats of ConvNeXt by its authors, timm, torchvision and Keras applications."""

import re
from collections.abc import Callable

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

# {publisher: {module within a block: our name}}
_PARTS = {
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


def _downsampling(pattern: str, factor: int = 1) -> dict[str, str]:
    """Name the norm and the convolution before each of the last three stages.

    Args:
        pattern: the published name, with {stage} and {part}.
        factor: number of published modules per stage.

    Returns:
        {published name: our name}.
    """
    names = {}
    for stage in (1, 2, 3):
        for part, kind in enumerate(('norm', 'conv')):
            name = pattern.format(stage=factor * stage, part=part)
            names[name] = f'stage{stage + 1}_{kind}'
    return names


# {publisher: {module outside the blocks: our name}}
_AROUND = {
    'authors': {
        'downsample_layers.0.0': 'stem_conv',
        'downsample_layers.0.1': 'stem_norm',
        'norm': 'norm',
        'head': 'head',
        **_downsampling('downsample_layers.{stage}.{part}'),
    },
    'timm': {
        'stem.0': 'stem_conv',
        'stem.1': 'stem_norm',
        'head.norm': 'norm',
        'head.fc': 'head',
        **_downsampling('stages.{stage}.downsample.{part}'),
    },
    'torchvision': {
        'features.0.0': 'stem_conv',
        'features.0.1': 'stem_norm',
        'classifier.0': 'norm',
        'classifier.2': 'head',
        **_downsampling('features.{stage}.{part}', factor=2),
    },
}
_BLOCK = {
    'authors': r'stages\.(\d)\.(\d+)\.(.+)',
    'timm': r'stages\.(\d)\.blocks\.(\d+)\.(.+)',
    'torchvision': r'features\.([1357])\.(\d+)\.(.+)',
}
_KERAS_PARTS = {
    'depthwise_conv': 'depthwise_conv',
    'layernorm': 'norm',
    'pointwise_conv_1': 'mlp1',
    'pointwise_conv_2': 'mlp2',
    'layer_scale': 'layer_scale',
}
_KERAS_DOWNSAMPLING = {'conv': 'conv', 'layernorm': 'norm'}
_KERAS_AROUND = {
    'stem_conv': 'stem_conv',
    'stem_layernorm': 'stem_norm',
    'head_layernorm': 'norm',
    'head_dense': 'head',
}


def torch_converter(publisher: str) -> Callable[[Tensors], Leaves]:
    """Make the function that converts PyTorch tensors to leaves.

    Args:
        publisher: 'authors', 'timm' or 'torchvision'.

    Returns:
        `(tensors) -> leaves`: from {PyTorch name: array} to {parameter path: array},
        with our names and axes. An unknown tensor keeps its name.
    """
    # torchvision numbers stages and downsamplings together.
    modules_per_stage = 2 if publisher == 'torchvision' else 1

    def modules(module: str) -> str:
        """Rename 'stages.0.1.dwconv' to 'stage1_block2/depthwise_conv'."""
        match = re.fullmatch(_BLOCK[publisher], module)
        if not match:
            return _AROUND[publisher][module]
        stage = int(match[1]) // modules_per_stage + 1
        block = int(match[2]) + 1
        part = _PARTS[publisher][match[3]]
        return f'stage{stage}_block{block}/{part}'

    def leaves(tensors: Tensors) -> Leaves:
        converted = convert.from_torch(tensors, modules)
        for name in converted:
            # It is [C, 1, 1] in torchvision.
            if name.endswith('/layer_scale'):
                converted[name] = converted[name].reshape(-1)
        return converted

    return leaves


def keras_converter(model: str) -> Callable[[Tensors], Leaves]:
    """Make the function that converts the tensors of a Keras file to parameters of ours.

    Args:
        model: name of the Keras model, with which its tensors begin, such as
            'convnext_tiny'.

    Returns:
        `(tensors) -> leaves`: from {Keras name: array} to {parameter path: array}, with
        our names and axes. An unknown tensor keeps its name.
    """

    def modules(module: str) -> str:
        """Rename 'convnext_tiny_stage_0_block_1_layernorm' to 'stage1_block2/norm'."""
        name = module.removeprefix(f'{model}_')
        if match := re.fullmatch(r'stage_(\d)_block_(\d+)_(.+)', name):
            stage = int(match[1]) + 1
            block = int(match[2]) + 1
            # The weight of a layer scale is called 'variable'.
            part = re.sub(r'/variable(_\d+)?$', '', match[3].lower())
            return f'stage{stage}_block{block}/{_KERAS_PARTS[part]}'
        if match := re.fullmatch(r'downsampling_(conv|layernorm)_(\d)', name):
            stage = int(match[2]) + 2
            return f'stage{stage}_{_KERAS_DOWNSAMPLING[match[1]]}'
        # The last norm of a model without the head.
        if re.fullmatch(r'layer_normalization(_\d+)?', name):
            return 'norm'
        return _KERAS_AROUND[name]

    return lambda tensors: convert.from_keras(tensors, modules)


def _torchvision_recipe(leaves: Leaves) -> str:
    """Tell T, with the fewest blocks, and B, with the widest stem, from S."""
    if 'stage3_block10/mlp1/kernel' not in leaves:
        return 'torchvision_convnext_T'
    if 'stem_conv/bias' in leaves and len(leaves['stem_conv/bias']) > 96:
        return 'torchvision_convnext_B'
    return 'torchvision_convnext_S'


def _timm_size(leaves: Leaves) -> int:
    return 288


FORMATS = (
    Format(
        publisher='its authors',
        marker='stages.0.0.dwconv.weight',
        convert=torch_converter('authors'),
        recipe='efficientnet_224',
    ),
    Format(
        publisher='timm',
        marker='stages.0.blocks.0.conv_dw.weight',
        convert=torch_converter('timm'),
        recipe='timm_full',
        image_size=_timm_size,
    ),
    Format(
        publisher='torchvision',
        marker='features.1.0.block.0.weight',
        convert=torch_converter('torchvision'),
        recipe=_torchvision_recipe,
    ),
    *(
        Format(
            publisher='Keras',
            marker=f'{model}_stage_0_block_0_layernorm/gamma',
            convert=keras_converter(model),
            recipe='efficientnet_224',
        )
        for model in ('convnext_tiny', 'convnext_small', 'convnext_base')
    ),
)
