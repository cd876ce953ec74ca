"""python -m jaxvision.main --config configs/cnn.py: trains, resumes and evaluates.

examples:
  python -m jaxvision.main --config configs/cnn.py
  python -m jaxvision.main --config configs/cnn.py:fashion_mnist --config.data.dir=DATA
  python -m jaxvision.main --config configs/cnn.py --config.data.source=folder:PHOTOS
  python -m jaxvision.main --workdir runs/cnn --mode eval --step best

The same command again goes on where it stopped. Any field of the config can be set with
--config.FIELD=VALUE; `--config FILE --help` lists them. Exit codes: 0 finished, 75 stopped by a
signal with everything saved (start it again), 2 a mistake to mend, 1 anything else.
"""

import argparse
import errno
import hashlib
import logging
import os
import re
import shlex
import sys
from pathlib import Path

STOPPED = 75  # EX_TEMPFAIL: a scheduler starts the command again


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options, overrides = _parse(arguments)
    from jaxvision.errors import UserError
    try:
        return _run(options, overrides, arguments)
    except UserError as error:
        return _fail(str(error))
    except Exception as error:  # only a full disk is expected here; anything else is a bug of ours
        if not _is_disk_full(error):
            raise
        where = options.workdir or 'the run'
        return _fail(f'the disk is full, so {where} could not be saved further. Its checkpoints are '
                     'whole: make room and give the same command again')


def _run(options: argparse.Namespace, overrides: dict[str, str], arguments: list[str]) -> int:
    from jaxvision import config as configs
    if options.mode == 'eval' and options.workdir and not options.config:
        _start_jax(Path(options.workdir))
        return _evaluate(options)
    if not options.config:
        return _fail('give --config FILE (configs/cnn.py is one), or --workdir RUN --mode eval')
    config = configs.load(options.config)
    for path, text in overrides.items():
        configs.override(config, path, text)
    options.workdir = options.workdir or default_workdir(options.config, overrides)
    if options.help:
        return _help(config)
    _start_jax(Path(options.workdir), config)
    if options.mode == 'eval':
        return _evaluate(options)
    from jaxvision.train import loop
    result = loop.run(config, options.workdir)
    command = shlex.join(['python', '-m', 'jaxvision.main', *arguments])
    if not result.finished:
        print(f'stopped at step {result.step}, everything saved. To go on:\n  {command}')
        return STOPPED
    _say_finished(Path(options.workdir), result)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from jaxvision.train import loop
    loop.evaluate(options.workdir, options.step)
    return 0


def _say_finished(workdir: Path, result) -> None:
    print(f'\n{"" if result.trained else "already "}finished at step {result.step}: ' + '  '.join(
        f'{name} {value:.4f}' for name, value in result.metrics.items()))
    print(f'in {workdir}: metrics.jsonl, checkpoints/, and pictures in figures/: '
          + ', '.join(sorted(path.name for path in (workdir / 'figures').glob('*.png'))))
    print('next:\n'
          f'  tensorboard --logdir {workdir}\n'
          f'  python -m jaxvision.main --workdir {workdir} --mode eval --step best\n'
          f'  python -c "import jaxvision; task, variables, spec = jaxvision.load(\'{workdir}\')"\n'
          'To train again with other settings, override a field (--config.seed=1) or give another '
          '--workdir.')


def default_workdir(config: str, overrides: dict[str, str]) -> str:
    """runs/CONFIG[-ARGUMENT][-OVERRIDES]; where the data are and how often it saves do not count."""
    from jaxvision.config import is_free
    file, _, argument = config.partition(':')
    parts = [Path(file).stem, argument] + [
        f'{path.rpartition(".")[2]}={text}' for path, text in sorted(overrides.items())
        if not is_free(f'{path}:')]
    name = re.sub(r'[^\w.=+-]+', '_', '-'.join(part for part in parts if part))
    if len(name) > 100:
        name = name[:90] + '-' + hashlib.sha256(name.encode()).hexdigest()[:8]
    return f'runs/{name}'


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    parser = argparse.ArgumentParser('python -m jaxvision.main', description=__doc__, add_help=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--config', metavar='FILE[:ARGUMENT]', help='a config file')
    parser.add_argument('--workdir', metavar='RUN', help="the run's folder; by default runs/CONFIG")
    parser.add_argument('--mode', choices=('train', 'eval'), default='train')
    parser.add_argument('--step', default='last', help='to evaluate: last, best or a number')
    parser.add_argument('--help', '-h', action='store_true', help='this text; with --config, '
                        'also every field and its value')
    options, rest = parser.parse_known_args(arguments)
    overrides = {}
    for text in rest:
        field, equals, value = text.partition('=')
        if not field.startswith('--config.') or not equals:
            parser.error(f'what is {text!r}? A field is set with --config.FIELD=VALUE')
        overrides[field.removeprefix('--config.')] = value
    if options.help:
        parser.print_help()
        if not options.config:
            sys.exit(0)
    return options, overrides


def _help(config) -> int:
    from jaxvision.config import fields
    print('\nfields, with their values:')
    for name, value in fields(config).items():
        print(f'  --config.{name}={value}')
    return 0


def _start_jax(workdir: Path, config=None) -> None:
    """What must be settled before JAX starts: quiet libraries, exact operations, the cache of
    compiled programs."""
    from jaxvision.train.writers import read_json
    config = config or read_json(workdir / 'config.json')
    if config['parallel']['deterministic']:
        os.environ['XLA_FLAGS'] = (os.environ.get('XLA_FLAGS', '')
                                   + ' --xla_gpu_deterministic_ops=true').strip()
    logging.getLogger('absl').setLevel(logging.ERROR)
    import jax
    if 'float64' in (config['model']['dtype'], config['model']['param_dtype']):
        jax.config.update('jax_enable_x64', True)
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jaxvision' / 'xla'
    jax.config.update('jax_compilation_cache_dir', str(cache))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of it; TensorStore tells so in words only."""
    while error:
        if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT) \
                or 'No space left on device' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str) -> int:
    print(f'error: {message}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
