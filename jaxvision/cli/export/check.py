"""An exported model against the run that it was made of, on the same examples."""

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

SECONDS = 2.0  # in which a batch size is timed
EXACT = 1e-5  # of the largest output: what another order of the same sums may make
TIES = 1e-3  # of the examples, whose discrete outputs may differ
ROUGH = 0.2  # of the largest output, where weights are rounded and nothing else can be judged
# Judged by the metric.
ROUNDED = ('float16.tflite', 'dynamic_int8.tflite', 'int8.tflite')

Measure = Callable[[Arrays], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the run itself answers for some examples, and how good that is."""

    inputs: Arrays
    outputs: Arrays
    measure: Measure  # outputs -> metrics
    best: str  # the metric that rounding may not cost too much of, '-NAME' where less is better
    dtype: str  # that the model computes in
    row: Json  # of the report

    @staticmethod
    def of(
        answer: Callable[[Arrays], Arrays],
        inputs: Arrays,
        measure: Measure,
        best: str,
        dtype: str,
        size: int,
    ) -> 'Reference':
        outputs = exported.answer_all(answer, inputs)
        latencies = {
            str(batch): exported.latency(answer, inputs, batch, SECONDS)
            for batch in (1, 32)
        }
        row = {'size': size, 'metrics': measure(outputs), 'latency_ms': latencies}
        return Reference(inputs, outputs, measure, best, dtype, row)

    @property
    def count(self) -> int:
        return len(next(iter(self.inputs.values())))

    def save_inputs(self, file: Path) -> None:
        np.savez(file, **self.inputs)

    def compare(self, outputs: Arrays) -> Json:
        return {
            'differences': differences(outputs, self.outputs),
            'metrics': self.measure(outputs),
        }


def answer(model: Path, inputs: Path, folder: Path) -> tuple[Arrays, Json]:
    """(outputs, cost) of an exported model in a fresh process, which cannot import jaxvision, nor,
    unless it is StableHLO, jax.

    Raises:
        UserError: it cannot be opened or run there.
    """
    outputs = folder / f'{model.name}-outputs.npz'
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '3',
        'JAX_PLATFORMS': 'cpu',
        # For a model in float64; others keep their types.
        'JAX_ENABLE_X64': '1',
    }
    done = subprocess.run(
        [sys.executable, '-P', exported.__file__, model, inputs, outputs, str(SECONDS)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f'exit code {done.returncode}']
        why = (
            said[-1]
            if done.returncode > 0
            else (f'its runtime is ended by {signal.Signals(-done.returncode).name}')
        )
        raise UserError(f'{model.name} was written, but does not run: {why}')
    with np.load(outputs) as file:
        return dict(file), json.loads(done.stdout.splitlines()[-1])


def differences(found: Arrays, wanted: Arrays) -> dict[str, float]:
    """Of each output: the largest difference over the largest value; of integers and booleans, the
    share of examples that differ. Probabilities beside logits L: over the largest |L| / 2, where
    that is more than 1, because a softmax makes up to d / 2 of a difference d in its logits.

    Raises:
        UserError: outputs are missing, or of another shape.
    """
    shapes = [
        {name: value.shape for name, value in outputs.items()}
        for outputs in (found, wanted)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(f'the exported model answers {shapes[0]}, the run {shapes[1]}')
    steep = (
        {'probabilities': np.abs(wanted['logits']).max(initial=0) / 2}
        if {'probabilities', 'logits'} <= wanted.keys()
        else {}
    )
    return {
        name: _difference(found[name], value, float(steep.get(name, 0)))
        for name, value in wanted.items()
    }


def _difference(found: np.ndarray, wanted: np.ndarray, least: float) -> float:
    if not jnp.issubdtype(wanted.dtype, jnp.inexact):
        return float((found != wanted).reshape(len(wanted), -1).any(1).mean())
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(found) & np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
        return float('inf')
    gap = np.abs(found[finite] - wanted[finite]).max(initial=0)
    largest = np.abs(wanted[finite]).max(initial=0)
    return float(gap / max(largest, least, np.finfo(np.float32).tiny))


def row(model: Path, inputs: Path, reference: Reference, most_lost: float) -> Json:
    """Of the report, for an exported model that was just written.

    Raises:
        UserError: it does not run, or its answers are not the run's.
    """
    outputs, cost = answer(model, inputs, inputs.parent)
    files = model.rglob('*') if model.is_dir() else [model]
    size = sum(file.stat().st_size for file in files if file.is_file())
    found = {'size': size, **reference.compare(outputs), **cost}
    judge(model.name, found, reference, most_lost)
    return found


def judge(name: str, row: Json, reference: Reference, most_lost: float) -> None:
    """Raises a UserError if the exported model of a row of the report is not the run's."""
    for output, value in row['differences'].items():
        is_real = jnp.issubdtype(reference.outputs[output].dtype, jnp.inexact)
        most = tolerance(reference.dtype) if is_real else TIES
        if name not in ROUNDED and not value <= most:
            raise UserError(
                f'{name} differs from the run by {value:.2g} of its largest '
                f'{output!r}, more than {most:.2g}'
            )
    metric = reference.best.removeprefix('-')
    most = max(row['differences'].values())
    if name in ROUNDED and metric not in row['metrics'] and not most <= ROUGH:
        raise UserError(
            f'{name} differs from the run by {most:.2g} of its largest output, more '
            f'than {ROUGH}, and no metric tells how bad that is'
        )
    if name in ROUNDED and metric in row['metrics']:
        before, after = reference.row['metrics'][metric], row['metrics'][metric]
        lost = after - before if reference.best.startswith('-') else before - after
        if not lost <= most_lost * abs(before):
            raise UserError(
                f'{name}: {metric} goes from {before:.4g} to {after:.4g}, which loses '
                f'more than a share of {most_lost} (--most_lost)'
            )


def tolerance(dtype: str) -> float:
    """Of a format that keeps the run's precision; in bfloat16 one rounding more is 1/128."""
    return max(
        EXACT, 2 * float(jnp.finfo(dtype).eps) if jnp.dtype(dtype).itemsize < 4 else 0
    )


def table(rows: dict[str, Json]) -> str:
    """The report, for a person."""
    metric = next(iter(next(iter(rows.values()))['metrics']), '')
    lines = [
        [
            '',
            'size',
            'difference',
            metric,
            '1 image',
            '(p95)',
            '32 images',
            '(p95)',
            'memory',
        ]
    ]
    for name, row in rows.items():
        lines.append(
            [
                name,
                f'{row["size"] / 1e6:.3f} MB',
                f'{max(row["differences"].values()):.1e}'
                if 'differences' in row
                else '',
                f'{row["metrics"][metric]:.4f}' if metric else '',
                *(
                    text
                    for times in row['latency_ms'].values()
                    for text in (f'{times["median"]:.2f} ms', f'({times["p95"]:.2f})')
                ),
                f'{row["peak_memory"] / 1e6:.1f} MB' if 'peak_memory' in row else '',
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
