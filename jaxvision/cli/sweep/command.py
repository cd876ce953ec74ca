"""Search for better settings of a config, and test the winner.

examples:
  jaxvision sweep --config cnn --trials 20 --retest 3 \\
      --sweep.optimizer.lr='log(1e-4, 3e-2)' --sweep.model.variant=16-32-64,32-64-128
  jaxvision sweep --config cnn --search grid --sweep.optimizer.lr=1e-3,1e-2
  jaxvision sweep --config cnn --trials 27 --halving 3 --sweep.optimizer.lr='log(1e-4, 3e-2)'
  jaxvision sweep --workdir sweeps/cnn --report

--sweep.FIELD=VALUES searches over a field of the config:
  a,b,c             these values, or a JSON list where a value holds a comma
  log(a,b)          numbers whose logarithms are spread evenly
  uniform(a,b)      numbers spread evenly
  int(a,b)          whole numbers, both ends included
  range(a,b,step)   a, a + step, ... up to b
A function sweep() of the config file may return {field: values} instead. --config.FIELD=VALUE sets
a field of all trials.

searches:
  grid     every combination
  random   independent points
  sobol    points that cover the space evenly
  tpe      points near good ones, by densities (with the extra [search], as the next two)
  cmaes    points around a moving mean, by CMA-ES
  gp       points that a Gaussian process expects to be better (needs torch)

Trials train on a part of the training data, and are compared on the validation split. The test
split selects nothing. Trial K is the same for every number of workers. A sweep that was stopped
goes on when it is started again with the same command. tpe, cmaes and gp wait for a batch of trials
and then suggest the next one, so that their points depend on results and not on time.

--engine ray runs the trials on the machines of a Ray cluster (with the extra [ray]), which share
the folder of the sweep. grid, random and sobol are then the same sweep as on one machine. tpe,
cmaes and gp suggest a point whenever a machine is free, and --halving does not wait for all trials
(ASHA). So their results depend on the order in which trials end.

exit codes:
  0    finished
  75   stopped by a signal, after everything was saved; repeat the command to go on
  2    a mistake in the arguments, the config or the data, or every trial failed
"""

import argparse
import contextlib
import fcntl
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field

if TYPE_CHECKING:  # --help needs no JAX.
    from jaxvision.cli.sweep.definition import Sweep

STOPPED = 75
LOCK = 'sweep.lock'
# Seconds for the trials on other machines to save after a signal.
SECONDS_TO_SAVE = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep or a part of it, and return the exit code.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        0 if finished, 75 if a signal stopped it, 2 for a mistake of the user.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options, rest = _parse(arguments)
    return invocation.run(functools.partial(_run, options, rest, arguments))


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = invocation.parser('sweep', __doc__)
    parser.add_argument(
        '--config',
        metavar='CONFIG[:ARGUMENT]',
        help='name of an installed config, or FILE.py',
    )
    parser.add_argument(
        '--workdir', metavar='SWEEP', help="the sweep's folder (sweeps/CONFIG)"
    )
    parser.add_argument(
        '--search',
        default='random',
        metavar='NAME',
        help='one of the names above (%(default)s)',
    )
    parser.add_argument(
        '--trials', type=int, metavar='N', help='number of trials (20; grid: all)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, metavar='N', help='of the search (%(default)s)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='trials at the same time (one per core or GPU)',
    )
    parser.add_argument(
        '--batch',
        type=int,
        metavar='N',
        help='trials that tpe, cmaes and gp suggest together (4)',
    )
    _add_engine(parser)
    _add_groups(parser)
    return parser.parse_known_args(arguments)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('machines')
    group.add_argument(
        '--engine',
        default='processes',
        metavar='NAME',
        help='processes of this machine, or ray (%(default)s)',
    )
    group.add_argument(
        '--address',
        metavar='ADDRESS',
        help='HOST:PORT of the Ray cluster, auto: the one of this machine (auto)',
    )


