"""Does a GAN's augmentation help a classifier of few images? The digits, some a class.

    python tests/bench/gan_augmentation.py --out DIR [--per_class 10 30 100] [--seeds 5]

For each number of images a class and each seed: a conditional GAN of those images alone, then a
classifier of them, and one of them and as many generated ones. Every run goes on where it was
stopped, so the command can be given again until the table is full. All seeds have the same images:
a seed is of the weights and the order. At the end, of the last
evaluation's top-1: the means, and the mean difference with its standard error over the seeds.
"""

import argparse
from pathlib import Path

import numpy as np

from jaxvision.cli.runtime import split_cpu, start_jax
from jaxvision.core import config as configs
from jaxvision.train import loop
from jaxvision.train.writers import read_rows

CONFIGS = Path(__file__).parents[2] / 'configs'


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--per_class', type=int, nargs='+', default=[10, 30, 100])
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument(
        '--gan_steps', type=int, default=1000, help='4 minutes on 2 cores'
    )
    options = parser.parse_args()
    config = configs.load(str(CONFIGS / 'cnn.py'))
    split_cpu(config)
    start_jax(config)
    for number in options.per_class:
        pairs = [accuracies(options, number, seed) for seed in range(options.seeds)]
        alone, mixed = np.array(pairs).T
        gain = mixed - alone
        error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float('nan')
        print(
            f'{number} a class: alone {alone.mean():.2%}, with generated ones {mixed.mean():.2%}: '
            f'{100 * gain.mean():+.2f} +- {100 * error:.2f} points; each seed '
            f'{", ".join(f"{100 * x:+.2f}" for x in gain)}',
            flush=True,
        )


def accuracies(options, number: int, seed: int) -> tuple[float, float]:
    """Top-1 of a classifier of the real images alone, and of both kinds."""
    name = options.out / f'{number}-{seed}'
    few = [f'data.per_class={number}', f'seed={seed}']
    gan = finished(
        'gan.py',
        Path(f'{name}-gan'),
        *few,
        f'train.steps={options.gan_steps}',
        f'train.eval_every={options.gan_steps}',
        'train.checkpoint_every=250',
    )
    # As many examples seen either way, so that neither has trained for longer.
    common = [*few, 'train.steps=40000 examples', 'train.eval_every=40000 examples']
    runs = (
        finished('cnn.py', Path(f'{name}-{kind}'), *common, *more)
        for kind, more in (('alone', []), ('mixed', [f'data.synthetic={gan}']))
    )
    return tuple(read_rows(run / 'metrics.jsonl')[-1]['eval/accuracy'] for run in runs)


def finished(file: str, workdir: Path, *overrides: str) -> Path:
    config = configs.load(str(CONFIGS / file))
    for text in overrides:
        configs.override(config, *text.split('=', 1))
    if not loop.run(config, workdir).finished:
        raise SystemExit('stopped; the same command goes on')
    return workdir


if __name__ == '__main__':
    main()
