"""ViT as torchvision, timm and Google (the .npz of AugReg and big_vision) publish it."""

import re

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

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
# AugReg numbers the parts of a block through, big_vision those of each kind.
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


def timm(module: str) -> str:
    """'blocks.0.attn.proj' -> 'block1/attention/out'"""
    if found := re.fullmatch(r'blocks\.(\d+)\.(.+)', module):
        return f'block{int(found[1]) + 1}/{_TIMM[found[2]]}'
    return _TIMM_AROUND[module]


def torchvision(module: str) -> str:
    """'encoder.layers.encoder_layer_0.ln_1' -> 'block1/norm1'"""
    if found := re.fullmatch(r'encoder\.layers\.encoder_layer_(\d+)\.(.+)', module):
        return f'block{int(found[1]) + 1}/{_TORCHVISION[found[2]]}'
    return _TORCHVISION_AROUND[module]


def google(module: str) -> str:
    """'Transformer/encoderblock_0/MlpBlock_3/Dense_0' -> 'block1/mlp1'; query, key and value keep
    their names"""
    if not (found := re.fullmatch(r'Transformer/encoderblock_(\d+)/(.+)', module)):
        return _GOOGLE_AROUND[module]
    block, part = f'block{int(found[1]) + 1}', found[2]
    if attention := re.fullmatch(
        r'MultiHeadDotProductAttention_[01]/(query|key|value|out)', part
    ):
        return f'{block}/attention/{attention[1]}'
    return f'{block}/{_GOOGLE[part]}'


def from_torchvision(tensors: Tensors) -> Leaves:
    named = {
        name.replace('.in_proj_', '.in_proj.'): tensor
        for name, tensor in tensors.items()
    }
    return convert.from_torch(named, torchvision)


def from_google(tensors: Tensors) -> Leaves:
    """Its attention has a kernel [C, heads, C / heads] each for query, key and value."""
    leaves = convert.from_flax(tensors, google)
    for name in [name for name in leaves if re.search('/attention/query/', name)]:
        parts = [
            name.replace('/query/', f'/{part}/') for part in ('query', 'key', 'value')
        ]
        if all(part in leaves for part in parts):
            flat = [_flat(leaves.pop(part), name, rows=1) for part in parts]
            leaves[name.replace('/query/', '/qkv/')] = np.concatenate(flat, -1)
    return {
        name: _flat(leaf, name, rows=2) if '/attention/out/' in name else leaf
        for name, leaf in leaves.items()
    }


def _flat(leaf: np.ndarray, name: str, rows: int) -> np.ndarray:
    """A matrix, its `rows` first axes being one, or a vector."""
    if name.endswith('/bias'):
        return leaf.reshape(-1)
    return leaf.reshape(int(np.prod(leaf.shape[:rows])), -1)


def _options(gelu: str):
    return lambda leaves: {'gelu': gelu, 'pool': 'cls' if 'cls' in leaves else 'mean'}


def _image_size(leaves: Leaves) -> int:
    """Of its square grid of patches."""
    if not {'position_embedding', 'patch_embedding/kernel'} <= leaves.keys():
        return 0
    positions = leaves['position_embedding'].shape[1] - ('cls' in leaves)
    return int(np.sqrt(positions)) * leaves['patch_embedding/kernel'].shape[0]


FORMATS = (
    Format(
        'timm',
        'blocks.0.attn.qkv.weight',
        lambda tensors: convert.from_torch(tensors, timm),
        lambda leaves: 'timm_vit_384' if _image_size(leaves) == 384 else 'timm_vit',
        _options('exact'),
        _image_size,
    ),
    Format(
        'torchvision',
        'encoder.layers.encoder_layer_0.ln_1.weight',
        from_torchvision,
        'torchvision',
        _options('exact'),
        _image_size,
    ),
    Format(
        'Google',
        'Transformer/encoderblock_0/LayerNorm_0/scale',
        from_google,
        'augreg',
        _options('tanh'),
        _image_size,
    ),
)
