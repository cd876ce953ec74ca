"""`bench --synthetic` where only JAX, Flax, Optax and what these need are installed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import ml_collections
import pytest

from jaxvision.cli.bench import bare
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError

ROOT = Path(__file__).parents[3]

# Run before anything else: what no allowed distribution depends on is not found any more.
HIDE = """
import sys
BEFORE = set(sys.modules)  # what an environment's .pth files import
import importlib.machinery, importlib.metadata, json, re

def distributions(names, found=()):
    for name in names:
        name = re.sub('[-_.]+', '-', re.match('[A-Za-z0-9._-]+', name)[0]).lower()
        if name not in found:
            found = (*found, name)
            try:
                wanted = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            found = distributions([text for text in wanted if 'extra ==' not in text], found)
    return found

allowed = set(distributions(['jax', 'jaxlib', 'flax', 'optax', 'jaxvision'], ('jaxvision',)))
names = lambda of: {re.sub('[-_.]+', '-', name).lower() for name in of}
HIDDEN = {package for package, of in importlib.metadata.packages_distributions().items()
          if not names(of) & allowed}

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition('.')[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if one is importlib.machinery.PathFinder else one
                    for one in sys.meta_path]
"""

SCRIPT = (
    HIDE
    + """
wanted = {'PIL', 'cv2', 'grain', 'jaxtyping', 'ml_collections', 'tensorboard', 'sklearn'}
assert wanted < HIDDEN and not HIDDEN & {'jax', 'flax', 'optax', 'numpy', 'orbax'}, HIDDEN
from jaxvision.bench import main
small = ['--synthetic', '--json', '--steps', '3', '--seconds', '0.1', '--config.data.image_size=8']
assert main(['--config', 'configs/cnn.py', *small, '--config.model.variant=4',
             '--batch_size', '4', '--classes', '7', '--examples', '50']) == 0
from jaxvision.models.backbones import resnet
from jaxvision.cli.bench import measure
resnet.VARIANTS['tiny'] = resnet.BasicBlock, (1, 1)
measure.BATCHES = 1, 8
assert main(['--config', 'configs/resnet.py:imagenet2012', *small, '--batch_size', '2',
             '--config.model.variant=tiny']) == 0
assert main(['--config', 'configs/few_shot.py', *small]) == 2
loaded = {name for name, module in sys.modules.items() if name.partition('.')[0] in HIDDEN
          and name not in BEFORE and type(module).__module__ != 'jaxvision.cli.bench.bare'}
assert not loaded, loaded
from pathlib import Path
from jaxvision.core import config as configs
print(json.dumps({str(file): configs.load(str(file)).to_dict()
                  for file in Path('configs').glob('*.py')}))
"""
)


def objects(text):
    """Every JSON object of a text that holds nothing else."""
    found = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_it_measures_with_nothing_but_jax_flax_and_optax():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cnn, resnet, files = objects(done.stdout)
    assert (
        cnn['data']
        == 'noise in the place of mnist5k: 7 classes, 50 images of 8 x 8 x 3'
    )
    assert (
        '1,000 classes, 50,000 images' in resnet['data']
        and resnet['dtype'] == 'bfloat16'
    )
    assert files and all(
        configs.load(str(ROOT / file)).to_dict() == fields
        for file, fields in files.items()
    )
    for found in (cnn, resnet):
        assert found['step']['seconds']['number'] == 3 and found['compute']['flops'] > 0
        assert 'no data' in found['input']['why']
    errors = [line for line in done.stderr.splitlines() if line.startswith('error')]
    assert errors == [
        'error: this config needs tensorflow_datasets.core.GeneratorBasedBuilder, '
        'and tensorflow_datasets is not installed here'
    ]


def test_what_is_installed_is_left_alone():
    assert all(bare._is_installed(name) for name in bare.PACKAGES)
    finder = bare.StandIns(['absent'])
    assert finder.find_spec('jaxtyping') is None and finder.find_spec('absent.inner')


def test_absent_names_are_empty_until_they_are_called(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path, bare.StandIns(['absent'])])
    from absent.inner import Thing

    assert Thing.constant is not None and (Thing | None) and (int | Thing.type)
    assert importlib.import_module('absent').setting
    with pytest.raises(
        UserError, match='needs absent.inner.Thing.make, and absent is not'
    ):
        Thing.make(3)
    for name in [name for name in sys.modules if name.startswith('absent')]:
        monkeypatch.delitem(sys.modules, name)


def test_annotations_say_nothing():
    shaped = bare.Annotations('jaxtyping')
    assert shaped.Float[shaped.Array, 'h w'] | None and (shaped.Array | None)


def built(kind):
    config = kind({'a': {'b': 1.0, 'c': 'text', 'options': {}}, 'n': 3})
    config.a.d = {'e': False}
    config.lock()
    config.a.b = 2
    config['n'] = 4
    with config.a.options.unlocked():
        config.a.options.free = 5
    return config


def test_the_small_config_is_as_ml_collections_has_it():
    ours, theirs = built(bare.ConfigDict), built(ml_collections.ConfigDict)
    assert (
        ours.to_dict() == theirs.to_dict()
        and type(ours.a.b) is type(theirs.a.b) is float
    )
    assert list(ours) == list(theirs) and dict(**ours.a.options) == dict(
        **theirs.a.options
    )
    assert type(ours.to_dict()['a']) is dict


@pytest.mark.parametrize(
    'mistake',
    [
        lambda c: c.nowhere,
        lambda c: c['nowhere'],
        lambda c: setattr(c, 'n', 'text'),
        lambda c: setattr(c, 'n', 0.5),
        lambda c: setattr(c.a, 'new', 1),
        lambda c: c.a.options.__setitem__('new', 1),
        lambda c: setattr(c.a, 'c', 7),
    ],
)
def test_the_small_config_refuses_what_ml_collections_refuses(mistake):
    for kind in (bare.ConfigDict, ml_collections.ConfigDict):
        with pytest.raises((AttributeError, KeyError, TypeError)):
            mistake(built(kind))
