"""The parts of an export that depend on the run: reference predictions and file writers."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxvision.cli.export import formats
from jaxvision.cli.export.check import Reference
from jaxvision.core.task import Task, metric_name
from jaxvision.core.types import Json, MetricValues, Records, Tree
from jaxvision.tasks.shared import calibrated
from jaxvision.train import evaluation
from jaxvision.train.run import Run
from jaxvision.train.saved import build_task

CALIBRATION = 256  # training examples that the ranges of int8 are measured on

# A function that writes an exported model to a path.
Write = Callable[[Path], None]


def reference(run: Run, variables: Tree, count: int) -> Reference:
    """Predict with the run itself for examples of its main evaluation.

    Args:
        run: the run.
        variables: the variables for its `Task.predict`.
        count: number of examples, spread evenly over the test split; all if it has
            fewer.

    Returns:
        The predictions. Their metrics are named 'eval/NAME'; a task whose main
        evaluation cannot measure outputs has none.
    """
    title = run.task.main_evaluation
    main = run.task.main
    examples = evaluation.examples(run, 'test', count)
    source = evaluation.selected(run.sources['test'], 'test', count)
    compiled = jax.jit(run.task.predict)

    def predict(inputs: Records) -> Records:
        return jax.device_get(compiled(variables, inputs))

    def measure(outputs: Records) -> MetricValues:
        if not main.record:
            return {}
        records = jax.device_get(jax.jit(main.record)(outputs, examples))
        records['index'] = examples['index']
        metrics = main.summarize(evaluation.compact(main, source, records))
        return {
            f'eval/{metric_name(title, metric)}': float(value)
            for metric, value in metrics.items()
        }

    return Reference.of(
        predict,
        inputs=evaluation.inputs(run, examples),
        measure=measure,
        best=_on_test(run.metric),
        dtype=run.config.model.dtype,
        size=sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
        differ=run.task.compare,
    )


def _on_test(metric: str) -> str:
    """The name of a metric on the test split: 'accuracy' is 'eval/accuracy', '' stays ''."""
    if not metric:
        return ''
    if metric.startswith('-'):
        return f'-eval/{metric.removeprefix("-")}'
    return f'eval/{metric}'


def writers(
    run: Run, variables: Tree, files: Sequence[str], calibration: Json
) -> dict[str, Write]:
    """Make the functions that write the files.

    TFLite files compute in float32, whatever the dtype of the run. For any TFLite file,
    256 training examples are read here, for the ranges of int8. If they lack the
    inputs, test examples are read.

    Args:
        run: the run.
        variables: the variables for its `Task.predict`.
        files: names of the files, such as 'savedmodel' or 'int8.tflite'.
        calibration: the content of calibration.json, which the files carry; {}: there is
            none. The task has its temperature, see `calibrated.with_temperature`.

    Returns:
        {file: `(path) -> None`, which writes it}, in the order of `files`.
    """
    description = (run.spec, run.config.to_dict())
    every_writer: dict[str, Write] = {
        'savedmodel': functools.partial(
            formats.savedmodel,
            run.task.predict,
            variables,
            *description,
            calibration=calibration,
            raw_predict=run.task.raw_predict,
        ),
        'model.stablehlo': functools.partial(
            formats.stablehlo,
            run.task.predict,
            variables,
            *description,
            calibration=calibration,
        ),
    }
    if any(file.endswith('.tflite') for file in files):
        task, variables = _in_float32(run, variables)
        task = calibrated.with_temperature(task, calibration)
        examples = _calibration(run)
        for kind in formats.TFLITE:
            every_writer[f'{kind}.tflite'] = functools.partial(
                formats.tflite,
                task.predict,
                variables,
                *description,
                kind=kind,
                examples=examples,
                calibration=calibration,
                raw_predict=task.raw_predict,
            )
    return {file: every_writer[file] for file in files}


def _calibration(run: Run) -> Records:
    """The inputs of training examples, or of test examples if training has no such inputs."""
    examples = evaluation.examples(run, 'train', CALIBRATION)
    main = run.task.main
    if not main.inputs and not examples.keys() >= run.spec.inputs.keys():
        examples = evaluation.examples(run, 'test', CALIBRATION)
    return evaluation.inputs(run, examples)


def _in_float32(run: Run, variables: Tree) -> tuple[Task, Tree]:
    """(the task, variables) in float32, which all operations of TFLite support."""
    config = run.config.copy_and_resolve_references()
    config.model.dtype = 'float32'
    config.model.param_dtype = 'float32'

    def in_float32(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.astype('float32')
        return leaf

    return build_task(config, run.spec), jax.tree.map(in_float32, variables)
