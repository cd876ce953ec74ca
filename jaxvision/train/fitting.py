"""What a task learns of the whole training split at once, before the first step."""

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
from jaxvision.train import evaluation, init_from, processes, sharding
from jaxvision.train.run import Run


def solve(run: Run, state: TrainState) -> TrainState:
    """Set the leaves of the state that `task.fit` solves for, if there is one."""
    fit = run.task.fit
    if not fit:
        return state
    records = _records(run, fit, state)
    leaves, scalars = fit.solve(records)
    values = ', '.join(f'{name} {value:.4g}' for name, value in scalars.items())
    count = len(next(iter(records.values())))
    of_all = '' if count == run.spec.examples else f' of {run.spec.examples:,}'
    processes.say(f'fitted to {count:,}{of_all} examples: {values}')
    filled = jax.jit(init_from.fill, out_shardings=sharding.place(run.mesh, run.shapes))
    return filled(state, processes.arrays_of_first(leaves))


def _records(run: Run, fit: Fit, state: TrainState) -> evaluation.Records:
    """The records of the training split, from the cache where a run has made them before."""
    # The caches of several processes need not be one.
    single = jax.process_count() == 1
    file = _file(run, fit, state) if single else None
    kept = _read(file) if file else None
    if kept:
        processes.say(f'features of {run.spec.examples:,} examples, from {file}')
        return kept
    processes.say(f'features of {run.spec.examples:,} examples ...')
    record = sharding.compile_evaluate(fit.record, run.mesh, run.shapes)
    records = evaluation.gather(run, record, 'train', state)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = records
        with atomic_write(file, 'wb') as content:
            np.savez(content, **arrays)
    return records


def _file(run: Run, fit: Fit, state: TrainState) -> Path:
    """The cache file of the records, named by all that they depend on."""
    made_of = [
        jaxvision.__version__,
        jax.__version__,
        run.config.model.to_dict(),
        run.spec.replace(initial='').to_json(),
        content_hash(fit.depends_on(state)),
    ]
    found = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    return cache_folder('features') / f'{found.hexdigest()[:24]}.npz'


def _read(file: Path) -> evaluation.Records | None:
    try:
        with np.load(file, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # not there, or damaged
        return None
