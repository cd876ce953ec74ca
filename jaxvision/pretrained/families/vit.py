"""Formats of ViT by torchvision, timm and Google.

Google publishes .npz files of AugReg and big_vision.
"""

import re
from collections.abc import Callable

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

# {module within a block: our name}
_TIMM = {
    'norm1': 'norm1',
    'attn.qkv': 'attention/qkv',
    'attn.proj': 'attention/out',
    'norm2': 'norm2',
    'mlp.fc1': 'mlp1',
    'mlp.fc2': 'mlp2',
}
_TIMM_AROUND = {
    'patch_embed.proj': 'patch_embedding',
    'cls_token': 'cls',
    'pos_embed': 'position_embedding',
    'norm': 'norm',
    'head': 'head',
}
_TORCHVISION = {
    'ln_1': 'norm1',
    'self_attention.in_proj': 'attention/qkv',
    'self_attention.out_proj': 'attention/out',
    'ln_2': 'norm2',
    'mlp.0': 'mlp1',
    'mlp.3': 'mlp2',
    'mlp.linear_1': 'mlp1',
    'mlp.linear_2': 'mlp2',
}
_TORCHVISION_AROUND = {
    'conv_proj': 'patch_embedding',
    'class_token': 'cls',
    'encoder.pos_embedding': 'position_embedding',
    'encoder.ln': 'norm',
    'heads.head': 'head',
}
# AugReg numbers all modules of a block in one sequence, and big_vision those of each kind.
_GOOGLE = {
    'LayerNorm_0': 'norm1',
    'LayerNorm_1': 'norm2',
    'LayerNorm_2': 'norm2',
    'MlpBlock_0/Dense_0': 'mlp1',
    'MlpBlock_0/Dense_1': 'mlp2',
    'MlpBlock_3/Dense_0': 'mlp1',
    'MlpBlock_3/Dense_1': 'mlp2',
}
_GOOGLE_AROUND = {
    'embedding': 'patch_embedding',
    'cls': 'cls',
    'head': 'head',
    'pos_embedding': 'position_embedding',
    'Transformer/encoder_norm': 'norm',
    'Transformer/posembed_input/pos_embedding': 'position_embedding',
}


_ATTENTION = r'MultiHeadDotProductAttention_[01]/(query|key|value|out)'


def _timm_module(module: str) -> str:
    """Rename 'blocks.0.attn.proj' to 'block1/attention/out'."""
    match = re.fullmatch(r'blocks\.(\d+)\.(.+)', module)
    if not match:
        return _TIMM_AROUND[module]
    block = int(match[1]) + 1
    return f'block{block}/{_TIMM[match[2]]}'


def _torchvision_module(module: str) -> str:
    """Rename 'encoder.layers.encoder_layer_0.ln_1' to 'block1/norm1'."""
    match = re.fullmatch(r'encoder\.layers\.encoder_layer_(\d+)\.(.+)', module)
    if not match:
        return _TORCHVISION_AROUND[module]
    block = int(match[1]) + 1
    return f'block{block}/{_TORCHVISION[match[2]]}'


def _google_module(module: str) -> str:
    """Rename 'Transformer/encoderblock_0/MlpBlock_3/Dense_0' to 'block1/mlp1'.

    Query, key and value keep their names.
    """
    match = re.fullmatch(r'Transformer/encoderblock_(\d+)/(.+)', module)
    if not match:
        return _GOOGLE_AROUND[module]
    block_number = int(match[1]) + 1
    block = f'block{block_number}'
    if attention := re.fullmatch(_ATTENTION, match[2]):
        return f'{block}/attention/{attention[1]}'
    return f'{block}/{_GOOGLE[match[2]]}'


def from_timm(tensors: Tensors) -> Leaves:
    """Convert tensors of timm to leaves of our ViT.

    Args:
        tensors: {PyTorch name: array}.

    Returns:
        {parameter path: array}, with our names and axes. An unknown tensor keeps its
        name.
    """
    return convert.from_torch(tensors, _timm_module)


def from_torchvision(tensors: Tensors) -> Leaves:
    """Convert tensors of torchvision, where 'in_proj_weight' has no module 'in_proj'.

    Args:
        tensors: {PyTorch name: array}.

    Returns:
        {parameter path: array} of our ViT. An unknown tensor keeps its name.
    """
    renamed = {
        name.replace('.in_proj_', '.in_proj.'): tensor
        for name, tensor in tensors.items()
    }
    return convert.from_torch(renamed, _torchvision_module)


def from_google(tensors: Tensors) -> Leaves:
    """Convert tensors of Google.

    Their attention has kernels [C, heads, C / heads] for query, key and value, and a kernel
    [heads, C / heads, C] for the output. Ours has a kernel [C, 3 C] and a kernel [C, C].

    Args:
        tensors: {name: array} of a file of AugReg or big_vision.

    Returns:
        {parameter path: array} of our ViT. An unknown tensor keeps its name.
    """
    leaves = convert.from_flax(tensors, _google_module)
    for name in list(leaves):
        if '/attention/query/' in name:
            _join_query_key_value(leaves, name)
        elif '/attention/out/' in name:
            leaves[name] = _flat(leaves[name], name, rows=2)
    return leaves


def _join_query_key_value(leaves: Leaves, query: str) -> None:
    """Join the kernels, or the biases, of query, key and value, if all three exist."""
    names = [
        query.replace('/query/', f'/{part}/') for part in ('query', 'key', 'value')
    ]
    if all(name in leaves for name in names):
        parts = [_flat(leaves.pop(name), name, rows=1) for name in names]
        leaves[query.replace('/query/', '/qkv/')] = np.concatenate(parts, -1)


def _flat(leaf: np.ndarray, name: str, rows: int) -> np.ndarray:
    """Flatten a kernel to a matrix, or a bias to a vector.

    Args:
        leaf: the kernel or bias.
        name: name of the leaf.
        rows: number of the first axes that become the rows of the matrix.
    """
    if name.endswith('/bias'):
        return leaf.reshape(-1)
    row_count = int(np.prod(leaf.shape[:rows]))
    return leaf.reshape(row_count, -1)


def _options(gelu: str) -> Callable[[Leaves], dict]:
    def options(leaves: Leaves) -> dict:
        pool = 'cls' if 'cls' in leaves else 'mean'
        return {'gelu': gelu, 'pool': pool}

    return options


def _image_size(leaves: Leaves) -> int:
    """Derive the side of the images from their square grid of patches."""
    if not {'position_embedding', 'patch_embedding/kernel'} <= leaves.keys():
        return 0
    patches = leaves['position_embedding'].shape[1] - ('cls' in leaves)
    patch_size = leaves['patch_embedding/kernel'].shape[0]
    return int(np.sqrt(patches)) * patch_size


def _timm_recipe(leaves: Leaves) -> str:
    return 'timm_vit_384' if _image_size(leaves) == 384 else 'timm_vit'


FORMATS = (
    Format(
        publisher='timm',
        marker='blocks.0.attn.qkv.weight',
        convert=from_timm,
        recipe=_timm_recipe,
        options=_options(gelu='exact'),
        image_size=_image_size,
    ),
    Format(
        publisher='torchvision',
        marker='encoder.layers.encoder_layer_0.ln_1.weight',
        convert=from_torchvision,
        recipe='torchvision',
        options=_options(gelu='exact'),
        image_size=_image_size,
    ),
    Format(
        publisher='Google',
        marker='Transformer/encoderblock_0/LayerNorm_0/scale',
        convert=from_google,
        recipe='augreg',
        options=_options(gelu='tanh'),
        image_size=_image_size,
    ),
)
