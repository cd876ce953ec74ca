"""Who may import whom; the table is the design, and the code is held to it."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'jaxvision'
PURE = {'keys', 'errors', 'models', 'losses', 'image', 'metrics', 'video'}
ENGINE = {'keys', 'config', 'errors', 'task', 'figures', 'train', 'weights'}

# A room or a file -> the rooms that it may import; the most exact entry counts.
MAY_IMPORT = {
    'errors': set(),
    'keys': set(),
    'cache': set(),
    'figures': set(),
    'tables': set(),
    'config': {'errors'},
    'models': PURE,
    'losses': PURE,
    'image': PURE,
    'metrics': PURE,
    'video': PURE,
    'weights': {'weights', 'errors', 'image'},
    'data': {'cache', 'data', 'image', 'keys', 'errors'},
    'task': {'train'},
    'train': ENGINE,
    **{
        f'train/{file}': ENGINE | {'data'}
        for file in ('loop', 'run', 'evaluation', 'generated', 'sources')
    },
    'train/freezing': ENGINE | {'models'},
    'train/required': ENGINE | {'cache'},
    'train/fitting': ENGINE | {'cache'},
    'tasks': PURE | {'config', 'data', 'task', 'tasks', 'figures', 'train', 'weights'},
    'speed': {'speed', 'errors'},
    'deploy': {'deploy', 'errors'},
    'deploy/exported': set(),
    'deploy/calibrated': set(),
    **{f'speed/{file}': {'speed', 'data', 'train'} for file in ('compiled', 'measure')},
    '__init__': {'train'},
    'start': {'cache'},
    'main': {'config', 'errors', 'start', 'train'},
    'export': {'deploy', 'errors', 'models', 'start', 'train'},
    'predict': {'answers', 'data', 'errors'},
    'answers': {
        'answers',
        'config',
        'data',
        'deploy',
        'errors',
        'figures',
        'image',
        'keys',
        'start',
        'tables',
        'train',
        'weights',
    },
    'bench': {'config', 'data', 'errors', 'speed', 'start', 'train'},
}
ONLY_THE_STATE = {'task': 'jaxvision.train.state'}
NOT_THE_LOOP = ('jaxvision.train.loop', 'jaxvision.train.run')
FILES = sorted(PACKAGE.rglob('*.py'))


def name(path):
    return path.relative_to(PACKAGE).with_suffix('').as_posix()


def imports(path):
    """Every module that a file imports, wherever in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: a relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('path', FILES, ids=name)
def test_a_file_imports_only_what_its_room_may(path):
    room = name(path).split('/')[0]
    allowed = MAY_IMPORT.get(name(path), MAY_IMPORT.get(room))
    assert allowed is not None, f'{name(path)} has no place in the design'
    for module in imports(path):
        if module.startswith('jaxvision.') and not module.startswith(
            'jaxvision.__version__'
        ):
            assert module.split('.')[1] in allowed, module
            if room == 'tasks':
                assert not module.startswith(NOT_THE_LOOP), module
            if room in ONLY_THE_STATE:
                assert module.startswith(ONLY_THE_STATE[room]), module


@pytest.mark.parametrize('path', FILES, ids=name)
def test_only_models_import_linen_and_only_exports_tensorflow(path):
    for module in imports(path):
        assert not module.startswith('flax.linen') or name(path).startswith(
            'models/'
        ), module
        assert module.split('.')[0] not in ('torch', 'keras'), module
        assert module.split('.')[0] != 'tensorflow' or name(path) in (
            'deploy/exported',
            'deploy/calibrated',
        ), module


@pytest.mark.parametrize('path', FILES, ids=name)
def test_only_the_engines_run_and_config_resolve_names(path):
    called = {
        getattr(node.func, 'id', getattr(node.func, 'attr', ''))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    if 'resolve' in called and not name(path).startswith('tasks/'):
        assert name(path) in (
            'config',
            'train/run',
            'train/required',
            'train/sources',
            'train/pretrained',
        )


def python(script):
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_model_can_be_taken_alone():
    python("""
        import sys
        import jaxvision.models.resnet
        from absl import flags
        heavy = ('tensorflow', 'tensorflow_datasets', 'grain', 'orbax', 'tensorboard',
                 'matplotlib', 'ml_collections', 'jaxvision.data', 'jaxvision.train')
        loaded = [name for name in heavy if name in sys.modules]
        assert not loaded, loaded
        assert not flags.FLAGS.is_parsed()
    """)


def test_training_needs_no_tensorflow_though_it_is_installed(tmp_path):
    python(f"""
        import sys
        from pathlib import Path
        Path({str(tmp_path)!r}, 'c.py').write_text(
            "from jaxvision import config as configs\\n"
            "def get_config():\\n"
            "    config = configs.default('classification')\\n"
            "    config.data.source, config.model.name = 'digits', 'cnn'\\n"
            "    config.model.variant, config.train.steps = '4', '2'\\n"
            "    return config\\n")
        from jaxvision.main import main
        assert main(['--config', {str(tmp_path / 'c.py')!r}, '--workdir',
                     {str(tmp_path / 'run')!r}]) == 0
        assert 'tensorflow' not in sys.modules
        # With it hidden nothing would change: it is not even looked for.
    """)
