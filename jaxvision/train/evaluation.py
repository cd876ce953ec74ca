"""A map over the examples of a split on the device, then a reduction on the host."""

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.state import TrainState
from jaxvision.core.task import Compact, Evaluate, Evaluation, metric_name
from jaxvision.core.types import Batch, Example, MetricValues, Prepare, Records, Split
from jaxvision.data import pipeline
from jaxvision.data.protocol import Source, annotation_of
from jaxvision.data.wrappers import Subset
from jaxvision.train import processes, sharding
from jaxvision.train.run import Run
from jaxvision.train.writers import duration, listed
from jaxvision.viz import figures

# Batches between the computation of records and their reading.
LAG = 2

# The beginning of the metric names of each split.
PREFIXES: dict[Split, str] = {'validation': 'validation', 'test': 'eval'}


def measure(run: Run, state: TrainState, split: Split) -> tuple[MetricValues, Records]:
    """Run every evaluation of the task on a split, and print the metrics.

    All processes of a run must call it together.

    Args:
        run: the run.
        state: the state to evaluate.
        split: 'validation' or 'test'.

    Returns:
        ({metric: value}, records of the main evaluation). The name of a metric is
        'validation/NAME' for the validation split and 'eval/NAME' for the test split.
        NAME is METRIC for the evaluation 'eval', and EVALUATION/METRIC for others.
        METRIC is 'left_out' for the number of unreadable examples, if there are any.
        The records are {name: array [N, ...]} of all readable examples, in the order of
        the split.

    Raises:
        UserError: An evaluation returns other metrics than it declares, an example is
            unreadable while `data.on_corrupt` is 'stop', or no example is readable.
    """
    start = time.monotonic()
    prefix = PREFIXES[split]
    total = len(run.sources[split])
    metrics = {}
    remarks = []
    main_records = {}
    for name, evaluation in run.task.evaluations.items():
        records = gather(run, run.evaluate[name], split, state, evaluation)
        values = evaluation.summarize(records)
        _check_declared(name, evaluation, values)
        for metric, value in values.items():
            metrics[f'{prefix}/{metric_name(name, metric)}'] = float(value)
        readable = len(records['index'])
        left_out = total - readable
        if left_out:
            metrics[f'{prefix}/{metric_name(name, "left_out")}'] = float(left_out)
            remarks.append(
                f'; {prefix} is over {readable:,} of {total:,} examples, as {left_out:,} '
                'cannot be read'
            )
        if name == run.task.main_evaluation:
            main_records = records
    took = duration(time.monotonic() - start)
    step = int(state.step)
    processes.say(f'step {step}: {listed(metrics)}  ({took}){"".join(remarks)}')
    return metrics, main_records


def _check_declared(name: str, evaluation: Evaluation, values: MetricValues) -> None:
    declared = set(evaluation.metrics)
    # METRIC/CLASS has no value where no example of the class is in the split.
    required = {metric for metric in declared if '/' not in metric}
    if declared and not required <= values.keys() <= declared:
        raise UserError(
            f'evaluation {name!r} declares the metrics {sorted(declared)}, but its '
            f'summarize returned {sorted(values)}. Make them equal'
        )


def gather(
    run: Run,
    evaluate: Evaluate,
    split: Split,
    state: TrainState,
    evaluation: Evaluation | None = None,
) -> Records:
    """Compute the records of every example of a split, in order, without padding.

    All processes of a run must call it together, and all get all records.

    Args:
        run: the run.
        evaluate: a map that `sharding.compile_evaluate` compiled. It must not replicate
            the records of an evaluation with `compact`.
        split: the split.
        state: the state to evaluate.
        evaluation: the evaluation that says how records are made compact; None: they
            stay as they are.

    Returns:
        {name: array [N, ...]} on the host. 'index' holds the row of each example in the
        split. Unreadable examples are left out.

    Raises:
        UserError: An example is unreadable while `data.on_corrupt` is 'stop', or no
            example is readable.
    """
    return gather_from(run, evaluate, run.sources[split], state, evaluation)


