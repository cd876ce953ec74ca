"""Every config builds its task. Configs of tasks without a training test train two steps."""

import re
import runpy
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.box_files import write_voc

from jaxvision.core import config as configs
from jaxvision.core.task import Predictor
from jaxvision.data.composed import Composed
from jaxvision.data.wrappers import Subset
from jaxvision.train import loop
from jaxvision.train.run import begin

OPEN = Composed.open
CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*.py'))
# Configs that are trained here: tests/tasks trains the other tasks, and test_resume.py the config
# cnn. Only sizes shrink.
SMALLER = {
    'vit': ['model.options.depth=1'],
    'super_resolution': ['model.variant=1x4', 'task.patch=4', 'task.tile=8'],
}
# Patches that tile the 32x32 images below, or crops that fit into them.
PATCHES = {
    'vit': ['model.variant=Ti/4'],
    'super_resolution': ['task.patch=8'],
    'inpainting': ['task.crop=16'],
}


@pytest.fixture
def images(tmp_path):
    """A folder of a few 32x32 colour images, so that any model has room for its strides."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (tmp_path / 'images' / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'images' / name / f'{i}.png')
    return tmp_path / 'images'


def arguments(path):
    """The sources with a branch of their own in a config file, and None for the default."""
    return [None, *dict.fromkeys(re.findall(r"source == '([^']*)'", path.read_text()))]


def is_composed(config):
    """Whether the examples are composed of digits and hold more than images and labels."""
    return config.data.source.split('/')[0] in (
        'digit_pairs',
        'digit_scenes',
        'moving_digits',
    )


@pytest.fixture
def few_composed(monkeypatch):
    monkeypatch.setattr(
        Composed,
        'open',
        lambda self, split: Subset(OPEN(self, split), np.arange(40), split),
    )


def use_trained_extractor(config, trained):
    """Use an existing run as feature extractor, so that none is trained first."""
    if 'feature_extractor' in config.task:
        config.task.feature_extractor = str(trained)


def check_contracts(run):
    """Every task declares its predictor, its network and its metrics."""
    task = run.task
    assert task.predictor in typing.get_args(Predictor) and task.predictor != 'none'
    assert (task.tiling is not None) == (task.predictor == 'restoration')
    assert task.network and task.main_evaluation in task.evaluations
    assert task.best.removeprefix('-') in task.metrics
    pixels = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    if run.spec.preprocessing and len(run.spec.preprocessing.mean) == 3:
        assert jax.eval_shape(task.network.normalize, pixels).shape == pixels.shape


def shapes_and_dtypes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize(
    'path, argument',
    [(path, argument) for path in FILES for argument in arguments(path)],
    ids=lambda value: getattr(value, 'stem', value),
)
def test_a_config_builds_its_task_and_its_step(
    path, argument, images, tmp_path, trained, few_composed
):
    config = configs.load(f'{path}:{argument}' if argument else str(path))
    use_trained_extractor(config, trained)
    if argument:
        assert config.data.source == argument
        if config.to_dict() == configs.load(str(path)).to_dict():
            return  # The case without an argument builds it.
    declared = configs.fields(configs.default(config.task.name))
    fields = {name for name in configs.fields(config) if '.options.' not in name}
    assert fields <= {*declared, 'model.options', 'optimizer.options'}
    overrides = ['data.batch_size=4', *PATCHES.get(path.stem, [])]
    if not is_composed(config):
        overrides += [
            f'data.source=folder:{images}',
            'data.image_size=32',
            'data.test_split=',
        ]
    for override in overrides:
        configs.override(config, *override.split('=', 1))
    run = begin(config, tmp_path / 'run')
    state, scalars = jax.eval_shape(run.update, run.abstract(), run.abstract_batch())
    assert shapes_and_dtypes(state) == shapes_and_dtypes(run.abstract())
    assert {'loss', 'lr'} <= scalars.keys()
    check_contracts(run)
    assert any(name.endswith('gradient_norm') for name in scalars)


@pytest.mark.parametrize('name', SMALLER)
def test_a_config_trains(name, tmp_path, no_pictures):
    config = configs.load(f'{CONFIGS / name}.py:digits')
    for override in (
        *SMALLER[name],
        'data.batch_size=32',
        'optimizer.warmup=0',
        'train.steps=2',
    ):
        configs.override(config, *override.split('=', 1))
    result = loop.run(config, tmp_path)
    assert result.finished and result.step == 2
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_the_recipe_of_rt_detr_starts(tmp_path):
    """On a narrow network, from random weights instead of a file."""
    boxes = [(name, 3, 4, 20, 15) for name in ('cup', 'cat')]
    for number in range(8):
        write_voc(tmp_path / 'boxes', f'{number}', boxes[: 1 + number % 2], (64, 64))
    config = configs.load(f'{CONFIGS}/detection.py:voc:{tmp_path}/boxes,rt_detr')
    assert config.model.variant == 'r18vd' and not config.train.init_from
    config.model.variant = 'cnn:4x1-4x1-4x1-8x1-8-8'
    config.model.options = {'width': 8, 'hidden': 8, 'heads': 2, 'layers': 1}
    run = begin(config, tmp_path / 'run')
    state, scalars = jax.eval_shape(run.update, run.abstract(), run.abstract_batch())
    assert shapes_and_dtypes(state) == shapes_and_dtypes(run.abstract())
    assert {'loss', 'lr'} <= scalars.keys()
    check_contracts(run)


def test_a_config_file_imports_only_the_configs_module():
    for path in FILES:
        assert set(runpy.run_path(str(path))) >= {'get_config', 'configs'}, path
        assert path.read_text().startswith('"""'), path
