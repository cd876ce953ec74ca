"""The comparison of an exported model with its run, on the same examples."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxvision.cli.export import exported
from jaxvision.cli.export.exported import Arrays
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json

SECONDS = 2.0  # duration of the measurement of a batch size
# Largest difference of real outputs, as a fraction of the largest output. Another order of the same
# sums makes such differences.
EXACT = 1e-5
# Largest fraction of examples whose integer outputs may differ.
TIES = 1e-3
# Largest difference where weights are rounded and there is no metric, as a fraction of the largest
# output.
ROUGH = 0.2
# Files with rounded weights are compared by the metric.
ROUNDED = ('float16.tflite', 'dynamic_int8.tflite', 'int8.tflite')
BATCHES = (1, 32)  # of the measured latency

Measure = Callable[[Arrays], dict[str, float]]
# `(outputs, reference) -> {output: difference}`
Compare = Callable[[Arrays, Arrays], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Reference:
    """The predictions of the run itself for some examples, and their quality.

    Attributes:
        inputs: arrays [N, ...] by name.
        outputs: outputs of the run, arrays [N, ...] by name.
        measure: `(outputs) -> {metric: value}` for these inputs; {} without metrics.
        best: the metric that rounded weights may not worsen by much, '-NAME' if less is
            better; '': none.
        dtype: name of the dtype in which the model computes.
        row: the row of the run in the report: 'size' in bytes, 'metrics', and
            'latency_ms'.
        differ: `(outputs, reference) -> {output: difference}`; None: `differences`.
    """

    inputs: Arrays
    outputs: Arrays
    measure: Measure
    best: str
    dtype: str
    row: Json
    differ: Compare | None = None

    @staticmethod
    def of(
        predict: Callable[[Arrays], Arrays],
        inputs: Arrays,
        measure: Measure,
        best: str,
        dtype: str,
        size: int,
        differ: Compare | None = None,
    ) -> 'Reference':
        """Predict with the run itself, and measure its metrics and its latency.

        The latency of 1 and of 32 examples is measured for two seconds each.

        Args:
            predict: `(inputs [B, ...]) -> outputs [B, ...]` of the run, for any B.
            inputs: arrays [N, ...] by name.
            measure: `(outputs) -> {metric: value}` for these inputs.
            best: the metric that rounded weights may not worsen by much, '-NAME' if
                less is better; '': none.
            dtype: name of the dtype in which the model computes.
            size: size of the variables in bytes.
            differ: `(outputs, reference) -> {output: difference}`; None: `differences`.
        """
        outputs = exported.answer_all(predict, inputs)
        latencies = {}
        for batch in BATCHES:
            latency = exported.latency(predict, inputs, batch, SECONDS)
            latencies[str(batch)] = latency
        row = {'size': size, 'metrics': measure(outputs), 'latency_ms': latencies}
        return Reference(inputs, outputs, measure, best, dtype, row, differ)

    @property
    def count(self) -> int:
        """The number of examples, N."""
        return len(next(iter(self.inputs.values())))

    def save_inputs(self, file: Path) -> None:
        """Write the inputs to a .npz file."""
        np.savez(file, **self.inputs)

    def compare(self, outputs: Arrays) -> Json:
        """Compare the outputs of an exported model with those of the run.

        Args:
            outputs: outputs of the exported model for `inputs`.

        Returns:
            {'differences': {output: difference}, 'metrics': {metric: value}}.

        Raises:
            UserError: The names or the shapes of the outputs differ.
        """
        _check_shapes(outputs, self.outputs)
        differ = self.differ or differences
        return {
            'differences': differ(outputs, self.outputs),
            'metrics': self.measure(outputs),
        }


def answer(model: Path, inputs: Path, folder: Path) -> tuple[Arrays, Json]:
    """Predict with an exported model in a fresh process.

    The process cannot import jaxvision. Only StableHLO may import jax.

    Args:
        model: the exported file or folder.
        inputs: a .npz file with arrays [N, ...].
        folder: an existing folder, which gets a file with the outputs.

    Returns:
        (the outputs [N, ...] by name, their cost). The cost has 'latency_ms', {'1' and
        '32' examples a call: {'median', 'p95'}}, and 'peak_memory' in bytes.

    Raises:
        UserError: The model cannot be opened or run.
    """
    outputs = folder / f'{model.name}-outputs.npz'
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'JAX_PLATFORMS': 'cpu',
        # A model in float64 needs this, and other models keep their types.
        'JAX_ENABLE_X64': '1',
    }
    process = subprocess.run(
        [sys.executable, '-P', exported.__file__, model, inputs, outputs, str(SECONDS)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if process.returncode:
        reason = _failure(process)
        raise UserError(f'{model.name} was written, but does not run: {reason}')
    with np.load(outputs) as file:
        return dict(file), json.loads(process.stdout.splitlines()[-1])


def _failure(process: subprocess.CompletedProcess) -> str:
    """The reason of a process's failure."""
    if process.returncode < 0:
        return f'its runtime crashed with {signal.Signals(-process.returncode).name}'
    lines = process.stderr.strip().splitlines()
    if lines:
        return lines[-1]
    return f'exit code {process.returncode}'


