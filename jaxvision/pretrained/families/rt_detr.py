"""Format of RT-DETR on the Hugging Face hub, such as PekingU/rtdetr_r50vd.

The files of RT-DETRv2 have the same tensors and one constant more. Published boxes are [x, y,
width, height]; ours have y first.
"""

import re

from jaxvision.pretrained import coco_classes, convert
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors

# Published names and ours. Files of transformers 5 call some layers otherwise than older ones.
_LAYERS = {
    'convolution': 'conv',
    'normalization': 'norm',
    'conv': 'conv',
    'norm': 'norm',
}
_AGGREGATION = {
    'lateral_convs.0': 'lateral3',
    'lateral_convs.1': 'lateral2',
    'fpn_blocks.0': 'top_down2',
    'fpn_blocks.1': 'top_down1',
    'downsample_convs.0': 'down1',
    'downsample_convs.1': 'down2',
    'pan_blocks.0': 'bottom_up2',
    'pan_blocks.1': 'bottom_up3',
}
_COMBINING = {f'conv{number}': f'conv{number}' for number in (1, 2, 3)}
_BRANCHES = {'conv1': 'conv3x3', 'conv2': 'conv1x1'}
_TRANSFORMER = {
    'self_attn.q_proj': 'attention/query',
    'self_attn.k_proj': 'attention/key',
    'self_attn.v_proj': 'attention/value',
    'self_attn.out_proj': 'attention/out',
    'self_attn.o_proj': 'attention/out',
    'self_attn_layer_norm': 'norm1',
    'fc1': 'perceptron/dense1',
    'fc2': 'perceptron/dense2',
    'mlp.fc1': 'perceptron/dense1',
    'mlp.fc2': 'perceptron/dense2',
}
_ENCODER = {**_TRANSFORMER, 'final_layer_norm': 'norm2'}
_DECODER = {
    **_TRANSFORMER,
    'encoder_attn.sampling_offsets': 'deformable/offsets',
    'encoder_attn.attention_weights': 'deformable/weights',
    'encoder_attn.value_proj': 'deformable/value',
    'encoder_attn.output_proj': 'deformable/out',
    'encoder_attn_layer_norm': 'norm2',
    'final_layer_norm': 'norm3',
}

# A pattern of published modules, our name, and how the words in it are renamed. Numbers count from
# 0 there and from 1 here.
_RULES = (
    (
        r'backbone\.model\.embedder\.embedder\.(\d)\.(\w+)',
        'features/backbone/stem{}_{}',
        _LAYERS,
    ),
    (
        r'backbone\.model\.encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.(\w+)',
        'features/backbone/stage{0}_block{1}/{3}{2}',
        _LAYERS,
    ),
    (
        # A shortcut of stride 2 begins with a mean, which has the number 0.
        r'backbone\.model\.encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.(?:1\.)?([a-z]+)',
        'features/backbone/stage{}_block{}/shortcut_{}',
        _LAYERS,
    ),
    (r'encoder_input_proj\.(\d)\.0', 'features/input{}/conv', {}),
    (r'encoder_input_proj\.(\d)\.1', 'features/input{}/norm', {}),
    (r'decoder_input_proj\.(\d)\.0', 'features/output{}/conv', {}),
    (r'decoder_input_proj\.(\d)\.1', 'features/output{}/norm', {}),
    (
        r'encoder\.(?:encoder|aifi)\.0\.layers\.0\.(.+)',
        'features/attention/{}',
        _ENCODER,
    ),
    (
        r'encoder\.(\w+\.\d)\.bottlenecks\.(\d)\.(conv\d)\.(\w+)',
        'features/{}/block{}_{}/{}',
        {**_AGGREGATION, **_BRANCHES, **_LAYERS},
    ),
    (
        r'encoder\.(\w+\.\d)\.(conv\d)\.(\w+)',
        'features/{}/{}/{}',
        {**_AGGREGATION, **_LAYERS, **_COMBINING},
    ),
    (
        r'encoder\.(\w+\.\d)\.(\w+)',
        'features/{}/{}',
        {**_AGGREGATION, **_LAYERS},
    ),
    (r'enc_output\.0', 'selection/dense', {}),
    (r'enc_output\.1', 'selection/norm', {}),
    (r'enc_score_head', 'selection/scores', {}),
    (r'enc_bbox_head\.layers\.(\d)', 'selection/boxes/dense{}', {}),
    (r'decoder\.query_pos_head\.layers\.(\d)', 'decoder/position{}', {}),
    (r'decoder\.layers\.(\d)\.(.+)', 'decoder/layer{}/{}', _DECODER),
    (r'decoder\.class_embed\.(\d)', 'decoder/layer{}_scores', {}),
    (
        r'decoder\.bbox_embed\.(\d)\.layers\.(\d)',
        'decoder/layer{}_boxes/dense{}',
        {},
    ),
)
# Tensors that only training needs, and a constant of RT-DETRv2.
_UNUSED = re.compile(r'denoising_class_embed\.weight|.*\.n_points_scale')
_SWAPPED = [1, 0, 3, 2]


def _module(name: str) -> str:
    """Rename 'decoder.layers.0.self_attn.q_proj' to 'decoder/layer1/attention/query'."""
    for pattern, template, words in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            groups = [_renamed(group, words) for group in match.groups()]
            return template.format(*groups)
    raise KeyError(name)


def _renamed(group: str, words: dict[str, str]) -> str:
    if group.isdecimal():
        return str(int(group) + 1)
    return words[group]


def from_hub(tensors: Tensors) -> Leaves:
    """Convert tensors of the hub to leaves of our RT-DETR.

    Boxes and offsets change from (x, y) to (y, x). An unknown tensor keeps its name.
    """
    used = {
        name: tensor
        for name, tensor in tensors.items()
        # Some files hold the heads of the decoder twice.
        if not (_UNUSED.fullmatch(name) or f'decoder.{name}' in tensors)
    }
    leaves = convert.from_torch(used, _module)
    for name, leaf in leaves.items():
        if '/deformable/offsets/' in name:
            points = leaf.reshape(*leaf.shape[:-1], -1, 2)
            leaves[name] = points[..., ::-1].reshape(leaf.shape)
        elif 'boxes/dense3/' in name:
            leaves[name] = leaf[..., _SWAPPED]
        elif name == 'decoder/position1/kernel':
            leaves[name] = leaf[_SWAPPED]
    return leaves


def _classes(leaves: Leaves) -> OutputClasses:
    return coco_classes.of_outputs(len(leaves['selection/scores/bias']))


FORMATS = (
    Format(
        publisher='the Hugging Face hub',
        marker='enc_score_head.weight',
        convert=from_hub,
        recipe='rt_detr',
        classes=_classes,
        # The best 300 pairs of a query and a class, as in its authors' evaluation.
        task={'most_detections': 300, 'least_score': 0.0},
    ),
)