def _add_groups(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('successive halving')
    group.add_argument(
        '--halving',
        type=int,
        default=0,
        metavar='N',
        help='stop early: one of N trials goes on from rung to rung (0: off)',
    )
    group.add_argument('--rungs', type=int, metavar='N', help='most rungs (3)')
    group = parser.add_argument_group('the test of the winner')
    group.add_argument(
        '--retest',
        type=int,
        default=0,
        metavar='N',
        help='train the best settings again with N new seeds, and measure the test split',
    )
    group.add_argument('--top', type=int, metavar='N', help='settings to test (1)')
    group = parser.add_argument_group('parts')
    group.add_argument('--trial', type=int, metavar='K', help='run trial K alone')
    group.add_argument(
        '--report', action='store_true', help='only write the report of the folder'
    )
    group.add_argument(
        '--optuna',
        default='',
        metavar='FILE',
        help='also write a journal of Optuna, for optuna-dashboard',
    )


def _run(options: argparse.Namespace, rest: list[str], arguments: list[str]) -> int:
    from jaxvision.cli.sweep import definition, journal, running

    _check(options)
    if options.optuna:
        journal.require(options.optuna)
    if options.report:
        sweep = definition.read(Path(options.workdir))
        return running.report_folder(sweep, options.optuna)
    from jaxvision.cli.sweep import opening

    sweep = opening.open_sweep(options, rest)
    with _held(sweep, shared=options.trial is not None):
        definition.take_folder(sweep)
        request = running.Request(
            workers=options.workers,
            address=(options.address or 'auto') if options.engine == 'ray' else '',
            trial=options.trial,
            retest=options.retest,
            top=options.top or 1,
            optuna=options.optuna,
        )
        if running.run(sweep, request):
            return 0
        state = 'everything saved'
        if options.engine == 'ray' and not _are_saved(sweep):
            state = 'some trials may still save on their machines'
    print(f'stopped, {state}. To go on:\n  ' + invocation.command('sweep', *arguments))
    return STOPPED


def _are_saved(sweep: 'Sweep') -> bool:
    """Wait for the trials on other machines; returns whether all have saved."""
    from jaxvision.cli.sweep import process, records

    locks = sweep.folder.glob(f'*/*/{records.LOCK}')
    return process.wait_until_free([lock.parent for lock in locks], SECONDS_TO_SAVE)


def _check(options: argparse.Namespace) -> None:
    """Check the arguments that argparse does not check."""
    for name, least in (
        ('trials', 1),
        ('workers', 1),
        ('seed', 0),
        ('batch', 1),
        ('trial', 0),
        ('retest', 0),
        ('top', 1),
        ('rungs', 2),
    ):
        number = getattr(options, name)
        if number is not None:
            Field(1, '', least=least).check(f'--{name}', number)
    if options.halving:
        Field(3, '', least=2).check('--halving', options.halving)
    _check_companions(options)
    if options.report and not options.workdir:
        raise UserError(
            '--workdir: expected the folder of a sweep. Give --workdir SWEEP.'
        )
    if not options.report and not options.config:
        raise UserError(
            '--config: expected the config to start from. Give --config CONFIG, such as '
            '--config cnn.'
        )
    if options.trial is not None and options.halving:
        raise UserError(
            f'--trial={options.trial}: expected no --halving, which compares all trials. '
            'Leave one of them out.'
        )
    if options.trial is not None and options.optuna:
        raise UserError(
            f'--trial={options.trial}: expected no --optuna, which shows all trials. Give it '
            'with --report.'
        )
    if options.trial is not None and options.engine == 'ray':
        raise UserError(
            f'--trial={options.trial}: expected no --engine ray, which runs all trials. Leave '
            'one of them out.'
        )
    if options.retest and (options.trial is not None or options.report):
        raise UserError(
            f'--retest={options.retest}: expected no --trial and no --report, because all '
            'trials must have ended. Leave the others out.'
        )


def _check_companions(options: argparse.Namespace) -> None:
    """Refuse arguments without the argument that they belong to."""
    from jaxvision.cli.sweep import learning

    is_on_ray = options.engine == 'ray'
    learns = options.search in learning.NAMES and not is_on_ray
    for name, is_used, companion in (
        ('rungs', options.halving, '--halving'),
        ('top', options.retest, '--retest'),
        ('batch', learns, f'--search {" or ".join(learning.NAMES)} on one machine'),
        ('address', is_on_ray, '--engine ray'),
    ):
        number = getattr(options, name)
        if number is not None and not is_used:
            raise UserError(
                f'--{name}={number}: expected {companion}, which it belongs to. Give it, or '
                f'leave out --{name}.'
            )


@contextlib.contextmanager
def _held(sweep: 'Sweep', shared: bool) -> Iterator[None]:
    """Lock the folder of a sweep, so that only one process coordinates it.

    Args:
        sweep: the sweep.
        shared: whether other processes may run other trials of it.
    """
    os.makedirs(sweep.folder, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with (sweep.folder / LOCK).open('w') as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f'another process runs the sweep in {sweep.folder}. Wait for it, or choose '
                'another --workdir.'
            ) from None
        except OSError:
            pass  # The file system has no locks.
        yield


if __name__ == '__main__':
    sys.exit(main())
