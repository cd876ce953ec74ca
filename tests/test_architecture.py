"""The rooms of the package and their ranks, as docs/architecture.md has them."""

import ast
import contextlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'jaxvision'

# A room may import itself and the rooms of a lower rank.
RANKS = {
    'core': 1,
    'boxes': 2,
    'image': 2,
    'viz': 2,
    'attacks': 3,
    'attribution': 3,
    'losses': 3,
    'metrics': 3,
    'models': 3,
    'data': 4,
    'pretrained': 4,
    'train': 5,
    'tasks': 6,
    'cli': 7,
}
ENTRIES = {
    'main': 'cli',
    'predict': 'cli',
    'attack': 'cli',
    'calibrate': 'cli',
    'certify': 'cli',
    'corrupt': 'cli',
    'explain': 'cli',
    'export': 'cli',
    'bench': 'cli',
    'inspect': 'cli',
    'sweep': 'cli',
    'models/__main__': 'cli',
    '__main__': 'cli',
}
# Scripts that run where jaxvision is not installed.
STANDALONE = ('cli/export/exported', 'cli/export/calibrated')
FILES = sorted(PACKAGE.rglob('*.py'))


def name(path):
    return path.relative_to(PACKAGE).with_suffix('').as_posix()


def imported_modules(path):
    """Yield the dotted name of everything that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: a relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def imported_rooms(path):
    for module in imported_modules(path):
        parts = module.split('.')
        if parts[0] == 'jaxvision' and len(parts) > 1 and parts[1] != '__version__':
            yield parts[1]


def imported_files(path):
    """Yield the package's files that a file imports."""
    for module in imported_modules(path):
        parts = module.split('.')
        while len(parts) > 1 and parts[0] == 'jaxvision':
            file = PACKAGE.joinpath(*parts[1:]).with_suffix('.py')
            if file.exists():
                yield file
                break
            parts.pop()


@pytest.mark.parametrize('path', FILES, ids=name)
def test_a_file_imports_only_its_room_and_lower_ones(path):
    rooms = set(imported_rooms(path))
    if name(path) in STANDALONE:
        assert not rooms
        return
    if name(path) == '__init__':
        assert rooms <= {'core', 'train'}
        return
    if name(path) in ENTRIES:
        assert rooms <= {ENTRIES[name(path)]}
        return
    room = name(path).split('/')[0]
    lower = {other for other, rank in RANKS.items() if rank < RANKS[room]}
    assert rooms <= {room, *lower}


def test_a_task_imports_no_other_task():
    for path in PACKAGE.glob('tasks/*/*.py'):
        own = path.parent.name
        for module in imported_modules(path):
            parts = module.split('.')
            if parts[:2] == ['jaxvision', 'tasks'] and len(parts) > 2:
                assert parts[2] in {own, 'shared'}, name(path)


# Types that say nothing of what they hold. A named type, `Json` or `Tree`, says it.
BARE = {'Any', 'Callable', 'Mapping', 'Sequence', 'dict', 'list', 'set', 'tuple'}


def bare_types(annotation):
    """Yield the types in an annotation that stand there without their contents."""
    match annotation:
        case ast.Constant(value=str(text)) if text.strip():
            with contextlib.suppress(SyntaxError):  # The shape of an array.
                yield from bare_types(ast.parse(text, mode='eval').body)
        case ast.Name(id=name) if name in BARE:
            yield name
        case ast.Subscript(slice=contents):
            yield from bare_types(contents)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from bare_types(element)
        case ast.BinOp(left=left, right=right):
            yield from bare_types(left)
            yield from bare_types(right)


def is_public(name):
    return not name.startswith('_') or name in ('__init__', '__call__')