def gather_from(
    run: Run,
    evaluate: Evaluate,
    source: Source,
    state: TrainState,
    evaluation: Evaluation | None = None,
    prepare: Prepare | None = None,
) -> Records:
    """Compute the records of every example of a source, see `gather`.

    Args:
        run: the run.
        evaluate: a map that `sharding.compile_evaluate` compiled.
        source: the examples, of a split or of other data.
        state: the state to evaluate.
        evaluation: the evaluation that says how records are made compact; None: they
            stay as they are.
        prepare: `(example, None) -> example` on the host; None: that of the task.
    """
    config = run.config.data
    # Rounded up to a multiple of the number of devices.
    batch_size = -(-config.batch_size // run.mesh.size) * run.mesh.size
    batches = pipeline.eval_batches(
        source,
        prepare or run.task.prepare,
        batch_size=batch_size,
        process=(jax.process_index(), jax.process_count()),
        threads=config.threads,
        on_corrupt=config.on_corrupt,
        counter=run.unreadable,
    )
    records = _lagging(
        evaluate(state, batch) for batch in sharding.prefetch(run.mesh, batches)
    )
    if evaluation and evaluation.compact:
        rows = []
        for batch in records:
            local = _in_order(sharding.local_rows(batch))
            rows += _compact_rows(evaluation.compact, source, local, config.threads)
        rows = sorted(processes.gather(rows), key=lambda row: int(row['index']))
        return _stacked(rows, evaluation.ragged)
    return _in_order(concatenated([jax.device_get(batch) for batch in records]))


def _lagging(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches while the next ones are being computed."""
    pending = deque()
    for batch in batches:
        pending.append(batch)
        if len(pending) > LAG:
            yield pending.popleft()
    yield from pending


def _in_order(records: Records) -> Records:
    """Leave out padding and unreadable examples, and sort the rest by 'index'."""
    rows = np.flatnonzero(records.pop('present'))
    rows = rows[np.argsort(records['index'][rows], kind='stable')]
    return {name: values[rows] for name, values in records.items()}


def compact(
    evaluation: Evaluation, source: Source, records: Records, threads: int = 2
) -> Records:
    """Make records compact on this process alone.

    Args:
        evaluation: an evaluation. Without `compact`, `records` are returned.
        source: the examples.
        records: arrays [N, ...] as `Evaluation.evaluate` returns them. 'index' holds
            the row of each example in `source`.
        threads: how many work at once, at least one.

    Returns:
        The records that `Evaluation.summarize` takes.
    """
    if not evaluation.compact:
        return records
    rows = _compact_rows(evaluation.compact, source, records, threads)
    return _stacked(rows, evaluation.ragged)


def _compact_rows(
    compact: Compact, source: Source, records: Records, threads: int
) -> list[Example]:
    """Make the record of each example compact, with its 'index'."""

    def compact_row(place: int) -> Example:
        index = records['index'][place]
        record = {name: values[place] for name, values in records.items()}
        annotation = annotation_of(source, int(index))
        return {**compact(record, annotation), 'index': index}

    with ThreadPoolExecutor(max(threads, 1)) as executor:
        return list(executor.map(compact_row, range(len(records['index']))))


def _stacked(rows: list[Example], ragged: Collection[str]) -> Records:
    """Stack the records of examples; ragged arrays become an array of objects."""
    records = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in ragged:
            records[name] = np.empty(len(values), object)
            records[name][:] = values
        else:
            records[name] = np.stack(values)
    return records


def concatenated(parts: Sequence[Records]) -> Records:
    """Join the records of several batches: {name: array [N, ...]}."""
    records = {}
    for name in parts[0]:
        records[name] = np.concatenate([part[name] for part in parts])
    return records


def examples(run: Run, split: Split, count: int) -> Records:
    """Read prepared examples that are spread evenly over a split, as one batch.

    Args:
        run: the run.
        split: the split.
        count: number of examples; all if the split has fewer.

    Returns:
        {name: array [count, ...]} on the host, from the first to the last example of
        the split. 'index' is the place in this selection. Unreadable examples are left
        out, and their number is printed.

    Raises:
        UserError: `count` is below 1, the split has no examples, or one cannot be read
            while `data.on_corrupt` is 'stop'.
    """
    config = run.config.data
    source = run.sources[split]
    if count < 1:
        raise UserError(
            f'count={count}: expected at least 1 example of the {split} split. Give a larger '
            'count'
        )
    if not len(source):
        raise UserError(
            f'the {split} split of {source.info.name} has no examples: expected at least 1. '
            'Name another split'
        )
    chosen = selected(source, split, count)
    batches = pipeline.eval_batches(
        chosen,
        run.task.prepare,
        batch_size=min(32, len(chosen)),
        threads=config.threads,
        on_corrupt=config.on_corrupt,
        counter=run.unreadable,
    )
    stacked = concatenated(list(batches))
    # The last batch is padded.
    present = stacked.pop('present')
    left_out = len(chosen) - int(present.sum())
    if left_out:
        processes.say(
            f'{left_out:,} of {len(chosen):,} examples of {split} cannot be read and are left '
            'out'
        )
    return {name: values[present] for name, values in stacked.items()}


def selected(source: Source, split: Split, count: int) -> Source:
    """The examples that `examples` reads: `count` of a split, spread evenly over it."""
    return Subset(source, evenly_spaced(len(source), count), split)


def inputs(run: Run, prepared: Records) -> Records:
    """Make the inputs of `Task.predict` from prepared examples: {name: array [B, ...]}.

    If the main evaluation has a function `inputs`, it is applied: such as degrading
    crops. The result has only the names in `spec.inputs`, as arrays on the host.
    """
    make = run.task.main.inputs
    arrays = jax.device_get(jax.jit(make)(prepared)) if make else prepared
    return {name: arrays[name] for name in run.spec.inputs}


def draw(
    run: Run, records: Records, split: Split, folder: Path, step: int | None = None
) -> None:
    """Save the figures of the task for the main evaluation, if the task has any.

    Only process 0 writes. Older pictures of the same names are replaced.

    Args:
        run: the run.
        records: the records of the main evaluation.
        split: the split of the records.
        folder: the folder of the pictures, NAME.png. It must exist.
        step: the step for NAME-STEP.png, with at least six digits; None: no step.
    """
    if not run.task.figures or not processes.is_first():
        return
    prepare = run.task.prepare
    source = run.sources[split]

    def read_example(row):
        example = source[row]
        return prepare(example, None) if prepare else example

    suffix = ''
    if step is not None:
        suffix = f'-{step:06}'
    for name, picture in run.task.figures(records, read_example).items():
        figures.save(folder / f'{name}{suffix}.png', picture)
