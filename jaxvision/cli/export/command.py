"""jaxvision export --workdir RUN: a trained run as files that need no jaxvision.

examples:
  jaxvision export --workdir runs/cnn
  jaxvision export --workdir runs/cnn --format savedmodel
  jaxvision export --workdir runs/cnn --format tflite --step best --out DIR

formats:
  savedmodel   TensorFlow's, for TF Serving: batches of any size, class names inside
  tflite       for LiteRT on phones and boards, one image at a time: float32.tflite, float16.tflite
               (half the size), dynamic_int8.tflite (int8 weights), int8.tflite (int8 throughout)
  stablehlo    for jax.export.deserialize, on a CPU, GPU or TPU: batches of any size

Each file is opened in a fresh process and answers for evaluation examples as the run does; one that
differs is an error, and then nothing is left. Not every model bears rounded weights: of these a
file that fails is only left out, unless --format names it. The report is on the screen and in
export.json.
Exit codes: 0 exported, 2 a mistake to mend, 1 anything else.
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.files import atomic_folder
from jaxvision.core.types import Json, Records, Tree

if TYPE_CHECKING:  # JAX takes a second to import, and --help needs none of it.
    from jaxvision.cli.export.check import Reference
    from jaxvision.core.task import Predict
    from jaxvision.train.run import Run

# The files of each format.
FORMATS = {
    'savedmodel': ('savedmodel',),
    'tflite': (
        'float32.tflite',
        'float16.tflite',
        'dynamic_int8.tflite',
        'int8.tflite',
    ),
    'stablehlo': ('model.stablehlo',),
}
CALIBRATION = 256  # training examples that give the ranges of int8

# Writes an exported model to a path.
Write = Callable[[Path], None]


def main(arguments: list[str] | None = None) -> int:
    """Export a run, and return the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    # The exported files are compared with the arithmetic of a CPU.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    # An exit removes the unfinished files, which a kill would leave.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return invocation.run(functools.partial(_run, options))


def _run(options: argparse.Namespace) -> int:
    export(
        options.workdir,
        options.format.split(','),
        step=options.step,
        out=options.out or options.workdir / 'export',
        count=options.examples,
        most_lost=options.most_lost,
    )
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('export', __doc__)
    parser.add_argument('--workdir', metavar='RUN', type=Path, required=True)
    parser.add_argument(
        '--format',
        default='savedmodel,tflite,stablehlo',
        help='formats, or single files of them, like int8.tflite (%(default)s)',
    )
    parser.add_argument(
        '--step', default='last', help='last (the default), best or a number'
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        type=Path,
        help='RUN/export by default; what an earlier export left there goes',
    )
    parser.add_argument(
        '--examples',
        type=int,
        default=1000,
        metavar='N',
        help='to check it on, spread over the evaluation split (%(default)s)',
    )
    parser.add_argument(
        '--most_lost',
        type=float,
        default=0.02,
        metavar='X',
        help='share of the metric, where weights are rounded: more is an error '
        '(%(default)s)',
    )
    return parser.parse_args(arguments)


def export(
    workdir: Path,
    names: Sequence[str],
    *,
    step: str | int,
    out: Path,
    count: int,
    most_lost: float,
) -> dict[str, Json]:
    """Write a run's formats into a folder, which appears whole or not at all.

    Args:
        workdir: the run's folder.
        names: of formats or of single files of them.
        step: 'last', 'best' or the number of a checkpoint.
        out: the folder; an earlier export in it is replaced.
        count: examples that each file is checked on.
        most_lost: fraction of the metric that a file with rounded weights may lose.

    Returns:
        The report: {file: its size, differences, metrics and latencies}.

    Raises:
        UserError: There is no such run or format, a library that a format needs is missing,
            or an exported model does not predict what the run predicts.
    """
    from jaxvision.cli.runtime import start_jax
    from jaxvision.core.files import write_json
    from jaxvision.train.run import reopen
    from jaxvision.train.saved import read_config

    files = _files(names)
    if count < 1:
        raise UserError(f'--examples={count}: expected a whole number >= 1')
    if not most_lost >= 0:
        raise UserError(f'--most_lost={most_lost}: expected a number >= 0')
    out = out.absolute()
    _check_replaceable(out)
    start_jax(read_config(workdir))
    run = reopen(workdir)
    state = run.restore(step)
    reference = _reference(run, state.variables, count)
    writers = _writers(run, state.variables, files)
    with tempfile.TemporaryDirectory(prefix='jaxvision-unfinished-export-') as folder:
        staging = Path(folder, 'export')
        staging.mkdir()
        rows, left_out = _write_all(writers, staging, reference, names, most_lost)
        report = {
            'run': str(workdir),
            'step': int(state.step),
            'examples': reference.count,
            'formats': rows,
            'left_out': left_out,
        }
        write_json(staging / 'export.json', report)
        _install(staging, out)
    _print_report(rows, out)
    return rows


def _print_report(rows: dict[str, Json], out: Path) -> None:
    from jaxvision.cli.export import check

    print(check.table(rows))
    _, *files = rows
    print(f'in {os.path.relpath(out)}: {", ".join([*files, "export.json"])}')


