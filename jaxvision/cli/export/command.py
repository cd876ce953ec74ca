"""Write a trained run as files that need no jaxvision.

examples:
  jaxvision export --workdir runs/cnn
  jaxvision export --workdir runs/cnn --format savedmodel
  jaxvision export --workdir runs/cnn --format tflite --step best --out DIR

formats:
  savedmodel   for TensorFlow and TF Serving: batches of any size, class names inside
  tflite       for LiteRT on phones and boards, one image at a time: float32.tflite, float16.tflite
               (half the size), dynamic_int8.tflite (int8 weights), int8.tflite (int8 weights and
               activations)
  stablehlo    for jax.export.deserialize on a CPU, GPU or TPU: batches of any size

A fresh process opens each file and predicts for evaluation examples. A file whose outputs differ
from those of the run is an error, and then nothing is written. A file with rounded weights is only
left out, unless --format names it. The report is printed and stored as export.json.

exit codes:
  0    exported
  2    a mistake in the arguments, or a file that failed its check
  1    any other error
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.files import atomic_folder
from jaxvision.core.types import Json

if TYPE_CHECKING:  # JAX takes a second to import, and --help needs none of it.
    from jaxvision.cli.export.check import Reference
    from jaxvision.cli.export.from_run import Write

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
MOST_REASON = 300  # characters of another library's error


def main(arguments: list[str] | None = None) -> int:
    """Export a run. JAX must not have started, and then uses the CPU only.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user or a file that failed its
        check. It is 130 after Ctrl-C, and 1 if the reader of the output has gone.

    Raises:
        SystemExit: The arguments are malformed, or contain --help, or SIGTERM came.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    # The exported files run on a CPU, so the run is compared on a CPU.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    # On SIGTERM, exit instead of dying, which removes the unfinished files.
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
    parser.add_argument(
        '--workdir', metavar='RUN', type=Path, required=True, help="the run's folder"
    )
    parser.add_argument(
        '--format',
        default='savedmodel,tflite,stablehlo',
        metavar='LIST',
        help='formats or single files, such as int8.tflite (%(default)s)',
    )
    parser.add_argument(
        '--step',
        default='last',
        help='checkpoint: last (the default), best or a number',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        type=Path,
        help='output folder; an earlier export in it is replaced (RUN/export)',
    )
    parser.add_argument(
        '--examples',
        type=int,
        default=1000,
        metavar='N',
        help='evaluation examples for the check (%(default)s)',
    )
    parser.add_argument(
        '--most_lost',
        type=float,
        default=0.02,
        metavar='X',
        help='largest accepted loss of the metric by rounded weights, as a fraction '
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

    If a file with rounded weights cannot be converted or fails its check, it is left
    out. If `names` has this file itself, that is an error. The report is also printed,
    and is 'formats' in export.json. JAX is configured for the whole process.

    Args:
        workdir: the run's folder.
        names: names of formats, such as 'tflite', or of single files, such as
            'int8.tflite'.
        step: 'last', 'best' or the number of a checkpoint.
        out: the folder; an earlier export in it is replaced.
        count: number of test examples for the check of each file, at least 1.
        most_lost: fraction of the metric that a file with rounded weights may lose.

    Returns:
        The report: {'the run' or a file: its size, differences, metrics and latencies}.
        The run has no differences.

    Raises:
        UserError: The run or the format does not exist, a library of a format is not
            installed, or `out` holds other files. Or a file cannot be converted, or its
            outputs differ too much from those of the run.
    """
    from jaxvision.cli.export import from_run
    from jaxvision.cli.runtime import start_jax
    from jaxvision.core.files import write_json
    from jaxvision.tasks.shared import calibrated
    from jaxvision.train import calibration
    from jaxvision.train.run import reopen
    from jaxvision.train.saved import naming_folder, read_config

    files = _files(names)
    if count < 1:
        raise UserError(f'--examples={count}: expected a whole number >= 1.')
    if not most_lost >= 0:
        raise UserError(f'--most_lost={most_lost}: expected a number >= 0.')
    out = out.absolute()
    _check_replaceable(out)
    start_jax(read_config(workdir))
    run = reopen(workdir)
    state = run.restore(step)
    fitted = calibration.read_for(run, state)
    with naming_folder(workdir):
        task = calibrated.with_temperature(run.task, fitted)
    run = dataclasses.replace(run, task=task)
    reference = from_run.reference(run, state.variables, count)
    writers = from_run.writers(run, state.variables, files, fitted)
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
    names = ', '.join([*files, 'export.json'])
    print(f'in {os.path.relpath(out)}: {names}')


def _write_all(
    writers: Mapping[str, 'Write'],
    staging: Path,
    reference: 'Reference',
    names: Sequence[str],
    most_lost: float,
) -> tuple[dict[str, Json], dict[str, str]]:
    """Write and check each file.

    Args:
        writers: {file: function that writes it}.
        staging: folder for the files.
        reference: predictions of the run.
        names: formats and files that the user named.
        most_lost: fraction of the metric that a file with rounded weights may lose.

    Returns:
        (the rows of the report, {file that was left out: reason}).

    Raises:
        UserError: A file in full precision fails, or one that the user named.
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
                others = [other for other in writers if other != file]
                remedy = ''
                if others:
                    remedy = f' To export the others, give --format {",".join(others)}.'
                raise UserError(f'{error}. Nothing was exported.{remedy}') from error
            (staging / file).unlink(missing_ok=True)
            left_out[file] = str(error)
            print(f'left out: {error}', flush=True)
    return rows, left_out


def _files(names: Sequence[str]) -> list[str]:
    """The files of the named formats, in the order of the report."""
    every_file = list(itertools.chain(*FORMATS.values()))
    known = dict.fromkeys([*FORMATS, *every_file])
    for name in names:
        if name not in known:
            raise unknown('--format: there is no', name, known)
    chosen = []
    for format, files in FORMATS.items():
        if format in names:
            chosen += files
        else:
            chosen += [file for file in files if file in names]
    return chosen


def _write(write: 'Write', path: Path) -> None:
    """Write one file, and turn any error into a `UserError`."""
    try:
        with _stderr_hidden():
            write(path)
    except UserError:
        raise
    # TensorFlow's converters raise errors of many types.
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        first_line = (lines or [repr(error)])[0]
        reason = first_line[:MOST_REASON]
        raise UserError(
            f'{path.name}: this model cannot be converted: {reason}'
        ) from error


@contextlib.contextmanager
def _stderr_hidden() -> Iterator[None]:
    """Hide the notes of TensorFlow, which go to the file descriptor of stderr."""
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
    """Check that the output folder is new, or holds nothing but an earlier export.

    Raises:
        UserError: The folder holds other files.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        other_files = set(os.listdir(out)) if out.exists() else set()
        if other_files:
            formats = json.loads((out / 'export.json').read_text())['formats']
            other_files -= {'export.json', *formats}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'--out={out}: expected a new folder or an earlier export. Give another --out.'
        ) from error
    if other_files:
        raise UserError(
            f'--out={out}: expected nothing but an earlier export, and there are other files: '
            f'{", ".join(sorted(other_files))}. Give another --out.'
        )


def _install(staging: Path, out: Path) -> None:
    """Copy the checked files to the output folder, all of them at once."""
    try:
        with atomic_folder(out) as partial:
            shutil.copytree(staging, partial, dirs_exist_ok=True)
    except OSError as error:  # The disk is full or read-only.
        reason = error.strerror or error
        raise UserError(
            f'--out={out}: expected a folder that can be written ({reason}). Make room, or '
            'give another --out.'
        ) from error


if __name__ == '__main__':
    sys.exit(main())
