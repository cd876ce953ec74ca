"""jaxvision bench --config C: how fast a config trains and answers, and what limits it.

examples:
  jaxvision bench --config cnn
  jaxvision bench --config resnet:imagenet2012 --synthetic --batch_size 256
  jaxvision bench --plan --config resnet:imagenet2012 --topology v5e-256 \\
      --classes 1000 --examples 1281167 --batch_size 16384
  jaxvision bench --plan --config vit --topology v4-32 --config.parallel.fsdp=8

Measures the compiled update on all devices that are here: compilation, step, FLOP/s beside a
matmul's, memory, the input pipeline alone, energy where it is counted, and inference by batch size.
--synthetic takes noise for the data, and needs only jax, flax, optax, jaxtyping and ml_collections.
--plan runs nothing: it compiles the update for as many virtual CPU devices as the topology has, and
says of every number whether it is from the compiled program, a data sheet, or assumed. Any field of
the config can be set with --config.FIELD=VALUE.
"""

import argparse
import contextlib
import dataclasses
import json
import sys

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError

MOST_DEVICES = 2048  # virtual ones, of one process
CLASSES, EXAMPLES = 1000, 50_000  # of --synthetic


def main(arguments: list[str] | None = None) -> int:
    options, rest = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _check(options)
        print(_plan(options, rest) if options.plan else _measure(options, rest))
        return 0
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or '').partition('.')[0]
        if not options.synthetic or package == 'jaxvision':
            raise
        print(
            f'error: this config needs the package {package}, which is not installed. '
            'Install jaxvision with its dependencies.',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = invocation.parser('bench', __doc__)
    parser.add_argument('--config', metavar='CONFIG[:ARGUMENT]', required=True)
    parser.add_argument(
        '--batch_size', type=int, help="instead of the config's data.batch_size"
    )
    parser.add_argument('--json', action='store_true', help='for machines')
    parser.add_argument(
        '--classes',
        type=int,
        metavar='N',
        help='with --synthetic, or with --plan '
        f'where the data set is not on disk ({CLASSES:,})',
    )
    parser.add_argument(
        '--examples',
        type=int,
        metavar='N',
        help=f'of its training split, likewise ({EXAMPLES:,})',
    )
    measured = parser.add_argument_group('measured, without --plan')
    measured.add_argument(
        '--synthetic',
        action='store_true',
        help='noise in the place of the data: RGB of data.image_size',
    )
    measured.add_argument(
        '--seconds',
        type=float,
        default=10.0,
        metavar='S',
        help='to measure each of the numbers (%(default)s)',
    )
    measured.add_argument(
        '--steps', type=int, metavar='N', help='to time, instead of as many as fit'
    )
    planned = parser.add_argument_group('on paper')
    planned.add_argument('--plan', action='store_true')
    planned.add_argument(
        '--topology', metavar='T', help='v5e-256, v4-32 (cores), 8xH100, ...'
    )
    planned.add_argument(
        '--utilization',
        type=float,
        default=0.5,
        metavar='S',
        help='of peak and of memory bandwidth that is achieved (%(default)s)',
    )
    return parser.parse_known_args(arguments)


def _check(options: argparse.Namespace) -> None:
    if options.plan and not options.topology:
        raise UserError('--plan needs a --topology, like 8xH100')
    if options.topology and not options.plan:
        raise UserError(
            '--topology is for --plan: a measurement is of the devices that are here'
        )
    if not 0 < options.utilization <= 1:
        raise UserError(
            f'--utilization={options.utilization}: expected a number > 0, <= 1'
        )
    if options.plan and bool(options.classes) != bool(options.examples):
        raise UserError('--classes and --examples go together')
    if options.plan and (options.synthetic or options.steps):
        raise UserError(
            '--synthetic and --steps are for a measurement: --plan runs nothing'
        )
    if (
        not options.plan
        and not options.synthetic
        and (options.classes or options.examples)
    ):
        raise UserError('--classes and --examples are for --synthetic and --plan')
    for name in ('batch_size', 'classes', 'examples', 'steps', 'seconds'):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f'--{name} {value}: it is above 0')


