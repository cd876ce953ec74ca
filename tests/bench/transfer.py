"""Is somebody else's network worth it, of few images a class? From scratch, a probe, fine-tuning.

    python tests/bench/transfer.py --out DIR --data DIR [--per_class 10 50 200] [--seeds 5]

Fashion-MNIST, its whole test split. From scratch: configs/cnn.py's network, with its augmentation.
The others: configs/transfer.py's EfficientNet-Lite0, probed, and fine-tuned from the probe. Seed k
draws its images from the k-th tenth of the training split, so that no two share one. Every run goes
on where it was stopped, so the command can be given again until the table is full. At the end, of
the last evaluation's top-1: means and standard deviations over the seeds, and seconds of a run,
its evaluation included.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from jaxvision.cli.runtime import split_cpu, start_jax
from jaxvision.core import config as configs
from jaxvision.train import loop
from jaxvision.train.writers import read_rows

CONFIGS = Path(__file__).parents[2] / 'configs'
ONCE = ['train.checkpoint_every=1000 epochs', 'train.eval_every=1000 epochs']
METHODS = {
    'from scratch': ('cnn.py:fashion_mnist', ['train.steps=40000 examples', *ONCE]),
    'a probe': ('transfer.py:fashion_mnist', []),
    'fine-tuned': ('transfer.py:fashion_mnist,full', []),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--data', required=True, help="TFDS's folder")
    parser.add_argument('--per_class', type=int, nargs='+', default=[10, 50, 200])
    parser.add_argument('--seeds', type=int, default=5)
    options = parser.parse_args()
    config = configs.load(str(CONFIGS / 'transfer.py'))
    split_cpu(config)
    start_jax(config)
    for number in options.per_class:
        for method in METHODS:
            found = [
                measured(options, method, number, seed) for seed in range(options.seeds)
            ]
            top1, seconds = np.array(found).T
            print(
                f'{number} a class, {method}: {top1.mean():.2%} +- {top1.std(ddof=1):.2%} '
                f'({", ".join(f"{100 * x:.1f}" for x in top1)}), {np.median(seconds):.0f} s',
                flush=True,
            )


def measured(options, method: str, number: int, seed: int) -> tuple[float, float]:
    """Top-1 of a run, and how long it took."""
    workdir = options.out / f'{method.replace(" ", "-")}-{number}-{seed}'
    took = workdir / 'seconds.json'
    if not took.exists():
        file, overrides = METHODS[method]
        config = configs.load(str(CONFIGS / file))
        for text in (
            *overrides,
            f'data.dir={options.data}',
            f'data.per_class={number}',
            f'data.train_split=train[{6000 * seed}:{6000 * (seed + 1)}]',
            f'seed={seed}',
        ):
            configs.override(config, *text.split('=', 1))
        start = time.monotonic()
        if not loop.run(config, workdir).finished:
            raise SystemExit('stopped; the same command goes on')
        took.write_text(json.dumps(time.monotonic() - start))
    return read_rows(workdir / 'metrics.jsonl')[-1]['eval/accuracy'], json.loads(
        took.read_text()
    )


if __name__ == '__main__':
    main()
