"""A map over the examples of a split on the device, then a reduce on the host."""

import time
from collections import deque
from pathlib import Path

import jax
import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluate, Evaluation, metric_name
from jaxvision.core.types import Records, Split
from jaxvision.data import pipeline
from jaxvision.data.wrappers import Subset
from jaxvision.train import processes, sharding
from jaxvision.train.run import Run
from jaxvision.train.writers import duration
from jaxvision.viz import figures

LAG = 2  # batches between the computation of records and their reading


# What stands before the names of a split's metrics.
PREFIXES: dict[Split, str] = {'validation': 'validation', 'test': 'eval'}


def measure(
    run: Run, state: TrainState, split: Split
) -> tuple[dict[str, float], Records]:
    """Measure every evaluation on a split.

    Args:
        run: the run.
        state: the state that is evaluated.
        split: 'validation' or 'test'.

    Returns:
        (the metrics, 'validation/...' or 'eval/...', and the records of the main evaluation).
        'left_out' counts the examples that cannot be read, where there are some.
    """
    start = time.monotonic()
    metrics = {}
    left_out = []
    main_records = {}
    for name, evaluation in run.task.evaluations.items():
        records = gather(run, run.evaluate[name], split, state)
        values = evaluation.summarize(records)
        _check_declared(name, evaluation, values)
        for metric, value in values.items():
            metrics[f'{PREFIXES[split]}/{metric_name(name, metric)}'] = float(value)
        total = len(run.sources[split])
        missing = total - len(records['index'])
        if missing:
            left_out_name = f'{PREFIXES[split]}/{metric_name(name, "left_out")}'
            metrics[left_out_name] = float(missing)
            left_out.append(
                f'; {PREFIXES[split]} is over {total - missing:,} of {total:,} examples, as '
                f'{missing:,} cannot be read'
            )
        if name == run.task.main_evaluation:
            main_records = records
    text = '  '.join(f'{name} {value:.4g}' for name, value in metrics.items())
    took = duration(time.monotonic() - start)
    processes.say(f'step {int(state.step)}: {text}  ({took}){"".join(left_out)}')
    return metrics, main_records


def _check_declared(
    name: str, evaluation: Evaluation, values: dict[str, float]
) -> None:
    declared = set(evaluation.metrics)
    if declared and declared != values.keys():
        raise UserError(
            f'evaluation {name!r} declares the metrics {sorted(declared)}, and its '
            f'summarize returned {sorted(values)}. Make them the same'
        )


def gather(run: Run, evaluate: Evaluate, split: Split, state: TrainState) -> Records:
    """The records of every example of a split, in the split's order, padding dropped."""
    config, pending, parts = run.config.data, deque(), []
    whole = -(-config.batch_size // run.mesh.size) * run.mesh.size
    batches = pipeline.eval_batches(
        run.sources[split],
        run.task.prepare,
        batch_size=whole,
        process=(jax.process_index(), jax.process_count()),
        threads=config.threads,
        on_corrupt=config.on_corrupt,
        counter=run.unreadable,
    )
    for batch in sharding.prefetch(run.mesh, batches):
        pending.append(evaluate(state, batch))
        if len(pending) > LAG:
            parts.append(jax.device_get(pending.popleft()))
    parts += jax.device_get(list(pending))
    records = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    rows = np.flatnonzero(records.pop('present'))
    rows = rows[np.argsort(records['index'][rows], kind='stable')]
    return {name: values[rows] for name, values in records.items()}


def examples(run: Run, split: Split, count: int) -> Records:
    """`count` examples spread evenly over a split, or all of fewer, prepared and stacked."""
    config, source = run.config.data, run.sources[split]
    rows = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    parts = list(
        pipeline.eval_batches(
            Subset(source, rows, split),
            run.task.prepare,
            batch_size=min(32, len(rows)),
            threads=config.threads,
            on_corrupt=config.on_corrupt,
            counter=run.unreadable,
        )
    )
    stacked = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    read = stacked.pop('present')
    # The last batch is padded.
    missing = len(rows) - int(read.sum())
    if missing:
        processes.say(
            f'{missing:,} of {len(rows):,} examples of {split} cannot be read and are left '
            'out'
        )
    return {name: values[read] for name, values in stacked.items()}


def inputs(run: Run, prepared: Records) -> Records:
    """What `predict` is given for prepared examples."""
    make = run.task.main.inputs
    made = jax.device_get(jax.jit(make)(prepared)) if make else prepared
    return {name: made[name] for name in run.spec.inputs}


def draw(
    run: Run, records: Records, split: Split, folder: Path, step: int | None = None
) -> None:
    """Draw the task's figures of the main evaluation.

    Args:
        run: the run, whose task may have no figures.
        records: those of the main evaluation.
        split: the split that they are of.
        folder: where the pictures are saved.
        step: the step that the names of the files have, or None for none.
    """
    if not run.task.figures or not processes.is_first():
        return
    prepare = run.task.prepare
    source = run.sources[split]

    def example(row):
        return prepare(source[row], None) if prepare else source[row]

    for name, picture in run.task.figures(records, example).items():
        when = '' if step is None else f'-{step:06}'
        figures.save(folder / f'{name}{when}.png', picture)