def differences(outputs: Arrays, reference: Arrays) -> dict[str, float]:
    """Compare the outputs of two models.

    Real outputs differ by their largest difference, as a fraction of the largest
    absolute value in the reference. Integers and booleans differ by the fraction of
    examples with another value.

    Probabilities beside logits L differ as a fraction of the largest |L| / 2, if this
    exceeds the largest probability. A softmax turns a difference d of the logits into
    at most d / 2.

    Args:
        outputs: outputs of the exported model, arrays [N, ...].
        reference: outputs of the run, arrays [N, ...].

    Returns:
        {output: difference}, 0 if equal. It is infinite if numbers that are not finite
        are at other places or of other kinds.

    Raises:
        UserError: The names or the shapes of the outputs differ.
    """
    _check_shapes(outputs, reference)
    least_scales = {}
    if {'probabilities', 'logits'} <= reference.keys():
        logits = reference['logits']
        least_scales['probabilities'] = float(np.abs(logits).max(initial=0) / 2)
    result = {}
    for name, array in reference.items():
        least_scale = least_scales.get(name, 0.0)
        result[name] = _difference(outputs[name], array, least_scale)
    return result


def _check_shapes(outputs: Arrays, reference: Arrays) -> None:
    shapes = {name: array.shape for name, array in outputs.items()}
    expected = {name: array.shape for name, array in reference.items()}
    if shapes != expected:
        raise UserError(
            f'the exported model returns the names and shapes {shapes}: expected those '
            f'of the run, {expected}'
        )


def _difference(output: np.ndarray, reference: np.ndarray, least_scale: float) -> float:
    """The difference of one output as a fraction.

    Args:
        output: of the exported model, [N, ...].
        reference: of the run, [N, ...].
        least_scale: the difference is divided by this value at least.
    """
    if not jnp.issubdtype(reference.dtype, jnp.inexact):
        differs = (output != reference).reshape(len(reference), -1)
        return float(differs.any(1).mean())
    output = output.astype(np.float64)
    reference = reference.astype(np.float64)
    is_finite = np.isfinite(output) & np.isfinite(reference)
    if not np.array_equal(output[~is_finite], reference[~is_finite], equal_nan=True):
        return float('inf')
    gap = np.abs(output[is_finite] - reference[is_finite]).max(initial=0)
    largest = np.abs(reference[is_finite]).max(initial=0)
    return float(gap / max(largest, least_scale, np.finfo(np.float32).tiny))


def row(model: Path, inputs: Path, reference: Reference, most_lost: float) -> Json:
    """Run an exported model, and compare it with the run.

    Args:
        model: the exported file or folder.
        inputs: a .npz file with the inputs of `reference`. Its folder gets a file of
            outputs.
        reference: the predictions of the run.
        most_lost: the fraction of the metric that rounded weights may lose.

    Returns:
        The row of the report: 'size' in bytes, 'differences', 'metrics', 'latency_ms'
        and 'peak_memory' in bytes.

    Raises:
        UserError: The model does not run, or its outputs are not those of the run.
    """
    outputs, cost = answer(model, inputs, inputs.parent)
    files = model.rglob('*') if model.is_dir() else [model]
    size = sum(file.stat().st_size for file in files if file.is_file())
    result = {'size': size, **reference.compare(outputs), **cost}
    verify(model.name, result, reference, most_lost)
    return result


