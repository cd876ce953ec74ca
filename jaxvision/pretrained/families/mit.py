"""Format of Mix Transformers on the Hugging Face hub, such as nvidia/mit-b0."""

import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

LICENSE = (
    "NVIDIA's licence of SegFormer allows these weights for non-commercial use only "
    '(research and evaluation).'
)

# Published names and ours. Files of transformers 5 call most layers otherwise than older ones.
_BLOCK = {
    'layer_norm_1': 'norm1',
    'layer_norm_2': 'norm2',
    'attention.self.query': 'attention/query',
    'attention.self.key': 'attention/key',
    'attention.self.value': 'attention/value',
    'attention.self.sr': 'attention/reduction',
    'attention.self.layer_norm': 'attention/reduction_norm',
    'attention.output.dense': 'attention/out',
    'mlp.dense1': 'mlp1',
    'mlp.dense2': 'mlp2',
    'mlp.dwconv.dwconv': 'depthwise_conv',
    'layernorm_before': 'norm1',
    'layernorm_after': 'norm2',
    'attention.q_proj': 'attention/query',
    'attention.k_proj': 'attention/key',
    'attention.v_proj': 'attention/value',
    'attention.o_proj': 'attention/out',
    'attention.sequence_reduction.sequence_reduction': 'attention/reduction',
    'attention.sequence_reduction.layer_norm': 'attention/reduction_norm',
    'mlp.fc1': 'mlp1',
    'mlp.fc2': 'mlp2',
}
_EMBEDDING = {'proj': 'embedding', 'layer_norm': 'embedding_norm'}

_PATTERNS = (
    r'segformer\.encoder\.block\.(?P<stage>\d)\.(?P<block>\d+)\.(?P<layer>.+)',
    r'segformer\.stages\.(?P<stage>\d)\.blocks\.(?P<block>\d+)\.(?P<layer>.+)',
    r'segformer\.encoder\.patch_embeddings\.(?P<stage>\d)\.(?P<embedding>\w+)',
    r'segformer\.stages\.(?P<stage>\d)\.patch_embeddings\.(?P<embedding>\w+)',
    r'segformer\.encoder\.layer_norm\.(?P<stage>\d)',
    r'segformer\.stages\.(?P<stage>\d)\.layer_norm',
)


def module(name: str) -> str:
    """Rename a module of the backbone, 'segformer.stages.0.layer_norm' to 'stage1_norm'.

    Raises:
        KeyError: There is no such module.
    """
    for pattern in _PATTERNS:
        match = re.fullmatch(pattern, name)
        if not match:
            continue
        groups = match.groupdict()
        stage = int(groups['stage']) + 1
        if 'block' in groups:
            block = int(groups['block']) + 1
            return f'stage{stage}_block{block}/{_BLOCK[groups["layer"]]}'
        if 'embedding' in groups:
            return f'stage{stage}_{_EMBEDDING[groups["embedding"]]}'
        return f'stage{stage}_norm'
    raise KeyError(name)


def _classifier_module(name: str) -> str:
    return 'head' if name == 'classifier' else module(name)


def from_hub(tensors: Tensors) -> Leaves:
    """Convert tensors of the hub to leaves of our MiT. An unknown tensor keeps its name."""
    return convert.from_torch(tensors, _classifier_module)


FORMATS = (
    Format(
        publisher='the Hugging Face hub',
        marker='classifier.weight',
        convert=from_hub,
        recipe='mit',
        license=LICENSE,
    ),
)
