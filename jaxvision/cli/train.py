"""Train a config, resume its run, or evaluate a checkpoint.

examples:
  jaxvision train --config cnn
  jaxvision train --config cnn:fashion_mnist --config.data.dir=DATA
  jaxvision train --config cnn --config.data.source=folder:PHOTOS
  jaxvision train --config mine/denoise.py --config.seed=1
  jaxvision eval --workdir runs/cnn

CONFIG is the name of an installed config or a Python file, FILE.py. The same command again resumes
an interrupted run. --config.FIELD=VALUE sets any field of the config; `--config CONFIG --help`
lists the fields. `python -m jaxvision.main` is `jaxvision train`, and with --mode eval it is
`jaxvision eval`. Exit codes: 0 finished, 75 stopped by a signal with everything saved (start it
again), 2 a mistake to mend, 1 anything else.
"""

import argparse
import errno
import hashlib
import os
import re
import shlex
import signal
import sys
import traceback
from pathlib import Path

from jaxvision.cli import invocation

STOPPED = 75  # EX_TEMPFAIL: a scheduler starts the command again
# What `predict` is given after a run, by the predictor that its task declares.
PREDICT_WITH = {
    'image': ['FILE...'],
    'restoration': ['FILE...'],
    'video': ['FILE...'],
    'generator': ['--number', '16'],
    'support': ['--support', 'DIR', 'FILE...'],
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options, rest = _parse(arguments)
    from jaxvision.core.errors import UserError

    try:
        code = _run(options, rest, arguments)
    except UserError as error:
        code = _fail(str(error))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # `--help | head` has seen enough. Nor may Python's last flush complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    # Only a full disk is expected here. Anything else is a bug of ours.
    except Exception as error:
        if _is_disk_full(error):
            where = options.workdir or 'the run'
            code = _fail(
                f'the disk is full, so {where} could not be saved further. Its '
                'checkpoints are whole: make room and give the same command again'
            )
        elif options.distributed:
            traceback.print_exc()
            code = 1
            print(
                'error: this process failed, or it lost another, whose last lines then say why. '
                'The same launch goes on from the last checkpoint',
                file=sys.stderr,
            )
        else:
            raise
    if options.distributed and code not in (0, STOPPED):
        from jaxvision.train import processes

        processes.leave(code)
    return code


def _run(options: argparse.Namespace, rest: list[str], arguments: list[str]) -> int:
    from jaxvision.cli.runtime import split_cpu, start_jax
    from jaxvision.core import config as configs
    from jaxvision.train import loop, processes
    from jaxvision.train.saved import read_config

    overrides = configs.overrides(rest)
    if options.config:
        config = configs.load(options.config)
        options.workdir = options.workdir or default_workdir(options.config, overrides)
    elif options.workdir and options.mode == 'eval':
        config = read_config(Path(options.workdir))
    else:
        return _fail('give --config CONFIG (cnn is one), or --workdir RUN --mode eval')
    for path, text in overrides.items():
        configs.override(config, path, text)
    if options.help:
        return _help(config)
    if not options.distributed:  # processes must have equally many devices
        split_cpu(config)
    start_jax(config)
    if options.distributed:
        processes.start(options.coordinator, options.num_processes, options.process_id)
    if options.mode == 'eval':
        if (
            options.distributed
        ):  # JAX takes note of a SIGTERM, and nobody would ask it here
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        loop.evaluate(
            options.workdir,
            options.step or 'last',
            config,
            split=options.split or 'test',
            out=options.out,
        )
        return 0
    for name in ('step', 'split', 'out'):
        if getattr(options, name):
            return _fail(f'--{name} is for --mode eval')
    result = loop.run(config, options.workdir)
    if not processes.is_first():
        return 0 if result.finished else STOPPED
    if not result.finished:
        print(
            f'stopped at step {result.step}, everything saved. To go on:\n  '
            + invocation.command('train', *arguments)
        )
        return STOPPED
    _say_finished(config, Path(options.workdir), result)
    return 0


def _say_finished(config, workdir: Path, result) -> None:
    already = '' if result.trained else 'already '
    print(f'\n{already}finished at step {result.step}')
    for line in _metric_lines(result.metrics):
        print(line)
    pictures = ', '.join(
        sorted(path.name for path in (workdir / 'figures').glob('*.png'))
    )
    print(
        f'in {workdir}: metrics.jsonl, checkpoints/, and pictures in figures/: {pictures}'
    )
    step = ['--step', 'best'] if result.best else []
    folder = str(workdir)
    evaluate = invocation.command('eval', '--workdir', folder, *step)
    predict = ''
    if result.predictor in PREDICT_WITH:
        mask = ['--mask', 'MASK'] if 'mask' in result.inputs else []
        given = [*PREDICT_WITH[result.predictor], *mask]
        predict = f'  {invocation.command("predict", "--workdir", folder, *given)}\n'
    export = invocation.command('export', '--workdir', folder)
    tensorboard = shlex.join([invocation.path_of('tensorboard'), '--logdir', folder])
    print(
        'next:\n'
        f'  {evaluate}\n'
        f'{predict}'
        f'  {export}\n'
        f'  {tensorboard}\n'
        f'  in Python: task, variables, spec = jaxvision.load({folder!r})\n'
        'To train with other settings, override a field (--config.seed=1) or give another '
        '--workdir.'
    )


def _metric_lines(metrics: dict[str, float]) -> list[str]:
    """The metrics of each split, and those of the selected checkpoint, on one line each."""
    selected = metrics.get('best/step', 0)
    titles = {
        'validation': 'validation',
        'eval': 'test',
        'best': f'test at step {selected:.0f}, selected on validation',
    }
    width = max(len(title) for name, title in titles.items() if name != 'best')
    lines = []
    for prefix, title in titles.items():
        values = {
            name.partition('/')[2]: value
            for name, value in metrics.items()
            if name.startswith(f'{prefix}/') and name != 'best/step'
        }
        text = '  '.join(f'{name} {value:.4f}' for name, value in values.items())
        if text:
            lines.append(f'  {title:<{width}}  {text}')
    return lines


def default_workdir(config: str, overrides: dict[str, str]) -> str:
    """runs/CONFIG[-ARGUMENT][-OVERRIDES]; not where the data are or how often it saves."""
    from jaxvision.core.config import FREE_FIELDS

    file, _, argument = config.partition(':')
    parts = [Path(file).stem, argument] + [
        f'{path.rpartition(".")[2]}={text}'
        for path, text in sorted(overrides.items())
        if path not in FREE_FIELDS
    ]
    name = re.sub(r'[^\w.=+-]+', '_', '-'.join(part for part in parts if part))
    if len(name) > 100:
        name = name[:90] + '-' + hashlib.sha256(name.encode()).hexdigest()[:8]
    return f'runs/{name}'


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = invocation.parser('train', __doc__, add_help=False)
    parser.add_argument(
        '--config',
        metavar='CONFIG[:ARGUMENT]',
        help='name of an installed config, or FILE.py',
    )
    parser.add_argument(
        '--workdir', metavar='RUN', help="the run's folder; by default runs/CONFIG"
    )
    parser.add_argument('--mode', choices=('train', 'eval'), default='train')
    parser.add_argument(
        '--step', help='with --mode eval: last (the default), best or a number'
    )
    parser.add_argument(
        '--split',
        choices=('test', 'validation'),
        help='with --mode eval: the split that is evaluated; test by default',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='with --mode eval: the folder of the results; RUN/eval/STEP-SPLIT by default',
    )
    many = parser.add_argument_group(
        'many machines', 'the same command on each (see launch/)'
    )
    many.add_argument(
        '--distributed',
        action='store_true',
        help='join the other processes of this TPU pod, Slurm job or GKE job',
    )
    many.add_argument(
        '--coordinator', metavar='HOST:PORT', help='of process 0, anywhere else'
    )
    many.add_argument('--num_processes', type=int, metavar='N')
    many.add_argument('--process_id', type=int, metavar='I', help='0 to N - 1')
    parser.add_argument(
        '--help',
        '-h',
        action='store_true',
        help='this text; with --config, also every field and its value',
    )
    options, rest = parser.parse_known_args(arguments)
    given = (options.coordinator, options.num_processes, options.process_id)
    options.distributed |= any(value is not None for value in given)
    if options.help:
        parser.print_help()
        if not options.config:
            sys.exit(0)
    return options, rest


def _help(config) -> int:
    from jaxvision.core.config import reference

    print(f'\nfields, with their values in this config:\n{reference(config)}')
    return 0


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of it; TensorStore tells so in words only."""
    while error:
        if getattr(error, 'errno', None) in (
            errno.ENOSPC,
            errno.EDQUOT,
        ) or 'No space left on device' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str) -> int:
    print(f'error: {message}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
