"""Published FCN, DeepLabv3, SegFormer and MiT: narrow networks' logits, and all tensors' names."""

import gzip
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import segmenter_weights
from helpers.published_files import write_safetensors

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.models.backbones import mit, resnet
from jaxvision.models.segmenters import deeplab, fcn, maps, segformer
from jaxvision.pretrained import flax_variables, known_files, recipes, weights_file
from jaxvision.pretrained.families import segformer as segformer_format
from jaxvision.train import run

DATA = Path(__file__).with_name('data')
STORED = np.load(DATA / 'segmenters.npz')
# The names and shapes of published tensors; tests/models/test_listing.py counts the others.
PUBLISHED = json.loads(gzip.decompress((DATA / 'segmenters.json.gz').read_bytes()))
FAMILIES = {
    'fcn': ('fcn', fcn),
    'deeplabv3': ('deeplab', deeplab),
    'segformer': ('segformer', segformer),
    'mit': ('mit', mit),
}
RESNET = resnet.ResNet(0, resnet.BottleneckBlock, (1, 1, 2, 2), output_stride=8)
MIT = mit.MiT(0, (8, 16, 40, 64), (1, 2, 1, 2))


def tensors_of(name):
    shapes = json.loads(STORED[f'{name}/shapes'].tobytes())
    factors = json.loads(STORED[f'{name}/factors'].tobytes())
    return segmenter_weights.drawn(shapes, factors)


def narrow(kind):
    """Our narrow network."""
    if kind == 'mit':
        return MIT.clone(num_classes=1000)
    if kind == 'segformer':
        model = segformer.make('b0', num_classes=150, width=16)
        return model.clone(backbone=MIT)
    return FAMILIES[kind][1].make('resnet50', num_classes=21).clone(backbone=RESNET)


@pytest.mark.parametrize('kind', FAMILIES)
def test_logits_are_those_of_the_publishers_code(kind, tmp_path):
    """tests/bench/segmenter_references.py computed them in float64."""
    name = f'{kind}_narrow'
    file = write_safetensors(tensors_of(name), tmp_path / 'model.safetensors')
    leaves, _ = weights_file.read(file, FAMILIES[kind][0])
    model = narrow(kind)

    image = segmenter_weights.picture(0)[None]

    @jax.jit
    def outputs_of(variables, image):
        outputs, tensors = model.apply(variables, image)
        if kind == 'mit':
            return {'out': outputs}
        if kind == 'segformer':
            return {'out': outputs['logits']}
        # A call computes the auxiliary head in training alone.
        part = {name: tree['auxiliary'] for name, tree in variables.items()}
        logits = {
            'out': outputs['logits'],
            'aux': model.auxiliary.apply(part, tensors['stage3'], None, False, None),
        }
        full = {key: maps.resized(x, image.shape[1:3]) for key, x in logits.items()}
        return {key: x[:, ::5, ::5] for key, x in full.items()}

    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = flax_variables.fit(leaves, shapes)
    for key, x in outputs_of(variables, image).items():
        expected = STORED[f'{name}/{key}0']
        assert expected.std() > 1
        logits = np.asarray(x[0])[..., : expected.shape[-1]]
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def older(name):
    """The name of a tensor of the hub in files before transformers 5."""
    for new, old in (
        ('.patch_embeddings.', None),
        ('attention.q_proj', 'attention.self.query'),
        ('attention.k_proj', 'attention.self.key'),
        ('attention.v_proj', 'attention.self.value'),
        ('attention.o_proj', 'attention.output.dense'),
        ('attention.sequence_reduction.sequence_reduction', 'attention.self.sr'),
        ('attention.sequence_reduction.layer_norm', 'attention.self.layer_norm'),
        ('layernorm_before', 'layer_norm_1'),
        ('layernorm_after', 'layer_norm_2'),
        ('mlp.fc1', 'mlp.dense1'),
        ('mlp.fc2', 'mlp.dense2'),
        ('linear_projections', 'linear_c'),
    ):
        if old:
            name = name.replace(new, old)
    parts = name.split('.')
    if parts[1] != 'stages':
        return name
    stage, kind, *rest = parts[2:]
    middle = {
        'blocks': ['encoder', 'block', stage],
        'patch_embeddings': ['encoder', 'patch_embeddings', stage],
        'layer_norm': ['encoder', 'layer_norm', stage],
    }[kind]
    return '.'.join([parts[0], *middle, *rest])


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_tensors_are_those_of_our_model(name):
    kind, _, size = name.partition('_')
    family, module = FAMILIES[kind]
    tensors = {
        key: np.broadcast_to(np.float32(1), shape)
        for key, shape in PUBLISHED[name].items()
    }
    versions = [tensors]
    if family in ('segformer', 'mit'):
        versions.append({older(key): tensor for key, tensor in tensors.items()})
    count = {'mit': 1000, 'segformer': 150}.get(family, 21)
    model = module.make(size, num_classes=count)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    expected = {key: leaf.shape for key, leaf in flax_variables.by_name(shapes).items()}
    for version in versions:
        leaves, identity = weights_file._interpret(
            Path(f'{name}.pth'), family, weights_file.FAMILIES[family].FORMATS, version
        )
        assert {key: leaf.shape for key, leaf in leaves.items()} == expected
        assert all(identity.options.values())
        if family != 'mit':
            assert len(identity.classes.names) == count
        is_nvidia = family in ('segformer', 'mit')
        assert ('non-commercial' in identity.format.license) == is_nvidia


