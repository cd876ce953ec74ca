"""The fit of `task.fit` on the whole training split, before the first step."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxvision
from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.core.state import TrainState
from jaxvision.core.task import Fit
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Records
from jaxvision.train import evaluation, init_from, processes, sharding
from jaxvision.train.run import Run
from jaxvision.train.writers import listed


def solve(run: Run, state: TrainState) -> TrainState:
    """Set the leaves of a state that `task.fit` solves for, if the task has a fit.

    All processes of a run must call it together. A single process reads the records of
    the training split from the user's cache, or computes them and writes them there.

    Args:
        run: the run.
        state: the state before the first step.

    Returns:
        The state with these leaves; `state` itself if the task has no fit.
    """
    fit = run.task.fit
    if not fit:
        return state
    records = _records(run, fit, state)
    leaves, scalars = fit.solve(records)
    count = f'{len(next(iter(records.values()))):,}'
    total = f'{run.spec.examples:,}'
    if count != total:
        count += f' of {total}'
    processes.say(f'fitted to {count} examples: {listed(scalars)}')
    placed = sharding.place(run.mesh, run.shapes)
    fill = jax.jit(init_from.fill, out_shardings=placed)
    return fill(state, processes.arrays_of_first(leaves))


def _records(run: Run, fit: Fit, state: TrainState) -> Records:
    """Compute the records of the training split, or read them from the user's cache."""
    # The caches of several processes may differ.
    if jax.process_count() > 1:
        return _computed(run, fit, state)
    file = _file(run, fit, state)
    cached = _read(file)
    if cached:
        processes.say(f'features of {run.spec.examples:,} examples, from {file}')
        return cached
    records = _computed(run, fit, state)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = records
    with atomic_write(file, 'wb') as content:
        np.savez(content, **arrays)
    return records


def _computed(run: Run, fit: Fit, state: TrainState) -> Records:
    processes.say(f'features of {run.spec.examples:,} examples ...')
    record = sharding.compile_evaluate(fit.record, run.mesh, run.shapes)
    return evaluation.gather(run, record, 'train', state)


def _file(run: Run, fit: Fit, state: TrainState) -> Path:
    """Name the cache file of the records by a hash of everything they depend on."""
    dependencies = [
        jaxvision.__version__,
        jax.__version__,
        run.config.model.to_dict(),
        run.spec.replace(initial='').to_json(),
        content_hash(fit.depends_on(state)),
    ]
    text = json.dumps(dependencies, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return cache_folder('features') / f'{digest[:24]}.npz'


def _read(file: Path) -> Records | None:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    # The file is missing or damaged.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