def public_annotations(body):
    """Yield (name, annotation) of what is public in a module or a class."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) if is_public(name):
                arguments = [
                    *node.args.posonlyargs,
                    *node.args.args,
                    *node.args.kwonlyargs,
                ]
                for argument in arguments:
                    if argument.arg not in ('self', 'cls'):
                        yield f'{name}({argument.arg})', argument.annotation
                if name != '__init__':
                    yield f'{name}()', node.returns
            case ast.ClassDef(name=name) if is_public(name):
                for inner, annotation in public_annotations(node.body):
                    yield f'{name}.{inner}', annotation
            case ast.AnnAssign(target=ast.Name(id=name)) if is_public(name):
                yield name, node.annotation


# Modules are callables whose types Flax does not know.
TYPED = [path for path in FILES if not name(path).startswith('models/')]


@pytest.mark.parametrize('path', TYPED, ids=name)
def test_every_public_type_says_what_it_holds(path):
    for where, annotation in public_annotations(ast.parse(path.read_text()).body):
        assert annotation is not None, f'{where} has no type'
        assert not list(bare_types(annotation)), f'{where}: {ast.unparse(annotation)}'


def test_no_imports_form_a_circle():
    imports = {path: set(imported_files(path)) for path in FILES}
    while leaves := {path for path, needed in imports.items() if not needed}:
        imports = {
            path: needed - leaves
            for path, needed in imports.items()
            if path not in leaves
        }
    assert not imports, sorted(map(name, imports))


@pytest.mark.parametrize('path', FILES, ids=name)
def test_only_models_import_linen_and_only_exports_tensorflow(path):
    for module in imported_modules(path):
        top = module.split('.')[0]
        assert not module.startswith('flax.linen') or name(path).startswith('models/')
        assert top not in ('torch', 'keras'), module
        assert top != 'tensorflow' or name(path) in STANDALONE, module


def test_the_engine_imports_no_model_and_no_task():
    for path in PACKAGE.glob('train/*.py'):
        assert not {'models', 'tasks'} & set(imported_rooms(path)), name(path)


def python(script):
    """Run a script in a new process and return what it prints."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Packages that are slow to import, or extras: imported where they are used.
HEAVY = (
    'PIL',
    'ai_edge_litert',
    'av',
    'cv2',
    'grain',
    'h5py',
    'matplotlib',
    'mlxtend',
    'nibabel',
    'optuna',
    'pydicom',
    'tifffile',
    'orbax',
    'safetensors',
    'simplejpeg',
    'skimage',
    'sklearn',
    'tensorboard',
    'tensorflow',
    'tensorflow_datasets',
)
# Heavy packages that a room's own files are about, and import as they are imported.
OWN = {
    'data': {'PIL', 'tensorflow_datasets', 'cv2'},  # TFDS imports OpenCV itself.
    'pretrained': {'h5py', 'safetensors'},
}


def heavy_after(statement):
    """Import something in a new process and return the heavy packages that it has loaded."""
    script = f"""
        import importlib, pkgutil, sys
        {statement}
        print(*[name for name in {HEAVY} if name in sys.modules])
    """
    return set(python(script).split())


@pytest.fixture(scope='module')
def heavy_by_room():
    """{room: heavy packages that are loaded when all its modules are}.

    Each room is imported in a fork of a process that has imported jax alone.
    """
    script = f"""
        import importlib, json, multiprocessing, pkgutil, sys
        import flax.linen, jax, optax

        def heavy_of(room):
            package = importlib.import_module(f'jaxvision.{{room}}')
            modules = pkgutil.walk_packages(package.__path__, package.__name__ + '.')
            for module in modules:
                importlib.import_module(module.name)
            return [name for name in {HEAVY} if name in sys.modules]

        assert not [name for name in {HEAVY} if name in sys.modules]
        rooms = {list(RANKS)}
        with multiprocessing.get_context('fork').Pool(1, maxtasksperchild=1) as pool:
            print(json.dumps(dict(zip(rooms, pool.map(heavy_of, rooms, chunksize=1)))))
    """
    return json.loads(python(script))


@pytest.mark.parametrize('room', RANKS)
def test_a_room_imports_no_heavy_package_but_its_own(room, heavy_by_room):
    assert set(heavy_by_room[room]) <= OWN.get(room, set())


@pytest.mark.parametrize(
    'module', ['data.sources', 'data.pipeline', 'data.video', 'pretrained.weights_file']
)
def test_the_way_into_a_room_imports_no_heavy_package(module):
    assert not heavy_after(f'import jaxvision.{module}')


def test_a_model_can_be_taken_alone():
    python("""
        import sys
        import jaxvision.models.backbones.resnet
        from absl import flags
        heavy = ('tensorflow', 'tensorflow_datasets', 'grain', 'orbax', 'tensorboard',
                 'matplotlib', 'ml_collections', 'jaxvision.data', 'jaxvision.train')
        loaded = [name for name in heavy if name in sys.modules]
        assert not loaded, loaded
        assert not flags.FLAGS.is_parsed()
    """)
