"""Train a config, resume its run, or evaluate a checkpoint.

examples:
  jaxvision train --config cnn
  jaxvision train --config cnn:fashion_mnist --config.data.dir=DATA
  jaxvision train --config cnn --config.data.source=folder:PHOTOS
  jaxvision train --config mine/denoise.py --config.seed=1
  jaxvision eval --workdir runs/cnn

CONFIG is the name of an installed config or a Python file, FILE.py. --config.FIELD=VALUE sets any
field of the config, and `--config CONFIG --help` lists the fields. Repeat a command to resume an
interrupted run.

`python -m jaxvision.main` is the same as `jaxvision train`. With --mode eval, it is the same as
`jaxvision eval`.

exit codes:
  0    finished
  75   stopped by a signal, after everything was saved; repeat the command to resume
  2    a mistake in the arguments, the config or the data
  1    any other error
"""

import argparse
import errno
import functools
import hashlib
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.types import MetricValues

if TYPE_CHECKING:  # --help without --config needs no config and no JAX.
    from jaxvision.core.fields import Config
    from jaxvision.train.loop import Result

EVAL_HELP = """Evaluate a checkpoint of a run.

examples:
  jaxvision eval --workdir runs/cnn
  jaxvision eval --workdir runs/cnn --step best --split validation --out results

The command measures all metrics of a split, and draws the figures of the task. The run itself stays
as it is. --config.data.dir=DATA names another folder of the data.

exit codes:
  0    evaluated
  2    a mistake in the arguments or the data
  1    any other error
"""
STOPPED = 75  # EX_TEMPFAIL: a scheduler repeats the command
LONGEST_NAME = 100  # characters of a default run folder
# The arguments of the suggested `predict` command, by the predictor of the run's task.
PREDICT_WITH = {
    'image': ['FILE...'],
    'restoration': ['FILE...'],
    'video': ['FILE...'],
    'generator': ['--number', '16'],
    'support': ['--support', 'DIR', 'FILE...'],
}


