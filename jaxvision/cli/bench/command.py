"""Measure the training and inference speed of a config, or plan its cost on other hardware.

examples:
  jaxvision bench --config cnn
  jaxvision bench --config resnet:imagenet2012 --synthetic --batch_size 256
  jaxvision bench --plan --config resnet:imagenet2012 --topology v5e-256 \\
      --classes 1000 --examples 1281167 --batch_size 16384
  jaxvision bench --plan --config vit --topology v4-32 --config.parallel.fsdp=8

A measurement runs the compiled update on all devices of this machine. It reports compile time,
step time, FLOP/s beside those of a matmul, memory, the input pipeline alone, energy if the machine
counts it, and inference by batch size. --synthetic replaces the data by noise, and needs only jax,
flax, optax, jaxtyping and ml_collections.

A plan runs nothing. It compiles the update for virtual CPU devices, as many as the topology has.
Each number names its origin: the compiled program, a data sheet or an assumption.

--config.FIELD=VALUE sets any field of the config.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError

if TYPE_CHECKING:  # --help needs no config and no JAX.
    from jaxvision.core.fields import Config
    from jaxvision.train.sources import Sources

MOST_DEVICES = 2048  # virtual devices of one process
# The defaults of --synthetic.
CLASSES = 1000
EXAMPLES = 50_000


class Synthetic(NamedTuple):
    """Noise instead of a dataset.

    Attributes:
        classes: number of classes.
        examples: number of training examples.
    """

    classes: int
    examples: int


def main(arguments: list[str] | None = None) -> int:
    """Measure or plan, and print the report.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user. It is 130 after Ctrl-C, and 1
        if the reader of the output has gone.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options, rest = _parse(arguments)
    return invocation.run(functools.partial(_run, options, rest))


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    _check(options)
    try:
        report = _plan(options, rest) if options.plan else _measure(options, rest)
    except ModuleNotFoundError as error:
        package = (error.name or '').partition('.')[0]
        if not options.synthetic or package == 'jaxvision':
            raise
        raise UserError(
            f'--config={options.config}: expected the package {package}, which is not '
            'installed. Install jaxvision with its dependencies.'
        ) from error
    print(report)
    return 0


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the arguments.

    Returns:
        (the options, the remaining arguments, which set config fields).
    """
    parser = invocation.parser('bench', __doc__)
    parser.add_argument(
        '--config',
        metavar='CONFIG[:ARGUMENT]',
        required=True,
        help='name of an installed config, or FILE.py',
    )
    parser.add_argument(
        '--batch_size',
        type=int,
        metavar='N',
        help="images of a step (the config's data.batch_size)",
    )
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    parser.add_argument(
        '--classes',
        type=int,
        metavar='N',
        help='classes of the noise of --synthetic, or, for --plan, of a dataset that is not '
        f'on disk ({CLASSES:,})',
    )
    parser.add_argument(
        '--examples',
        type=int,
        metavar='N',
        help=f'training examples of the noise or the dataset ({EXAMPLES:,})',
    )
    _add_measurement(parser)
    _add_plan(parser)
    return parser.parse_known_args(arguments)


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('measurement (without --plan)')
    group.add_argument(
        '--synthetic',
        action='store_true',
        help='replace the data by RGB noise of data.image_size',
    )
    group.add_argument(
        '--seconds',
        type=float,
        default=10.0,
        metavar='S',
        help='duration of the measurement of each number (%(default)s)',
    )
    group.add_argument(
        '--steps',
        type=int,
        metavar='N',
        help='training steps to time (as many as fit in --seconds)',
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('plan')
    group.add_argument(
        '--plan', action='store_true', help='plan the cost instead of measuring'
    )
    group.add_argument(
        '--topology',
        metavar='T',
        help='devices of the plan: v5e-256, v4-32 (cores), 8xH100, ...',
    )
    group.add_argument(
        '--utilization',
        type=float,
        default=0.5,
        metavar='X',
        help='assumed fraction of peak FLOP/s and memory bandwidth (%(default)s)',
    )


def _check(options: argparse.Namespace) -> None:
    """Check the arguments that do not need the config."""
    for name in ('batch_size', 'classes', 'examples', 'steps', 'seconds'):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f'--{name}={value}: expected a number > 0.')
    if not 0 < options.utilization <= 1:
        raise UserError(
            f'--utilization={options.utilization}: expected a number > 0, <= 1.'
        )
    if options.plan:
        _check_plan(options)
        return
    if options.topology:
        raise UserError(
            f'--topology={options.topology}: expected no --topology in a measurement, which '
            'uses the devices of this machine. Add --plan to plan for other devices.'
        )
    if not options.synthetic and (options.classes or options.examples):
        raise UserError(
            '--classes and --examples: expected --synthetic or --plan with them. Without '
            'these, the dataset of the config has its own. Remove --classes and --examples, '
            'or add --synthetic.'
        )


def _check_plan(options: argparse.Namespace) -> None:
    if not options.topology:
        raise UserError(
            '--topology: expected the devices of the plan. Give --topology T, such as 8xH100.'
        )
    if bool(options.classes) != bool(options.examples):
        raise UserError(
            '--classes and --examples: expected both or neither. Give the other one, too.'
        )
    for name in ('synthetic', 'steps'):
        if getattr(options, name):
            raise UserError(
                f'--{name}: expected no --{name} with --plan, because a plan runs nothing. '
                'Remove one of the two.'
            )


def _read_config(options: argparse.Namespace, rest: list[str]) -> 'Config':
    """Read the config and set its overridden fields."""
    from jaxvision.core import config as configs

    config = configs.load(options.config)
    overrides = configs.overrides(rest)
    if options.batch_size:
        overrides['data.batch_size'] = str(options.batch_size)
    for path, text in overrides.items():
        configs.override(config, path, text)
    configs.check(config)
    return config


def _plan(options: argparse.Namespace, rest: list[str]) -> str:
    """Plan the cost of a config, as text or JSON."""
    from jaxvision.cli.bench import devices, plan, report
    from jaxvision.cli.runtime import start_virtual_devices

    topology = devices.topology(options.topology)
    if topology.devices > MOST_DEVICES:
        raise UserError(
            f'--topology={options.topology}: expected at most {MOST_DEVICES} devices, not '
            f'{topology.devices}. Choose a smaller topology.'
        )
    config = _read_config(options, rest)
    if config.parallel.mode != 'jit':
        raise UserError(
            f"parallel.mode={config.parallel.mode!r}: expected 'jit' for a plan. Give "
            '--config.parallel.mode=jit.'
        )
    start_virtual_devices(topology.devices)
    # JAX starts with this import, so the virtual devices come first.
    from jaxvision.cli.bench import compiled

    synthetic = None
    if options.classes:
        synthetic = Synthetic(options.classes, options.examples)
    remedy = 'To plan without the data, give --classes and --examples.'
    sources = _sources(config, synthetic, remedy)
    costs = compiled.costs(compiled.compile_update(config, sources))
    assumed = plan.Assumed(utilization=options.utilization)
    sections = plan.plan(costs, topology, assumed)
    if options.json:
        values = {
            section: list(map(dataclasses.asdict, numbers))
            for section, numbers in sections.items()
        }
        return json.dumps({**values, 'sources': topology.device.sources}, indent=1)
    return report.planned(options.config, topology, sections)


def _measure(options: argparse.Namespace, rest: list[str]) -> str:
    """Measure a config on the devices of this machine, as text or JSON."""
    from jaxvision.cli.bench import measure, report
    from jaxvision.cli.bench.compiled import compile_update
    from jaxvision.cli.runtime import split_cpu, start_jax

    config = _read_config(options, rest)
    data = config.data.source
    synthetic = None
    if options.synthetic:
        synthetic = Synthetic(options.classes or CLASSES, options.examples or EXAMPLES)
        side = config.data.image_size
        data = (
            f'noise instead of {data}: {synthetic.classes:,} classes, '
            f'{synthetic.examples:,} images of {side} x {side} x 3'
        )
        # Threads need Grain, which may not be installed.
        config.data.threads = 0
    split_cpu(config)
    start_jax(config, cached=False)  # The compile time is measured.
    # The report alone goes to stdout.
    with contextlib.redirect_stdout(sys.stderr):
        remedy = 'To measure without the data, give --synthetic.'
        sources = _sources(config, synthetic, remedy)
        with _full_memory_explained(config):
            print('compiling ...', flush=True)
            compiled = compile_update(config, sources)
            print('measuring ...', flush=True)
            effort = measure.Effort(options.seconds, options.steps)
            has_data = not options.synthetic
            measurement = measure.measure(compiled, effort, read_input=has_data)
    run = {'config': options.config, 'overrides': rest, 'data': data}
    result = {**run, **measurement}
    if options.json:
        return json.dumps(result, indent=1)
    return report.measured(result)


@contextlib.contextmanager
def _full_memory_explained(config: 'Config') -> Iterator[None]:
    """Turn the error of a device's full memory into a remedy."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        reason = str(error).splitlines()[0]
        size = config.data.batch_size
        raise UserError(
            f'data.batch_size={size}: expected a batch that fits in the memory of a device. '
            f'Give --batch_size below {size}. {reason}'
        ) from error


def _sources(config: 'Config', synthetic: Synthetic | None, remedy: str) -> 'Sources':
    """Open the dataset of a config, or noise.

    Args:
        config: with the name of the dataset.
        synthetic: size of the noise; None: open the dataset.
        remedy: sentence for the error if the dataset cannot be opened.

    Raises:
        UserError: The dataset cannot be opened.
    """
    from jaxvision.data.noise import Noise
    from jaxvision.train.sources import Sources

    if synthetic:
        source = Noise(config.data.image_size, *synthetic)
        return Sources(config, open_split=lambda data, split: source)
    sources = Sources(config)
    try:
        sources['train']
    except UserError as error:
        message = str(error).removesuffix('.')
        raise UserError(f'{message}. {remedy}') from error
    return sources


if __name__ == '__main__':
    sys.exit(main())
