"""What grows with the number of devices: bytes that the compiled step sums over them, operations,
and the host's own time to start a step.

    python tests/bench/growth.py [--config configs/cnn.py] [--devices 1,2,4,8] [--steps 50]

Each number of virtual CPU devices has a process of its own. It fails unless the bytes are those of
the gradient (as many as the parameters' own), of each batch norm's two statistics (as many as are
kept of them) and of the scalars that are listed, to the byte, and none on one device.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(config_file: str, devices: int, steps: int) -> dict:
    """One row of the table, in a process whose JAX has not started."""
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['NPROC'] = str(
        max(16, 4 * devices)
    )  # threads, in which the devices wait
    os.environ['XLA_FLAGS'] = (
        os.environ.get('XLA_FLAGS', '')
        + f' --xla_force_host_platform_device_count={devices}'
    ).strip()
    import jax
    import numpy as np

    from jaxvision.cli.bench.collectives import parse
    from jaxvision.core import config as configs
    from jaxvision.train import run as runs
    from jaxvision.train import sharding

    with tempfile.TemporaryDirectory() as folder:
        run = runs.begin(configs.load(config_file), Path(folder))
    state = run.init()
    batch = {
        name: np.zeros(array.shape, array.dtype)
        for name, array in run.abstract_batch().items()
    }
    batch = sharding.put(run.mesh, batch)
    update = run.update.lower(run.abstract(), batch).compile()
    reduced = parse(update.as_text())

    def size(tree):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))

    return {
        'devices': devices,
        'kinds': sorted({one.kind for one in reduced}),
        'operations': len({one.operation for one in reduced}),
        'bytes': sum(one.bytes for one in reduced),
        'gradient': size(state.params),
        'statistics': size(state.model_state),
        'scalars': [one.op_name for one in reduced if not one.shape],
        'scalar_bytes': sum(one.bytes for one in reduced if not one.shape),
        **host_times(update, state, batch, steps),
    }


def host_times(update, state, batch, steps: int) -> dict[str, float]:
    """Median seconds that the calling thread works until a call returns (its own, as the virtual
    devices want the same cores), and that pass until the results are there."""
    import jax

    calling, finished = [], []
    for _ in range(steps):
        start, own = time.perf_counter(), time.thread_time()
        state, scalars = update(state, batch)
        calling.append(time.thread_time() - own)
        jax.block_until_ready((state, scalars))
        finished.append(time.perf_counter() - start)
    return {'host': statistics.median(calling), 'step': statistics.median(finished)}


def unaccounted(row: dict) -> int:
    """Bytes too many or too few."""
    if row['devices'] == 1:
        return row['bytes']
    return row['bytes'] - row['gradient'] - row['statistics'] - row['scalar_bytes']


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--config', default=str(Path(__file__).parents[2] / 'configs/cnn.py')
    )
    parser.add_argument('--devices', default='1,2,4,8')
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument(
        '--one', type=int, help=argparse.SUPPRESS
    )  # the row of one process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.config, options.one, options.steps)))
        return 0
    print('devices  operations  host ms  step ms  all-reduced bytes')
    rows = [in_a_process(options, devices) for devices in options.devices.split(',')]
    return int(
        any(
            unaccounted(row) or row['kinds'] not in ([], ['all-reduce']) for row in rows
        )
    )


def in_a_process(options: argparse.Namespace, devices: str) -> dict:
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            '--config',
            options.config,
            '--one',
            devices,
            '--steps',
            str(options.steps),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    parts = (
        ''
        if row['devices'] == 1
        else (
            f' = gradient {row["gradient"]:,} + statistics {row["statistics"]:,}'
            f' + scalars {row["scalar_bytes"]} ({", ".join(row["scalars"])})'
        )
    )
    print(
        f'{row["devices"]:7}  {row["operations"]:10}  {row["host"] * 1e3:7.2f}  '
        f'{row["step"] * 1e3:7.1f}  {row["bytes"]:,}{parts}',
        flush=True,
    )
    if unaccounted(row):
        print(f'         {unaccounted(row):+,} bytes are not accounted for', flush=True)
    return row


if __name__ == '__main__':
    sys.exit(main())
