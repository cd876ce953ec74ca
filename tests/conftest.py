"""Caches of the session's own, shared with its subprocesses; runs small enough for a test."""

import fcntl
import gc
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

_CACHE = pytest.StashKey[str]()


def pytest_configure(config):
    import jax

    # Tracing makes many objects that live long; at Python's 700 the collector takes a tenth.
    gc.set_threshold(100_000, 20, 20)
    if not hasattr(
        config, 'workerinput'
    ):  # pytest-xdist's workers share this process's
        cache = config.stash[_CACHE] = tempfile.mkdtemp(prefix='jaxvision-tests-')
        os.environ['XDG_CACHE_HOME'] = (
            cache  # of embedded data sets and compiled programs
        )
        # Small programs that run a few times: most of their time is LLVM's, and the newer emitters
        # (the only ones of jax 0.12, which ignores this) give it more to do.
        os.environ['XLA_FLAGS'] = ' '.join(
            [
                os.environ.get('XLA_FLAGS', ''),
                '--xla_backend_optimization_level=0',
                '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters',
                # One LLVM module a program: splitting small ones costs a tenth.
                '--xla_cpu_parallel_codegen_split_count=1',
            ]
        ).strip()
    programs = os.path.join(os.environ['XDG_CACHE_HOME'], 'jaxvision', 'xla')
    jax.config.update('jax_compilation_cache_dir', programs)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Workers of `pytest -n auto`: one for each core that this process may use, and one more.

    Some tests wait for other processes. The default counts the machine's physical cores.
    """
    named = 'PYTEST_XDIST_AUTO_NUM_WORKERS' in os.environ
    if named or not hasattr(os, 'sched_getaffinity'):
        return None
    return len(os.sched_getaffinity(0)) + 1


# Files of 40 s or more. They start first, so that no worker is left alone with one.
LONGEST_FILES = (
    'cli/export/test_export_command.py',
    'train/test_processes.py',
    'tasks/test_captioning_task.py',
    'tasks/test_gan_task.py',
    'tasks/test_detection_task.py',
    'cli/export/test_formats.py',
    'train/test_layouts.py',
    'pretrained/test_weights_file.py',
    'train/test_loop.py',
    'tests/test_configs.py',
    'tasks/test_few_shot_task.py',
    'tasks/test_video_summary_task.py',
)


def pytest_collection_modifyitems(items):
    # The sort is stable: within a file, and among the other files, the order stays.
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST_FILES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Whole files to a worker, because the tests of a file share trained runs."""
    if config.getvalue('dist') != 'load':  # What `-n` alone chooses.
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = (
        False  # It would start files with many tests first.
    )

    return LoadFileScheduling(config, log)


def pytest_unconfigure(config):
    # Pytest collects garbage at exit. Frozen objects are skipped, which saves time.
    gc.freeze()
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


@pytest.fixture(autouse=True)
def own_flags(monkeypatch):
    """A program that a test calls in this process adds to the flags of those that it starts."""
    monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'])


@pytest.fixture(scope='session')
def tiny():
    """tiny('optimizer.lr=0.1', ...): a config of a few steps on `digits`."""

    def make(*overrides):
        from jaxvision.core import config as configs

        config = configs.default('classification')
        base = (
            'data.source=digits',
            'data.batch_size=32',
            'model.name=cnn',
            'model.variant=8',
            'optimizer.lr=0.01',
            'train.steps=6',
            'train.log_every=1',
            'train.eval_every=3',
            'train.checkpoint_every=3',
        )
        for text in (*base, *overrides):
            path, _, value = text.partition('=')
            configs.override(config, path, value)
        return config

    return make


@pytest.fixture(scope='session', autouse=True)
def drawing_is_left_out():
    """Every run draws its curves, and that takes longer than its steps.

    tests/viz is about figures. Some tests of whole runs ask for `drawn` too.
    """
    from helpers import drawing

    with drawing.left_out():
        yield


@pytest.fixture
def drawn():
    """Figures are drawn, as for a user."""
    from helpers import drawing

    with drawing.done():
        yield


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures are not even put together; tests/viz is about them."""
    from jaxvision.viz import detection_figures, figures

    drawn = {
        figures: ('curves', 'matrix', 'gallery'),
        detection_figures: ('precision_recall', 'f1', 'errors'),
    }
    for module, names in drawn.items():
        for name in names:
            monkeypatch.setattr(
                module, name, lambda *_, **__: np.zeros((1, 1, 3), np.uint8)
            )


@pytest.fixture(scope='session')
def trained(tiny):
    """The folder of a finished run, which tests read and do not change.

    One worker trains it for all.
    """
    from jaxvision.train import loop

    cache = Path(os.environ['XDG_CACHE_HOME'])
    config = tiny('train.keep=1', 'optimizer.lr=0.03', 'optimizer.schedule=constant')
    with (cache / 'trained.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / 'trained').exists():
            loop.run(config, cache / 'in_training')
            (cache / 'in_training').rename(cache / 'trained')
    return cache / 'trained'


@pytest.fixture(scope='session')
def fake(tmp_path_factory):
    """fake('upscaler', 'task.channels=1', ...): the folder of a run of a task in helpers/fakes."""

    def make(task, *overrides):
        from helpers.untrained import save_untrained

        from jaxvision.core import config as configs

        config = configs.default(f'helpers.fakes.{task}')
        for text in ('data.source=digits', 'data.batch_size=4', *overrides):
            path, _, value = text.partition('=')
            configs.override(config, path, value)
        workdir = tmp_path_factory.mktemp(task)
        save_untrained(config, workdir)
        return workdir

    return make


@pytest.fixture
def main(capsys, tmp_path, monkeypatch):
    """predict's main(argument, ...) -> (exit code, stdout, stderr, entries by file or picture), in
    a folder of its own"""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        from jaxvision.cli.predict import command as predict

        code = predict.main([str(argument) for argument in arguments])
        file = tmp_path / 'predictions' / 'predictions.json'
        found = json.loads(file.read_text())['files'] if file.exists() else []
        return (
            code,
            *capsys.readouterr(),
            {entry.get('file', entry.get('picture')): entry for entry in found},
        )

    return call


@pytest.fixture
def photos(tmp_path):
    """A folder with 20 files a class of three classes, grey digits of unequal sizes."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    root = tmp_path / 'photos'
    for label, name in enumerate(('nought', 'one', 'two')):
        (root / name).mkdir(parents=True)
        for i, pixels in enumerate(digits.images[digits.target == label][:20]):
            image = Image.fromarray((pixels * 15).astype(np.uint8))
            image.resize((9 + i % 4, 8 + i % 3)).save(root / name / f'{i:02}.png')
    return root
