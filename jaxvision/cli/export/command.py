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
from collections.abc import Iterator
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.files import atomic_folder

FORMATS = {  # and the files that they are
    'savedmodel': ('savedmodel',),
    'tflite': (
        'float32.tflite',
        'float16.tflite',
        'dynamic_int8.tflite',
        'int8.tflite',
    ),
    'stablehlo': ('model.stablehlo',),
}
CALIBRATION = 256  # training examples that int8's ranges are read off


def main(arguments: list[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    os.environ['JAX_PLATFORMS'] = 'cpu'  # with whose arithmetic the files are compared
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # tidies up
    try:
        export(
            options.workdir,
            options.format.split(','),
            options.step,
            options.out or options.workdir / 'export',
            options.examples,
            options.most_lost,
        )
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        invocation.program('export'),
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    names: list[str],
    step: str | int,
    out: Path,
    count: int,
    most_lost: float,
) -> dict[str, dict]:
    """Write a run's formats into `out`, which appears whole or not at all; the report.

    Raises:
        UserError: there is no such run or format, a library that a format needs is not there, or
            an exported model does not answer as the run.
    """
    from jaxvision.cli.export import check
    from jaxvision.cli.runtime import start_jax
    from jaxvision.core.files import write_json
    from jaxvision.train.run import reopen
    from jaxvision.train.saved import read_config

    files = _files(names)
    if count < 1:
        raise UserError(f'--examples {count}: at least 1')
    if not most_lost >= 0:
        raise UserError(f'--most_lost {most_lost}: at least 0')
    out = out.absolute()
    _check_replaceable(out)
    start_jax(read_config(workdir))
    run = reopen(workdir)
    state = run.restore(step)
    reference = _reference(run, state.variables, count)
    with tempfile.TemporaryDirectory(prefix='jaxvision-unfinished-export-') as folder:
        staging, inputs = Path(folder, 'export'), Path(folder, 'inputs.npz')
        staging.mkdir()
        reference.save_inputs(inputs)
        rows, left_out = {'the run': reference.row}, {}
        for file, write in _writers(run, state.variables, files).items():
            print(f'{file}: writing and checking ...', flush=True)
            try:
                _write(write, staging / file)
                rows[file] = check.row(staging / file, inputs, reference, most_lost)
            except UserError as error:
                if file in names or file not in check.ROUNDED:
                    others = ','.join(other for other in files if other != file)
                    raise UserError(
                        f'{error}: nothing was exported'
                        + (f' (without it: --format {others})' if others else '')
                    ) from error
                (staging / file).unlink(missing_ok=True)
                left_out[file] = str(error)
                print(f'left out: {error}', flush=True)
        write_json(
            staging / 'export.json',
            {
                'run': str(workdir),
                'step': int(state.step),
                'examples': reference.count,
                'formats': rows,
                'left_out': left_out,
            },
        )
        _install(staging, out)
    print(check.table(rows))
    print(f'in {os.path.relpath(out)}: {", ".join([*list(rows)[1:], "export.json"])}')
    return rows


def _files(names: list[str]) -> list[str]:
    """Those of the named formats, in the order of the report."""
    known = [file for files in FORMATS.values() for file in files]
    for name in names:
        if name not in FORMATS and name not in known:
            raise unknown('--format: there is no', name, [*FORMATS, *known])
    return [
        file
        for format, files in FORMATS.items()
        for file in files
        if format in names or file in names
    ]


def _reference(run, variables, count: int):
    """What the run itself answers for examples of its main evaluation."""
    import jax

    from jaxvision.cli.export.check import Reference
    from jaxvision.train import evaluation

    title = run.task.main_evaluation
    measured = run.task.main
    examples = evaluation.examples(run, measured.split, count)
    predict = jax.jit(run.task.predict)

    def measure(outputs: dict) -> dict[str, float]:
        if not measured.record:
            return {}
        records = jax.device_get(jax.jit(measured.record)(outputs, examples))
        found = measured.summarize({**records, 'index': examples['index']})
        return {f'{title}/{metric}': float(value) for metric, value in found.items()}

    return Reference.of(
        lambda inputs: jax.device_get(predict(variables, inputs)),
        evaluation.inputs(run, examples),
        measure,
        run.best,
        run.config.model.dtype,
        sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
    )


def _writers(run, variables, files: list[str]) -> dict:
    """{file: what writes it}."""
    from jaxvision.cli.export import formats

    model, about = (run.task.predict, variables), (run.spec, run.config.to_dict())
    writers = {
        'savedmodel': functools.partial(formats.savedmodel, *model, *about),
        'model.stablehlo': functools.partial(formats.stablehlo, *model, *about),
    }
    if any(file.endswith('.tflite') for file in files):
        model, inputs = _in_float32(run, variables), _calibration(run)
        writers |= {
            f'{kind}.tflite': functools.partial(
                formats.tflite, *model, *about, kind=kind, examples=inputs
            )
            for kind in formats.TFLITE
        }
    return {file: writers[file] for file in files}


def _calibration(run) -> dict:
    """Inputs of training examples; where these are no inputs (a generator's), evaluation's."""
    from jaxvision.train import evaluation

    found = evaluation.examples(run, 'train', CALIBRATION)
    measured = run.task.main
    if not measured.inputs and not found.keys() >= run.spec.inputs.keys():
        found = evaluation.examples(run, measured.split, CALIBRATION)
    return evaluation.inputs(run, found)


def _in_float32(run, variables) -> tuple:
    """predict and its variables in the one precision that all of TFLite's operations have."""
    import jax
    import jax.numpy as jnp

    from jaxvision.train.run import build

    config = run.config.copy_and_resolve_references()
    config.model.dtype = config.model.param_dtype = 'float32'
    task = build(config, run.workdir, run.spec, run.sources, run.mesh).task

    return task.predict, jax.tree.map(
        lambda x: x.astype('float32') if jnp.issubdtype(x.dtype, jnp.floating) else x,
        variables,
    )


def _write(write, path: Path) -> None:
    try:
        with _without_chatter():
            write(path)
    except UserError:
        raise
    except Exception as error:  # TensorFlow's converters raise nearly anything
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