def main(arguments: list[str] | None = None) -> int:
    """Train or evaluate, and return the exit code.

    The code is 0 if finished, 75 if a signal stopped the training and it was saved, 2 for
    a mistake of the user or a full disk, 130 if Ctrl-C interrupted it, and 1 if the reader
    of the output has gone. Any other error is raised. If one of several processes fails,
    this function ends its process at once and does not return.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Raises:
        SystemExit: An argument is malformed, or --help is given without --config.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options, rest = _parse(arguments)
    run = functools.partial(_run_explained, options, rest, arguments)
    code = invocation.run(run)
    if options.distributed and code not in (0, STOPPED):
        from jaxvision.train import processes

        processes.leave(code)
    return code


def _run_explained(
    options: argparse.Namespace, rest: list[str], arguments: list[str]
) -> int:
    """Run the command, and explain a full disk and the failure of one process of many."""
    try:
        return _run(options, rest, arguments)
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        if is_disk_full(error):
            folder = options.workdir or 'the run'
            raise UserError(
                f'the disk is full, so {folder} could not be saved. The checkpoints before '
                'this one are complete. Make room and repeat the command.'
            ) from error
        if not options.distributed:
            raise  # Any other error is a bug, and keeps its traceback.
        traceback.print_exc()
        print(
            'error: this process failed, or another one did. In the second case, the log of '
            'the other process ends with the cause. Start all processes again to resume from '
            'the last checkpoint.',
            file=sys.stderr,
        )
        return 1


def _run(options: argparse.Namespace, rest: list[str], arguments: list[str]) -> int:
    from jaxvision.cli.runtime import split_cpu, start_jax
    from jaxvision.train import processes

    _check(options)
    config = _read_config(options, rest)
    if options.help:
        return _print_fields(config)
    if not options.distributed:  # All processes must have the same number of devices.
        split_cpu(config)
    start_jax(config)
    if options.distributed:
        processes.start(options.coordinator, options.num_processes, options.process_id)
    if options.mode == 'eval':
        return _evaluate(config, options)
    return _train(config, options.workdir, arguments)


def _check(options: argparse.Namespace) -> None:
    """Check the arguments that argparse does not check."""
    if options.split not in (None, 'test', 'validation'):
        raise not_a_choice('--split', options.split, ('test', 'validation'))
    if options.mode == 'eval':
        if not (options.workdir or options.config):
            raise UserError(
                '--workdir: expected the folder of a run to evaluate. Give --workdir RUN, '
                'such as --workdir runs/cnn.'
            )
        return
    for name in ('step', 'split', 'out'):
        value = getattr(options, name)
        if value:
            raise UserError(
                f'--{name}={value}: expected no --{name} in training. Give it to the '
                f'evaluation: {invocation.command("eval", "--workdir", "RUN")}'
            )
    if options.workdir and not options.config:
        evaluate = invocation.command('eval', '--workdir', options.workdir)
        raise UserError(
            '--config: expected the config of the run. Give --config CONFIG to train, or '
            f'evaluate the run: {evaluate}'
        )
    if not options.config:
        raise UserError(
            '--config: expected the config to train. Give --config CONFIG, such as '
            '--config cnn.'
        )


def _read_config(options: argparse.Namespace, rest: list[str]) -> 'Config':
    """Read the config, set its overridden fields, and complete `options.workdir`."""
    from jaxvision.core import config as configs
    from jaxvision.train import saved

    overrides = configs.overrides(rest)
    if options.config:
        config = configs.load(options.config)
        options.workdir = options.workdir or default_workdir(options.config, overrides)
    else:
        config = saved.read_config(Path(options.workdir))
    for path, text in overrides.items():
        configs.override(config, path, text)
    return config


def _evaluate(config: 'Config', options: argparse.Namespace) -> int:
    from jaxvision.train import loop

    if options.distributed:
        # JAX catches SIGTERM for training. An evaluation ends at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    loop.evaluate(
        options.workdir,
        options.step or 'last',
        config,
        split=options.split or 'test',
        out=options.out,
    )
    return 0


def _train(config: 'Config', workdir: str, arguments: list[str]) -> int:
    """Train, and print the commands that may follow.

    Args:
        config: of the run.
        workdir: folder of the run.
        arguments: of the running command, to repeat it.
    """
    from jaxvision.train import loop, processes

    result = loop.run(config, workdir)
    code = 0 if result.finished else STOPPED
    if not processes.is_first():
        return code
    if result.finished:
        _print_finished(config, Path(workdir), result)
    else:
        command = invocation.command('train', *arguments)
        print(
            f'stopped at step {result.step}, everything saved. To resume:\n  {command}'
        )
    return code


def _print_finished(config: 'Config', workdir: Path, result: 'Result') -> None:
    """Print the metrics of a finished run, its files and the commands that may follow."""
    already = '' if result.trained else 'already '
    print(f'\n{already}finished at step {result.step}')
    for line in _metric_lines(result.metrics):
        print(line)
    names = sorted(path.name for path in (workdir / 'figures').glob('*.png'))
    pictures = ', '.join(names)
    print(
        f'in {workdir}: metrics.jsonl, checkpoints/, and pictures in figures/: {pictures}'
    )
    print('next:')
    for command in _next_commands(workdir, result):
        print(f'  {command}')
    print(
        f'  in Python: task, variables, spec = jaxvision.load({str(workdir)!r})\n'
        'To train with other settings, set a field, such as --config.seed=1, and choose '
        'another --workdir if you gave one.'
    )


def _next_commands(workdir: Path, result: 'Result') -> list[str]:
    """The commands to evaluate, predict, export and plot a finished run."""
    folder = str(workdir)
    step = ['--step', 'best'] if result.best else []
    commands = [invocation.command('eval', '--workdir', folder, *step)]
    if result.predictor in PREDICT_WITH:
        inputs = list(PREDICT_WITH[result.predictor])
        if 'mask' in result.inputs:
            inputs += ['--mask', 'MASK']
        commands.append(invocation.command('predict', '--workdir', folder, *inputs))
    commands.append(invocation.command('export', '--workdir', folder))
    tensorboard = invocation.path_of('tensorboard')
    commands.append(shlex.join([tensorboard, '--logdir', folder]))
    return commands


def _metric_lines(metrics: MetricValues) -> list[str]:
    """The metrics of each split and of the selected checkpoint, one line each."""
    selected_step = metrics.get('best/step', 0)
    titles = {
        'validation': 'validation',
        'eval': 'test',
        'best': f'test at step {selected_step:.0f}, selected on validation',
    }
    width = len('validation')
    lines = []
    for prefix, title in titles.items():
        texts = [
            f'{name.partition("/")[2]} {value:.4f}'
            for name, value in metrics.items()
            if name.startswith(f'{prefix}/') and name != 'best/step'
        ]
        if texts:
            lines.append(f'  {title:<{width}}  {"  ".join(texts)}')
    return lines


def default_workdir(config: str, overrides: Mapping[str, str]) -> str:
    """Name the run folder after the config and the fields that change the result.

    Fields such as `data.dir` and `train.keep` change no result and are not in the name.

    Args:
        config: the value of --config, NAME or FILE.py, with ':ARGUMENT' or without.
        overrides: {field: value as text}.

    Returns:
        'runs/CONFIG[-ARGUMENT][-FIELD=VALUE...]', sorted by the full names of the
        fields. FIELD is the last part. Characters that are unusual in file names become
        '_'. A name above 100 characters is cut to 90, with a hash of 8 digits after it.
    """
    from jaxvision.core.config import FREE_FIELDS

    file, _, argument = config.partition(':')
    parts = [Path(file).stem]
    if argument:
        parts.append(argument)
    for path, text in sorted(overrides.items()):
        if path not in FREE_FIELDS:
            parts.append(f'{path.rpartition(".")[2]}={text}')
    name = re.sub(r'[^\w.=+-]+', '_', '-'.join(parts))
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f'{name[:90]}-{digest[:8]}'
    return f'runs/{name}'


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the arguments, and print the help.

    Returns:
        (the options, the remaining arguments, which set config fields).
    """
    is_eval = arguments[:2] == ['--mode', 'eval']
    description = EVAL_HELP if is_eval else __doc__
    mode_help = 'train, or evaluate a checkpoint as `jaxvision eval` does (%(default)s)'
    if is_eval:
        mode_help = argparse.SUPPRESS
    parser = invocation.parser('train', description, add_help=False)
    parser.add_argument(
        '--config',
        metavar='CONFIG[:ARGUMENT]',
        help='name of an installed config, or FILE.py',
    )
    parser.add_argument(
        '--workdir', metavar='RUN', help="the run's folder (runs/CONFIG)"
    )
    parser.add_argument(
        '--mode',
        choices=('train', 'eval'),
        default='train',
        help=mode_help,
    )
    _add_evaluation(parser)
    _add_many_machines(parser)
    parser.add_argument(
        '--help',
        '-h',
        action='store_true',
        help='print this text; with --config, also every field and its value',
    )
    options, rest = parser.parse_known_args(arguments)
    places = (options.coordinator, options.num_processes, options.process_id)
    options.distributed |= any(place is not None for place in places)
    if options.help:
        parser.print_help()
        if not options.config:
            sys.exit(0)
    return options, rest


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('evaluation')
    group.add_argument(
        '--step', help='checkpoint to evaluate: last (the default), best or a number'
    )
    group.add_argument(
        '--split',
        metavar='{test,validation}',
        help='split to evaluate (test)',
    )
    group.add_argument(
        '--out', metavar='DIR', help='folder for the results (RUN/eval/STEP-SPLIT)'
    )


def _add_many_machines(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'many machines', 'Start the same command on each machine; see launch/.'
    )
    group.add_argument(
        '--distributed',
        action='store_true',
        help='join the other processes of this TPU pod, Slurm job or GKE job',
    )
    group.add_argument(
        '--coordinator',
        metavar='HOST:PORT',
        help='address of process 0, where there is no TPU pod, Slurm or GKE',
    )
    group.add_argument(
        '--num_processes', type=int, metavar='N', help='number of processes'
    )
    group.add_argument(
        '--process_id', type=int, metavar='I', help='number of this process, 0 to N - 1'
    )


def _print_fields(config: 'Config') -> int:
    from jaxvision.core.config import reference

    print(f'\nfields, with their values in this config:\n{reference(config)}')
    return 0


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a full disk or an exceeded quota."""
    while error:
        # TensorStore gives no errno. Its message quotes the operating system.
        if 'No space left on device' in str(error):
            return True
        if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == '__main__':
    sys.exit(main())
