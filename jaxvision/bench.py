"""python -m jaxvision.bench --plan --config C --topology T: a training step on paper.

examples:
  python -m jaxvision.bench --plan --config configs/cnn.py --topology 8xH100
  python -m jaxvision.bench --plan --config configs/resnet.py:imagenet2012 --topology v5e-256 \\
      --classes 1000 --examples 1281167 --batch_size 16384
  python -m jaxvision.bench --plan --config configs/vit.py --topology v4-32 --config.parallel.fsdp=8

Compiles the update for as many virtual CPU devices as the topology has, runs nothing, and says of
every number whether it is from the compiled program, a data sheet, or assumed. Where the data set
is not on disk, --classes and --examples stand in for it.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

MOST_DEVICES = 2048  # virtual ones, of one process


def main(arguments: list[str] | None = None) -> int:
    options, rest = _parse(sys.argv[1:] if arguments is None else arguments)
    from jaxvision.errors import UserError
    try:
        return _plan(options, rest)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        'python -m jaxvision.bench', description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--plan', action='store_true', required=True)
    parser.add_argument('--config', metavar='FILE[:ARGUMENT]', required=True)
    parser.add_argument('--topology', metavar='T', required=True,
                        help='v5e-256, v4-32 (cores), 8xH100, 64xA100, ...')
    parser.add_argument('--batch_size', type=int, help="instead of the config's data.batch_size")
    parser.add_argument('--classes', type=int, help='where the data set is not on disk')
    parser.add_argument('--examples', type=int, help='of its training split, likewise')
    parser.add_argument('--share', type=float, default=0.5, metavar='S',
                        help='of peak and of memory bandwidth that is achieved (%(default)s)')
    parser.add_argument('--json', action='store_true', help='for machines')
    return parser.parse_known_args(arguments)


def _plan(options: argparse.Namespace, rest: list[str]) -> int:
    from jaxvision import config as configs
    from jaxvision.errors import UserError
    from jaxvision.speed import devices, plan
    from jaxvision.train.run import check
    topology = devices.topology(options.topology)
    if not 0 < options.share <= 1:
        raise UserError(f'--share {options.share}: above 0, up to 1')
    if topology.devices > MOST_DEVICES:
        raise UserError(f'{topology.devices} devices: a plan is compiled for at most '
                        f'{MOST_DEVICES}')
    config, overrides = configs.load(options.config), configs.overrides(rest)
    if options.batch_size:
        overrides['data.batch_size'] = str(options.batch_size)
    for path, text in overrides.items():
        configs.override(config, path, text)
    check(config)
    if bool(options.classes) != bool(options.examples):
        raise UserError('--classes and --examples go together')
    if config.parallel.mode != 'jit':
        raise UserError("a plan is of parallel.mode='jit'")
    _start_jax(topology.devices)
    costs = _costs(config, options)
    sections = plan.plan(costs, topology, plan.Assumed(share=options.share))
    if options.json:
        print(json.dumps({section: [dataclasses.asdict(number) for number in numbers]
                          for section, numbers in sections.items()}
                         | {'sources': topology.device.sources}, indent=1))
    else:
        _show(options, topology, sections)
    return 0


def _start_jax(devices: int) -> None:
    """Virtual devices; what LLVM would make of the program is never run, so it need not try."""
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['XLA_FLAGS'] = ' '.join([
        os.environ.get('XLA_FLAGS', ''), f'--xla_force_host_platform_device_count={devices}',
        '--xla_backend_optimization_level=0']).strip()
    import jax
    if jax.device_count() != devices:
        raise RuntimeError('JAX had started before the plan could set the number of devices')


def _costs(config, options: argparse.Namespace):
    """Compile the run's update from shapes alone, and read off what it costs."""
    import jax
    from jaxvision.speed import collectives, plan
    from jaxvision.train import run as runs, sharding
    sources = _sources(config, options)
    mesh = sharding.make_mesh(config.parallel.mode, config.parallel.fsdp)
    sharding.part_size(mesh, config.data.batch_size)  # raises unless it divides
    run = runs.build(config, Path(), runs.describe(config, sources), sources, mesh)
    state, batch = run.abstract(), runs.blank_batch(run.spec, config.data.batch_size)
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    compiled = run.update.lower(state, shapes).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    parts = {'parameters': state.params, 'optimizer': state.opt_state, 'average': state.ema,
             'model state': state.model_state, 'frozen': state.frozen}
    sizes = {name: _bytes_per_device(tree) for name, tree in parts.items()}
    return plan.Costs(
        config.data.batch_size, config.model.dtype, cost['flops'], cost['bytes accessed'],
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes - memory.alias_size_in_bytes, memory.temp_size_in_bytes,
        {**{name: size for name, size in sizes.items() if size},
         'batch': sum(x.nbytes for x in batch.values()) // run.mesh.size},
        tuple(collectives.parse(compiled.as_text())))


def _bytes_per_device(tree) -> int:
    import jax
    import numpy as np
    return sum(int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize
               for x in jax.tree.leaves(tree))


def _sources(config, options: argparse.Namespace):
    from jaxvision.errors import UserError
    from jaxvision.train.run import Sources
    if options.classes and options.examples:
        blank = Blank(config.data.image_size, options.classes, options.examples)
        return {'train': blank, 'test': blank}
    sources = Sources(config)
    try:
        sources['train']
    except UserError as error:
        raise UserError(f'{error}. To plan without the data, give --classes and --examples'
                        ) from error
    return sources


class Blank:
    """A source with the shapes of a data set that is not here: one black image, of class 0."""

    def __init__(self, size: int, classes: int, examples: int):
        from jaxvision.data.protocol import SourceInfo
        names = tuple(map(str, range(classes)))
        self.info = SourceInfo('blank', 'train', names, (size, size, 3), False, '')
        self._examples = examples

    def __len__(self) -> int:
        return self._examples

    def __getitem__(self, row: int) -> dict:
        import numpy as np
        return {'image': np.zeros(self.info.image_shape, np.uint8), 'label': np.int32(0)}

    def read(self, rows) -> list[dict]:
        return [self[row] for row in rows]

    def labels(self):
        import numpy as np
        return np.zeros(len(self), np.int32)

    def where(self, row: int) -> str:
        return f'blank, row {row}'


def _show(options: argparse.Namespace, topology, sections: dict) -> None:
    print(f'{options.config} on {options.topology}; bytes and FLOPs are per device and step')
    for section, numbers in sections.items():
        print(f'\n{section}')
        for number in numbers:
            print(f'  {number.name:<52} {_readable(number):>13}   {number.origin}')
    print(f"""
compiled program: XLA's, for {topology.devices} virtual CPU devices; nothing was run
data sheet: {', '.join(topology.device.sources)}
efficiency: against one device with the same part of the batch and nothing to send
links: all of a device's at once; a TPU slice too small to wrap around has fewer""")


def _readable(number) -> str:
    """1234567 B is '1.23 MB', 0.00123 s '1.23 ms'."""
    value, unit = number.value, number.unit
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if unit == 's':
        return f'{value * 1e3:.3f} ms'
    if not unit:
        return f'{value:,}' if isinstance(value, int) else f'{value:,.3g}' if value < 1000 \
            else f'{value:,.0f}'
    for prefix, scale in (('P', 1e15), ('T', 1e12), ('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= scale:
            return f'{value / scale:.2f} {prefix}{unit}'
    return f'{value:,.0f} {unit}'


if __name__ == '__main__':
    sys.exit(main())
