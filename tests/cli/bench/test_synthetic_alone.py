"""`bench --synthetic` where only jax, flax, optax, numpy, jaxtyping and ml_collections exist."""

import json
import subprocess
import sys
from pathlib import Path

from jaxvision.core import config as configs

ROOT = Path(__file__).parents[3]

# Runs before anything else: any package that is not allowed is not found any more.
HIDE = """
import importlib.metadata, re, sys

DISTRIBUTIONS = ['jax', 'jaxlib', 'flax', 'optax', 'numpy', 'jaxtyping', 'ml-collections']
HIDDEN = ['orbax-checkpoint', 'orbax-export']  # Flax depends on them and does not import them.


def normalized(requirement):
    name = re.match('[A-Za-z0-9._-]+', requirement)[0]
    return re.sub('[-_.]+', '-', name).lower()


def with_dependencies(names):
    found, waiting = set(), list(names)
    while waiting:
        name = normalized(waiting.pop())
        if name in found or name in HIDDEN:
            continue
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [text for text in requirements if 'extra ==' not in text]
    return found


distributions = with_dependencies(DISTRIBUTIONS)
ALLOWED = {'jaxvision', '__main__', *sys.stdlib_module_names}
for package, owners in importlib.metadata.packages_distributions().items():
    if {normalized(owner) for owner in owners} & distributions:
        ALLOWED.add(package)


def is_allowed(module):
    package = module.partition('.')[0]
    return package in ALLOWED or package.startswith('_sysconfigdata')  # Python's own.


class OnlyAllowed:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return self.finder.find_spec(name, path, target) if is_allowed(name) else None


sys.meta_path[:] = map(OnlyAllowed, sys.meta_path)
for name in list(sys.modules):  # An environment's .pth files import some.
    if not is_allowed(name):
        del sys.modules[name]
"""

SCRIPT = (
    HIDE
    + """
import importlib, json
from pathlib import Path

for name in ('PIL', 'av', 'cv2', 'grain', 'h5py', 'matplotlib', 'mlxtend', 'orbax', 'simplejpeg',
             'skimage', 'sklearn', 'tensorboard', 'tensorflow', 'tensorflow_datasets'):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    raise AssertionError(f'{name} is not hidden')

from jaxvision.bench import main
from jaxvision.cli.bench import measure
from jaxvision.core import config as configs
from jaxvision.models.backbones import resnet

measure.BATCHES = 1, 8
small = ['--synthetic', '--json', '--steps', '3', '--seconds', '0.1', '--config.data.image_size=8']
assert main(['--config', 'configs/cnn.py', *small, '--config.model.variant=4',
             '--batch_size', '4', '--classes', '7', '--examples', '50']) == 0
resnet.SIZES['tiny'] = resnet.BasicBlock, (1, 1)
resnet.VARIANTS = 'tiny', *resnet.VARIANTS
assert main(['--config', 'configs/resnet.py:imagenet2012', *small, '--batch_size', '2',
             '--config.model.variant=tiny']) == 0
assert main(['--config', 'configs/few_shot.py', *small]) == 2
print(json.dumps({str(file): configs.load(str(file)).to_dict()
                  for file in Path('configs').glob('*.py')}))
loaded = [name for name, module in sys.modules.items()
          if getattr(module, '__spec__', None) and not is_allowed(name)]
assert not loaded, loaded
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
    assert cnn['data'] == 'noise instead of mnist5k: 7 classes, 50 images of 8 x 8 x 3'
    assert '1,000 classes, 50,000 images' in resnet['data']
    assert resnet['dtype'] == 'bfloat16'
    assert files
    for file, fields in files.items():
        assert configs.load(str(ROOT / file)).to_dict() == fields
    for result in (cnn, resnet):
        assert result['step']['seconds']['number'] == 3
        assert result['compute']['flops'] > 0
        assert 'no data' in result['input']['why']
    errors = [line for line in done.stderr.splitlines() if line.startswith('error')]
    assert errors == [
        'error: --config=configs/few_shot.py: expected the package '
        'tensorflow_datasets, which is not installed. Install jaxvision with its dependencies.'
    ]
