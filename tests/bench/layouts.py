"""One run on 1x1, 1x4, 2x2 and 4x1 (processes x virtual CPU devices): is it the same run?

    python tests/bench/layouts.py                            both networks, ten minutes
    python tests/bench/layouts.py --config configs/cnn.py:digits --layouts 1x1 2x2

Every layout begins a run of the config and steps it by hand: the examples' indices and the
augmented pixels of each step; the parameters after 30 float64 steps, and after one in float32; and
the evaluation of one checkpoint, which the first layout, 1x1, trained. Exits non-zero unless all
are within the bounds printed.

Adam's first step is the gradient's sign: where a gradient is nothing but rounding, the step is
rounding as large as the learning rate. So a float32 step of SGD (at 0.1) is printed beside it.
"""

import argparse
import functools
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
RUNS = {'configs/cnn.py': [], 'configs/resnet.py:digits': ['data.batch_size=32']}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', nargs='*', default=list(RUNS))
    parser.add_argument('--layouts', nargs='*', default=['1x1', '1x4', '2x2', '4x1'])
    parser.add_argument('--set', nargs='*', default=[], metavar='FIELD=VALUE')
    parser.add_argument('--steps', type=int, default=30)
    parser.add_argument('--float64_only', action='store_true')
    options = parser.parse_args()
    if options.layouts[0] != '1x1':
        parser.error(
            'the first layout is 1x1, which trains the checkpoint that all evaluate'
        )
    failed = False
    for config in options.config:
        overrides = RUNS.get(config, []) + options.set
        with tempfile.TemporaryDirectory() as scratch:
            everywhere = functools.partial(
                run_layouts, options.layouts, Path(scratch), config, overrides
            )
            many = everywhere('float64', options.steps)
            if not options.float64_only:
                own = everywhere('float32', 1)
                one = everywhere(
                    'float32',
                    1,
                    'optimizer.name=sgd',
                    'optimizer.lr=0.1',
                    'optimizer.schedule=constant',
                    'optimizer.warmup=0',
                )
        for layout in options.layouts[1:]:
            row = {
                f'float64, {options.steps} steps': (distance(many, layout), 1e-10),
                'evaluation': (metrics_apart(many, layout), 1e-6),
            }
            if not options.float64_only:
                row |= {
                    'float32, 1 step': (distance(own, layout), 1e-6),
                    'of SGD instead': (distance(one, layout), float('inf')),
                    'evaluation in float32': (metrics_apart(own, layout), 1e-6),
                }
            same = [
                np.array_equal(many[options.layouts[0]][name], many[layout][name])
                for name in ('indices', 'pixels')
            ]
            failed |= not all(same) or any(
                apart > bound for apart, bound in row.values()
            )
            print(
                f'{config} {layout} against {options.layouts[0]}: indices '
                f'{"equal" if same[0] else "DIFFER"}, pixels {"equal" if same[1] else "DIFFER"}, '
                + ', '.join(
                    f'{name} {apart:.1e} (bound {bound:.0e})'
                    for name, (apart, bound) in row.items()
                ),
                flush=True,
            )
    sys.exit(failed)


def run_layouts(
    layouts: list[str],
    scratch: Path,
    config: str,
    overrides: list[str],
    dtype: str,
    steps: int,
    *more: str,
) -> dict:
    """What `run` returns, by layout; the overrides `more` come last."""
    dtypes = [f'model.dtype={dtype}', f'model.param_dtype={dtype}']
    return {
        layout: run(layout, scratch, config, steps, [*dtypes, *overrides, *more])
        for layout in layouts
    }


def distance(found: dict, layout: str) -> float:
    """Between the parameters, as a share of their norm."""
    first, other = next(iter(found.values()))['params'], found[layout]['params']
    return float(np.linalg.norm(other - first) / np.linalg.norm(first))


def metrics_apart(found: dict, layout: str) -> float:
    return float(
        np.abs(found[layout]['metrics'] - next(iter(found.values()))['metrics']).max()
    )


def run(
    layout: str, scratch: Path, config: str, steps: int, overrides: list[str]
) -> dict:
    """{'params', 'indices', 'pixels', 'metrics'} of a run on this layout."""
    processes, devices = map(int, layout.split('x'))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        coordinator = f'127.0.0.1:{free.getsockname()[1]}'
    flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}'
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                'worker',
                coordinator,
                str(i),
                str(processes),
                str(scratch),
                config,
                str(steps),
                *overrides,
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ
            | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'NPROC': '16'},
        )
        for i in range(processes)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=1200)
        if worker.returncode:
            sys.exit(errors.decode()[-2000:])
    with np.load(scratch / 'found.npz') as found:
        return dict(found)


def work(coordinator, process, number, scratch, config_file, steps, *overrides) -> None:
    import jax
    from jax.experimental import multihost_utils

    from jaxvision.core import config as configs
    from jaxvision.core import keys
    from jaxvision.image import color
    from jaxvision.tasks.shared import image_input
    from jaxvision.train import loop, processes, training
    from jaxvision.train.run import begin

    if int(number) > 1:
        processes.start(coordinator, int(number), int(process))
    config = configs.load(config_file)
    for text in overrides:
        path, _, value = text.partition('=')
        configs.override(config, path, value)
    dtype = config.model.dtype
    jax.config.update('jax_enable_x64', dtype == 'float64')
    trained = Path(scratch) / f'trained-{dtype}-{config.optimizer.name}'
    if not trained.exists():  # only the first layout, which runs alone
        short = config.copy_and_resolve_references()
        short.train.steps = '30'
        loop.run(short, trained)
    this = begin(
        config, Path(scratch) / coordinator
    )  # which is another for each layout

    @jax.jit
    def pixels(key, step, batch):
        if config.task.name != 'classification':  # which augment inside their updates
            return batch[next(name for name in batch if batch[name].ndim >= 4)]
        key = keys.at_step(key, 'model', step)  # as the update's
        images = color.to_float(batch['image'], dtype)
        return image_input.augment_images(
            config.task.augment, key, batch['index'], images, batch['label']
        )[0]

    state, indices, hashes = this.init(), [], []

    def whole(x):
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    with training.train_batches(this, 0) as batches:
        for step, batch in zip(range(int(steps)), batches, strict=False):
            indices.append(whole(batch['index']))
            seen = whole(pixels(state.key, step, batch))
            hashes.append(hashlib.sha256(seen.tobytes()).hexdigest())
            state, _ = this.update(state, batch)
    _, found = loop.evaluate(trained)
    leaves = [whole(leaf).ravel() for leaf in jax.tree.leaves(state.params)]
    if processes.is_first():
        np.savez(
            Path(scratch) / 'found.npz',
            params=np.concatenate(leaves),
            indices=indices,
            pixels=hashes,
            metrics=list(found.values()),
        )


if __name__ == '__main__':
    if sys.argv[1:2] == ['worker']:
        work(*sys.argv[2:])
    else:
        main()
