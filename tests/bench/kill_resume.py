"""Kills runs with SIGKILL at random moments, resumes them, and compares them with one never killed.

    python tests/bench/kill_resume.py [--config cnn] [--runs 20] [--kills 2] [--seed 0] \\
        [-- OVERRIDES...]

Each run is killed `--kills` times, at moments drawn evenly over the time that the whole run takes,
start-up and saves included, and then left to finish. It is equal if every array of the last
checkpoint is the same to the bit, and metrics.jsonl but for timings.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
MASK_RCNN = [
    'optimizer.warmup=4',
    'data.image_size=64',
    'data.batch_size=8',
    'train.steps=40',
    'train.eval_every=20',
    'model.variant=cnn:4x1-8x1-16x1-16x1',
    'model.options.width=16',
    'model.options.hidden=32',
    'model.options.regions=12',
    'model.options.pooled_size=3',
    'model.options.mask_width=8',
    'model.options.mask_depth=1',
]
# Keys are CONFIG or CONFIG,RECIPE. Tasks that can train two networks do so.
SMALLER = {
    'cnn': ['train.steps=3 epochs', 'model.variant=8-16'],
    'cnn,robust': ['train.steps=60', 'train.eval_every=30'],
    'segmentation': [
        'optimizer.warmup=4',
        'train.steps=60',
        'train.eval_every=30',
        'model.variant=cnn:4x1-8x1-16x1-16x1',
    ],
    'segmentation,mask_rcnn': MASK_RCNN,
    'gan': [
        'train.steps=40',
        'train.eval_every=20',
        'model.variant=8',
        'task.samples=100',
        'model.options.discriminator=8',
    ],
    'super_resolution': [
        'train.steps=60',
        'train.eval_every=30',
        'model.variant=1x4',
        'task.patch=3',
        'task.adversarial_weight=0.01',
        'optimizer.warmup=5',
    ],
    'inpainting': [
        'train.steps=60',
        'train.eval_every=30',
        'model.variant=4x1-6x1',
        'task.box_size=4',
        'task.adversarial_weight=0.01',
    ],
    'few_shot': [
        'train.steps=60',
        'train.eval_every=30',
        'model.variant=4x1-4x1-4x1-4x1-8x1',
        'task.ways=4',
        'task.evaluations=3x1',
        'task.test_queries=2',
        'task.test_episodes=20',
    ],
    'transfer': [
        'train.steps=60',
        'train.eval_every=30',
        'data.image_size=32',
        'data.batch_size=8',
        'data.per_class=10',
        'task.trained=last 2',
        'task.statistics=batch',
    ],
    'captioning': [
        'train.steps=60',
        'train.eval_every=30',
        'model.variant=4x1-4x1-8x1-8x1',
        'task.vocabulary_examples=100',
        'task.beam_size=2',
    ],
    'video': [
        'data.image_size=16',
        'model.variant=4-4',
        'model.options.hidden=8',
        'task.frames=6',
        'task.augment.flip=true',
        'train.steps=60',
        'train.eval_every=30',
    ],
    'video_prediction': [
        'data.image_size=16',
        'task.frames_in=4',
        'task.frames_out=3',
        'model.variant=4-4',
        'model.options.reach=2',
        'train.steps=60',
        'train.eval_every=30',
    ],
    'video_summary': [
        'data.image_size=16',
        'task.frames=20',
        'model.variant=4-4',
        'model.options.hidden=8',
        'train.steps=60',
        'train.eval_every=30',
    ],
}
SOURCES = {
    'segmentation': 'digit_scenes/64',
    'segmentation,mask_rcnn': 'digit_scenes/64',
    'few_shot': 'digit_pairs',
    'captioning': 'digit_scenes/64',
    'video': 'moving_digits/motions',
    'video_prediction': 'moving_digits/prediction',
    'video_summary': 'moving_digits/events',
}


def command(workdir: Path, overrides: list[str], config: str = 'cnn') -> list[str]:
    name, comma, recipe = config.partition(',')
    file = ROOT / f'configs/{name}.py'
    return [
        sys.executable,
        '-m',
        'jaxvision.main',
        '--config',
        f'{file}:{SOURCES.get(config, "digits")}{comma}{recipe}',
        '--workdir',
        str(workdir),
        *[f'--config.{text}' for text in SMALLER[config]],
        '--config.train.checkpoint_every=7',
        '--config.train.log_every=1',
        *overrides,
    ]


def outcome(workdir: Path):
    """The last checkpoint's arrays, and the rows of metrics.jsonl without timings."""
    from jaxvision.train import loop

    this = loop.reopen(workdir)
    state = this.restore('last')
    arrays = jax.tree.map(np.asarray, state.replace(key=jax.random.key_data(state.key)))
    rows = [
        json.loads(line)
        for line in (workdir / 'metrics.jsonl').read_text().splitlines()
    ]
    return arrays, [
        {name: value for name, value in row.items() if not name.startswith('perf/')}
        for row in rows
    ]


def same(one, other) -> bool:
    equal = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), one[0], other[0])
    return all(jax.tree.leaves(equal)) and one[1] == other[1]


def run_with_kills(
    workdir: Path, again: list[str], kills: int, length: float, rng: random.Random
) -> list[str]:
    moments = []
    for _ in range(kills):
        process = subprocess.Popen(
            again, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        delay = rng.uniform(0, length)
        time.sleep(delay)
        process.kill()
        process.wait()
        steps = workdir / 'checkpoints'
        left = sorted(p.name for p in steps.iterdir()) if steps.exists() else []
        moments.append(f'{delay:.1f} s (left {left})')
    subprocess.run(again, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return moments


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', choices=list(SMALLER), default='cnn')
    parser.add_argument('--runs', type=int, default=20)
    parser.add_argument('--kills', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('overrides', nargs='*')
    options = parser.parse_args()
    rng = random.Random(options.seed)
    equal = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / 'whole'

        def in_folder(workdir):
            return command(workdir, options.overrides, options.config)

        subprocess.run(in_folder(whole), cwd=ROOT, check=True)
        shutil.rmtree(whole)  # the first run also filled the compilation cache
        start = time.monotonic()
        subprocess.run(in_folder(whole), cwd=ROOT, check=True)
        length = time.monotonic() - start
        reference = outcome(whole)
        for i in range(options.runs):
            workdir = Path(folder) / str(i)
            moments = run_with_kills(
                workdir, in_folder(workdir), options.kills, length, rng
            )
            equal += (good := same(reference, outcome(workdir)))
            print(
                f'{i + 1}: {"equal" if good else "DIFFERENT"}, killed after '
                f'{"; ".join(moments)}',
                flush=True,
            )
    print(f'{equal} of {options.runs} equal to the bit')
    sys.exit(equal != options.runs)


if __name__ == '__main__':
    main()