def verify(name: str, row: Json, reference: Reference, most_lost: float) -> None:
    """Accept or refuse an exported model.

    A file with rounded weights may lose `most_lost` of the metric. Without a metric, it
    may differ by 0.2 of its largest output. Any other file must be equal up to rounding
    errors. Its integers may differ in 0.1 % of the examples.

    Args:
        name: name of the file. Only 'float16.tflite', 'dynamic_int8.tflite' and
            'int8.tflite' have rounded weights.
        row: 'differences' and 'metrics' of the model.
        reference: the predictions of the run.
        most_lost: the fraction of the run's metric that rounded weights may lose.

    Raises:
        UserError: The outputs differ too much from those of the run.
    """
    if name not in ROUNDED:
        _verify_exact(name, row, reference)
    elif reference.best.removeprefix('-') in row['metrics']:
        _verify_metric(name, row, reference, most_lost)
    else:
        largest = max(row['differences'].values())
        # A NaN is refused, too.
        if not largest <= ROUGH:
            raise UserError(
                f'{name} differs from the run by {largest:.2g} of its largest output: '
                f'expected at most {ROUGH}, because there is no metric to compare. Export a '
                'format with more bits, such as --format float32.tflite'
            )


def _verify_exact(name: str, row: Json, reference: Reference) -> None:
    for output, difference in row['differences'].items():
        is_real = jnp.issubdtype(reference.outputs[output].dtype, jnp.inexact)
        most = tolerance(reference.dtype) if is_real else TIES
        if not difference <= most:
            raise UserError(
                f'{name} differs from the run by {difference:.2g} of its largest '
                f'{output!r}, or of the examples if it holds no fractions: expected at '
                f'most {most:.2g}'
            )


def _verify_metric(
    name: str, row: Json, reference: Reference, most_lost: float
) -> None:
    metric = reference.best.removeprefix('-')
    before = reference.row['metrics'][metric]
    after = row['metrics'][metric]
    lost = before - after
    if reference.best.startswith('-'):
        lost = after - before
    if not lost <= most_lost * abs(before):
        raise UserError(
            f'{name}: {metric} changes from {before:.4g} to {after:.4g}: expected a loss of '
            f'at most the fraction --most_lost={most_lost}'
        )


def tolerance(dtype: str) -> float:
    """Return the largest difference of a format that keeps the precision of the run.

    The difference is a fraction of the largest output. It is 1e-5, but for 16-bit types
    twice the distance from 1 to the next number: 1/64 in bfloat16.

    Args:
        dtype: name of the dtype in which the model computes.
    """
    if jnp.dtype(dtype).itemsize < 4:
        return max(EXACT, 2 * float(jnp.finfo(dtype).eps))
    return EXACT


def table(rows: dict[str, Json]) -> str:
    """Format the report as lines of a table.

    Args:
        rows: {name: row of the report}, from `row` and `Reference.row`. The first
            metric of the first row is shown, and all rows must have it.
    """
    first_row = next(iter(rows.values()))
    metric = next(iter(first_row['metrics']), '')
    heading = ['', 'size', 'difference', metric]
    heading += ['1 image', '(p95)', '32 images', '(p95)', 'memory']
    lines = [heading]
    for name, row in rows.items():
        lines.append([name, *_cells(row, metric)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for name, *cells in lines:
        padded = [name.ljust(widths[0])]
        for cell, width in zip(cells, widths[1:], strict=True):
            padded.append(cell.rjust(width))
        texts.append('  '.join(padded))
    return '\n'.join(texts)


def _cells(row: Json, metric: str) -> list[str]:
    """The cells of a row, without its name."""
    difference = ''
    if 'differences' in row:
        difference = f'{max(row["differences"].values()):.1e}'
    value = ''
    if metric:
        value = f'{row["metrics"][metric]:.4f}'
    cells = [f'{row["size"] / 1e6:.3f} MB', difference, value]
    for times in row['latency_ms'].values():
        cells += [f'{times["median"]:.2f} ms', f'({times["p95"]:.2f})']
    memory = ''
    if 'peak_memory' in row:
        memory = f'{row["peak_memory"] / 1e6:.1f} MB'
    return [*cells, memory]
