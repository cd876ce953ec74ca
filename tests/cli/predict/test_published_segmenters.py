"""`jaxvision predict --weights` with a segmenter's weights, which a small model stands for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision.cli.predict import command, weights
from jaxvision.core.errors import UserError
from jaxvision.models.segmenters import fcn, maps
from jaxvision.pretrained import recipes, weights_file
from jaxvision.pretrained.families import fcn as family

VARIANT = 'cnn:4x1-4x1-8x1'
OPTIONS = {'output_stride': 4, 'auxiliary': False}
MODEL = fcn.make(VARIANT, num_classes=21, **OPTIONS)
SIDE = 48
# {file: (height, width)}
SIZES = {'wide.png': (40, 90), 'high.png': (133, 50)}


@pytest.fixture
def variables():
    variables = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    # Several classes occur.
    scores = variables['params']['head']['scores']
    scores['kernel'] = 9 * jax.random.normal(jax.random.key(1), scores['kernel'].shape)
    return variables


@pytest.fixture
def open_file(monkeypatch, tmp_path, variables):
    """A function from the name of a recipe to the name of a file with the small model."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(variables):
        leaves['/'.join(key.key for key in path[1:])] = np.asarray(leaf)
    path = tmp_path / 'weights.pth'
    path.touch()

    def open_as(recipe):
        identity = weights_file.Identity(
            family.FORMATS[0],
            recipes.named(recipe),
            OPTIONS,
            0,
            family.FORMATS[0].classes(leaves),
        )
        read = weights_file.PretrainedWeights(leaves, identity)
        monkeypatch.setattr(weights_file, 'read', lambda path, family: read)
        return str(path)

    return open_as


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        pixels = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        Image.fromarray(pixels).save(tmp_path / name)
    return [tmp_path / name for name in SIZES]


def labels_by_hand(variables, path, size):
    """The class of each pixel, by Pillow and by the network alone."""
    image = Image.open(path)
    resized = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)) / 255
    normal = (resized - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    outputs, _ = jax.jit(MODEL.apply)(variables, normal[None].astype(np.float32))
    logits = maps.resized(outputs['logits'], size)
    probabilities = jax.nn.softmax(logits)
    return maps.resized(probabilities, (image.height, image.width))[0].argmax(axis=-1)


@pytest.mark.parametrize(
    'recipe, sizes, described',
    [
        # int(48 * 90 / 40) and int(48 * 133 / 50): the longer sides are rounded down.
        (
            'torchvision_segmentation',
            [(48, 108), (127, 48)],
            'shorter side to 48, longer side to at most 768',
        ),
        ('segformer', [(48, 48), (48, 48)], 'stretched to 48x48, bilinear'),
    ],
)
def test_label_maps_are_those_of_the_publishers_preprocessing(
    variables, open_file, photographs, recipe, sizes, described, tmp_path, capsys
):
    out = tmp_path / 'out'
    arguments = ['--weights', open_file(recipe), '--model', f'fcn:{VARIANT}']
    arguments += ['--image_size', str(SIDE), '--out', str(out)]
    assert command.main([*arguments, *map(str, photographs)]) == 0
    assert described in capsys.readouterr().out
    answers = json.loads((out / 'predictions.json').read_text())['files']
    for answer, path, size in zip(answers, photographs, sizes, strict=True):
        labels = np.asarray(Image.open(out / f'{path.stem}-labels.png'))
        expected = np.asarray(labels_by_hand(variables, path, size))
        assert len(np.unique(expected)) >= 3
        # Probabilities may be equal but for their rounding.
        assert (labels == expected).mean() > 0.999
        names = {entry['class'] for entry in answer['answer']['classes']}
        assert names <= set(
            family.FORMATS[0].classes({'head/scores/bias': np.zeros(21)}).names
        )


def test_published_segmenters_take_scales_flips_and_tiles(
    open_file, photographs, tmp_path
):
    file = open_file('torchvision_segmentation')
    arguments = ['--weights', file, '--model', f'fcn:{VARIANT}', '--image_size', '48']
    for name, views in {
        'scales': ['--scales', '0.5,1', '--flips'],
        'tiles': ['--tile', '32'],
    }.items():
        out = tmp_path / name
        given = [*arguments, *views, '--out', str(out), str(photographs[0])]
        assert command.main(given) == 0
        labels = Image.open(out / 'wide-labels.png')
        assert labels.size == SIZES['wide.png'][::-1]


def test_a_segmenter_does_not_classify_by_examples(open_file):
    options = weights.Options(model=f'fcn:{VARIANT}')
    with pytest.raises(UserError, match='expected weights of a classifier'):
        weights.open_weights(
            open_file('torchvision_segmentation'), options, by_support=True
        )


@pytest.mark.parametrize('recipe', ['torchvision', 'torchvision_detection'])
def test_a_recipe_that_cuts_images_is_refused(open_file, recipe):
    options = weights.Options(model=f'fcn:{VARIANT}', recipe=recipe)
    with pytest.raises(UserError, match=f'--recipe={recipe}: expected a recipe of seg'):
        weights.open_weights(open_file('torchvision_segmentation'), options)


def test_a_classifier_refuses_the_recipe_of_segmenters(open_file):
    file = open_file('torchvision')
    options = weights.Options(model='resnet:18', recipe='torchvision_segmentation')
    with pytest.raises(UserError, match='expected a recipe of classifiers'):
        weights.open_weights(file, options)