def test_weights_without_an_auxiliary_head_need_a_model_without_it():
    tensors = tensors_of('fcn_narrow')
    without = {
        key: tensor for key, tensor in tensors.items() if not key.startswith('aux')
    }
    formats = weights_file.FAMILIES['fcn'].FORMATS
    for version, auxiliary in ((tensors, True), (without, False)):
        leaves = formats[0].convert(version)
        assert formats[0].options(leaves) == {'auxiliary': auxiliary}
    model = fcn.make('resnet50', num_classes=21, auxiliary=False)
    model = model.clone(backbone=RESNET)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    flax_variables.fit(leaves, shapes)
    with pytest.raises(UserError, match='missing: auxiliary'):
        shapes = jax.eval_shape(narrow('fcn').init, jax.random.key(0), image)
        flax_variables.fit(leaves, shapes)


@pytest.mark.parametrize(
    'count, first, last',
    [(150, (1, 'wall'), (150, 'flag')), (19, (0, 'road'), (18, 'bicycle'))],
)
def test_the_number_of_outputs_tells_the_classes(count, first, last):
    leaves = {'head/scores/bias': np.zeros(count)}
    classes = segformer_format._classes(leaves)
    pairs = list(zip(classes.numbers, classes.names, strict=True))
    assert len(pairs) == count and (pairs[0], pairs[-1]) == (first, last)


def test_torchvision_names_the_classes_of_voc():
    leaves = {'head/scores/bias': np.zeros(21)}
    classes = weights_file.FAMILIES['fcn'].FORMATS[0].classes(leaves)
    assert classes.names[0] == 'background' and classes.names[15] == 'person'
    assert classes.numbers == tuple(range(21))
    others = (
        weights_file.FAMILIES['fcn']
        .FORMATS[0]
        .classes({'head/scores/bias': np.zeros(5)})
    )
    assert others.names == tuple(f'class {number}' for number in range(5))


def test_a_run_that_starts_from_weights_prints_their_licence(tmp_path, capsys):
    file = write_safetensors(tensors_of('mit_narrow'), tmp_path / 'model.safetensors')
    config = configs.default('classification')
    config.model.update(name='mit', variant='b0')
    origin = run._open_origin(config, file)
    assert 'stage1_embedding' in origin.variables['params']['model']
    printed = capsys.readouterr().out
    assert str(file) in printed and 'non-commercial' in printed


@pytest.mark.parametrize(
    'path, size',
    [
        ('nvidia/segformer-b5-finetuned-ade-640-640/model.safetensors', 640),
        ('nvidia/segformer-b1-finetuned-cityscapes-1024-1024/model.safetensors', 1024),
    ],
)
def test_the_names_of_larger_segformers_tell_their_size(path, size):
    known = known_files.find(Path(path))
    assert (known.recipe, known.image_size) == ('segformer', size)
    assert known_files.find(Path('nvidia/segformer-b0/model.safetensors')) is None


def test_recipes_of_segmenters():
    bounded = recipes.named('torchvision_segmentation').preprocessing()
    assert (bounded.resize, bounded.size) == ('unpadded', (520, 8320))
    stretched = recipes.named('segformer').preprocessing()
    assert (stretched.size, stretched.shorter) == ((512, 512), 0)
    assert stretched.mean == bounded.mean == (0.485, 0.456, 0.406)
