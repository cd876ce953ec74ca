"""What a task learns of the whole training split at once, before the first step."""

import hashlib
import json
import zipfile
from pathlib import Path

import jax
import numpy as np

import jaxvision
from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.core.state import TrainState
from jaxvision.core.trees import content_hash
from jaxvision.train import evaluation, init_from, processes, sharding
from jaxvision.train.run import Run


def fit(run: Run, state: TrainState) -> TrainState:
    """The state with what `task.fit` settles, if there is one."""
    if not run.task.fit:
        return state
    leaves, scalars = run.task.fit.solve(_records(run, state))
    told = ', '.join(f'{name} {value:.4g}' for name, value in scalars.items())
    processes.say(f'fitted to {run.spec["examples"]:,} examples: {told}')
    filled = jax.jit(init_from.fill, out_shardings=sharding.place(run.mesh, run.shapes))
    return filled(state, processes.arrays_of_first(leaves))


def _records(run: Run, state: TrainState) -> evaluation.Records:
    """Those of the training split, kept for the next run that stands on the same."""
    file = (
        _file(run, state) if jax.process_count() == 1 else None
    )  # caches need not be one
    kept = _read(file) if file else None
    if kept:
        processes.say(f'features of {run.spec["examples"]:,} examples, from {file}')
        return kept
    processes.say(f'features of {run.spec["examples"]:,} examples ...')
    record = sharding.compile_evaluate(run.task.fit.record, run.mesh, run.shapes)
    records = evaluation.gather(run, record, 'train', state)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, 'wb') as content:
            np.savez(content, **records)
    return records


def _file(run: Run, state: TrainState) -> Path:
    """By all that the records are made of."""
    made_of = [
        jaxvision.__version__,
        jax.__version__,
        run.config.model.to_dict(),
        {name: run.spec[name] for name in sorted(run.spec) if name != 'initial'},
        content_hash(run.task.fit.stands_on(state)),
    ]
    found = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    return cache_folder('features') / f'{found.hexdigest()[:24]}.npz'


def _read(file: Path) -> evaluation.Records | None:
    try:
        with np.load(file, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # not there, or damaged
        return None
