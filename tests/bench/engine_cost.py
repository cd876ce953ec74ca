"""What the engine costs: `loop.run`'s images/s beside the bare compiled update's.

    python tests/bench/engine_cost.py [--config configs/cnn.py] [--steps 150] [--rounds 5]

The bare update runs in a Python loop on one batch that is already on the device, without the
engine's guard. The two take turns; the ratio is of each round's pair, start-up and compilation not
counted. Bar: a median of 0.95.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax

from jaxvision.core import config as configs
from jaxvision.data import pipeline
from jaxvision.train import loop, sharding
from jaxvision.train import run as runs


def engine(config, steps: int) -> float:
    """Images/s of a run between its first step and its last."""
    with config.unlocked():
        config.train.steps = str(steps + 1)
        config.train.eval_every = config.train.checkpoint_every = '0'
        config.train.log_every = str(steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        loop.run(config, folder)
        rows = [
            row
            for row in loop.Metrics(Path(folder), steps + 1).rows
            if 'perf/images_per_second' in row
        ]
    return rows[-1]['perf/images_per_second']


def bare(config, steps: int) -> float:
    """Images/s of the compiled update alone."""
    with tempfile.TemporaryDirectory() as folder:
        this = runs.begin(config, Path(folder))
    update = jax.jit(this.task.update, donate_argnums=0)
    batches = pipeline.train_batches(
        this.sources['train'],
        this.task.prepare,
        seed=0,
        batch_size=config.data.batch_size,
        start=0,
        stop=1,
        threads=1,
    )
    batch, state = sharding.put(this.mesh, next(batches)), this.init()
    state, _ = update(state, batch)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(steps):
        state, scalars = update(state, batch)
    jax.block_until_ready(state)
    return steps * config.data.batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--config', default=str(Path(__file__).parents[2] / 'configs/cnn.py')
    )
    parser.add_argument('--steps', type=int, default=150)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        pair = [
            measure(configs.load(options.config), options.steps)
            for measure in (bare, engine)
        ]
        ratios.append(pair[1] / pair[0])
        print(
            f'bare {pair[0]:,.0f} images/s, engine {pair[1]:,.0f}: {ratios[-1]:.3f}',
            flush=True,
        )
    print(
        f'median ratio {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}'
    )


if __name__ == '__main__':
    main()