def _config(options: argparse.Namespace, rest: list[str]):
    from jaxvision.core import config as configs
    from jaxvision.core.config import check

    config, overrides = configs.load(options.config), configs.overrides(rest)
    if options.batch_size:
        overrides['data.batch_size'] = str(options.batch_size)
    for path, text in overrides.items():
        configs.override(config, path, text)
    check(config)
    return config


def _plan(options: argparse.Namespace, rest: list[str]) -> str:
    from jaxvision.cli.bench import devices, plan, report
    from jaxvision.cli.runtime import start_virtual_devices

    topology = devices.topology(options.topology)
    if topology.devices > MOST_DEVICES:
        raise UserError(
            f'{topology.devices} devices: a plan is compiled for at most {MOST_DEVICES}'
        )
    config = _config(options, rest)
    if config.parallel.mode != 'jit':
        raise UserError("a plan is of parallel.mode='jit'")
    start_virtual_devices(topology.devices)
    from jaxvision.cli.bench import compiled

    noise = options.classes and (options.classes, options.examples)
    sources = _sources(
        config, noise, 'To plan without the data, give --classes and --examples'
    )
    costs = compiled.costs(compiled.compile_update(config, sources))
    sections = plan.plan(costs, topology, plan.Assumed(utilization=options.utilization))
    if options.json:
        return json.dumps(
            {
                section: [dataclasses.asdict(number) for number in numbers]
                for section, numbers in sections.items()
            }
            | {'sources': topology.device.sources},
            indent=1,
        )
    return report.planned(options.config, topology, sections)


def _measure(options: argparse.Namespace, rest: list[str]) -> str:
    from jaxvision.cli.bench import measure, report
    from jaxvision.cli.bench.compiled import compile_update
    from jaxvision.cli.runtime import split_cpu, start_jax

    config = _config(options, rest)
    data, noise = config.data.source, None
    if options.synthetic:
        noise = options.classes or CLASSES, options.examples or EXAMPLES
        data = (
            f'noise in the place of {data}: {noise[0]:,} classes, {noise[1]:,} images of '
            f'{config.data.image_size} x {config.data.image_size} x 3'
        )
        config.data.threads = 0  # Grain, whose threads read ahead, may not be installed
    split_cpu(config)
    start_jax(config, cached=False)  # the time that compilation takes is measured
    with contextlib.redirect_stdout(sys.stderr):  # whatever else is said
        sources = _sources(
            config, noise, 'To measure without the data, give --synthetic'
        )
        with _room_enough(config):
            print('compiling ...', flush=True)
            compiled = compile_update(config, sources)
            print('measuring ...', flush=True)
            found = measure.measure(
                compiled,
                measure.Effort(options.seconds, options.steps),
                read_input=not options.synthetic,
            )
    found = {'config': options.config, 'overrides': rest, 'data': data, **found}
    return json.dumps(found, indent=1) if options.json else report.measured(found)


@contextlib.contextmanager
def _room_enough(config):
    """Tells of a device's full memory as of a batch that is too large."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        raise UserError(
            'the memory of a device is full; give a --batch_size below '
            f'{config.data.batch_size}: {str(error).splitlines()[0]}'
        ) from error


def _sources(config, noise: tuple[int, int] | None, without: str):
    """The config's data, or noise of so many classes and examples."""
    from jaxvision.data.noise import Noise
    from jaxvision.train.sources import Sources

    if noise:
        source = Noise(config.data.image_size, *noise)
        return Sources(config, open_split=lambda data, split: source)
    sources = Sources(config)
    try:
        sources['train']
    except UserError as error:
        raise UserError(f'{error}. {without}') from error
    return sources


if __name__ == '__main__':
    sys.exit(main())