def _write_all(
    writers: dict[str, Write],
    staging: Path,
    reference: 'Reference',
    names: Sequence[str],
    most_lost: float,
) -> tuple[dict[str, Json], dict[str, str]]:
    """Write and check each file.

    Returns:
        (the rows of the report, {file that was left out: why}).

    Raises:
        UserError: A file fails whose weights are not rounded, or that the user named.
    """
    from jaxvision.cli.export import check

    inputs = staging.parent / 'inputs.npz'
    reference.save_inputs(inputs)
    rows = {'the run': reference.row}
    left_out = {}
    for file, write in writers.items():
        print(f'{file}: writing and checking ...', flush=True)
        try:
            _write(write, staging / file)
            rows[file] = check.row(staging / file, inputs, reference, most_lost)
        except UserError as error:
            if file in names or file not in check.ROUNDED:
                others = ','.join(other for other in writers if other != file)
                remedy = f' (without it: --format {others})' if others else ''
                raise UserError(f'{error}: nothing was exported{remedy}') from error
            (staging / file).unlink(missing_ok=True)
            left_out[file] = str(error)
            print(f'left out: {error}', flush=True)
    return rows, left_out


def _files(names: Sequence[str]) -> list[str]:
    """The files of the named formats, in the order of the report."""
    known = [file for files in FORMATS.values() for file in files]
    for name in names:
        if name not in FORMATS and name not in known:
            raise unknown(
                '--format: there is no', name, dict.fromkeys([*FORMATS, *known])
            )
    return [
        file
        for format, files in FORMATS.items()
        for file in files
        if format in names or file in names
    ]


def _reference(run: 'Run', variables: Tree, count: int) -> 'Reference':
    """What the run itself predicts for examples of its main evaluation."""
    import jax

    from jaxvision.cli.export.check import Reference
    from jaxvision.core.task import metric_name
    from jaxvision.train import evaluation

    title = run.task.main_evaluation
    main = run.task.main
    examples = evaluation.examples(run, 'test', count)
    compiled = jax.jit(run.task.predict)

    def predict(inputs: Records) -> Records:
        return jax.device_get(compiled(variables, inputs))

    def measure(outputs: Records) -> dict[str, float]:
        if not main.record:
            return {}
        records = jax.device_get(jax.jit(main.record)(outputs, examples))
        metrics = main.summarize({**records, 'index': examples['index']})
        return {
            f'eval/{metric_name(title, metric)}': float(value)
            for metric, value in metrics.items()
        }

    return Reference.of(
        predict,
        evaluation.inputs(run, examples),
        measure,
        _on_test(run.metric),
        run.config.model.dtype,
        sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
    )


def _on_test(metric: str) -> str:
    """The name of a metric on the test split; '' stays ''."""
    name = metric.removeprefix('-')
    sign = '-' if metric.startswith('-') else ''
    return f'{sign}eval/{name}' if name else ''


def _writers(run: 'Run', variables: Tree, files: Sequence[str]) -> dict[str, Write]:
    """The functions that write the files."""
    from jaxvision.cli.export import formats

    about = (run.spec, run.config.to_dict())
    model = (run.task.predict, variables, *about)
    writers: dict[str, Write] = {
        'savedmodel': functools.partial(formats.savedmodel, *model),
        'model.stablehlo': functools.partial(formats.stablehlo, *model),
    }
    if any(file.endswith('.tflite') for file in files):
        model = (*_in_float32(run, variables), *about)
        examples = _calibration(run)
        for kind in formats.TFLITE:
            writers[f'{kind}.tflite'] = functools.partial(
                formats.tflite, *model, kind=kind, examples=examples
            )
    return {file: writers[file] for file in files}


def _calibration(run: 'Run') -> Records:
    """Inputs of training examples; of evaluation where a training example has no inputs."""
    from jaxvision.train import evaluation

    examples = evaluation.examples(run, 'train', CALIBRATION)
    main = run.task.main
    if not main.inputs and not examples.keys() >= run.spec.inputs.keys():
        examples = evaluation.examples(run, 'test', CALIBRATION)
    return evaluation.inputs(run, examples)


def _in_float32(run: 'Run', variables: Tree) -> tuple['Predict', Tree]:
    """(predict, variables) in the one precision that all operations of TFLite have."""
    import jax
    import jax.numpy as jnp

    from jaxvision.train.saved import build_task

    config = run.config.copy_and_resolve_references()
    config.model.dtype = 'float32'
    config.model.param_dtype = 'float32'

    def in_float32(leaf):
        is_real = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype('float32') if is_real else leaf

    predict = build_task(config, run.spec).predict
    return predict, jax.tree.map(in_float32, variables)


def _write(write: Write, path: Path) -> None:
    try:
        with _without_chatter():
            write(path)
    except UserError:
        raise
    # TensorFlow's converters raise nearly anything.
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = (lines or [repr(error)])[0][:300]
        raise UserError(f'{path.name} cannot be made of this model: {why}') from error


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """TensorFlow writes its notes to stderr itself, past Python's."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _check_replaceable(out: Path) -> None:
    """Raises a UserError unless all that `out` holds, if it is there, is an earlier export."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        there = set(os.listdir(out)) if out.exists() else set()
        if there:
            formats = json.loads((out / 'export.json').read_text())['formats']
            there -= {'export.json', *formats}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{out} is there, and no export: give another --out') from error
    if there:
        raise UserError(
            f'{out} holds more than an export ({", ".join(sorted(there))}), which '
            'would be lost: give another --out'
        )


def _install(staging: Path, out: Path) -> None:
    """Copy the checked files to where users look for them, all of them at once."""
    try:
        with atomic_folder(out) as partial:
            shutil.copytree(staging, partial, dirs_exist_ok=True)
    except OSError as error:  # The disk is full or read-only.
        raise UserError(f'cannot write {out}: {error.strerror or error}') from error


if __name__ == '__main__':
    sys.exit(main())
