"""The fraction of a test split's objects that the first of two stages proposes.

python tests/bench/proposal_recall.py RUN [--examples 1000]
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.boxes import overlap
from jaxvision.train import evaluation, run

BATCH = 50
IOUS = (0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workdir', metavar='RUN', type=Path)
    parser.add_argument('--examples', type=int, default=1000)
    options = parser.parse_args()
    opened = run.reopen(options.workdir)
    variables = opened.restore('last').variables
    examples = evaluation.examples(opened, 'test', options.examples)
    best = best_overlaps(opened.task.network, variables, examples)
    counts = examples['box_mask'] & ~examples['crowd']
    print(f'{counts.sum()} objects in {len(counts)} images')
    for iou in IOUS:
        print(f'recall at IoU {iou}: {(best[counts] >= iou).mean():.4f}')


def best_overlaps(network, variables, examples) -> np.ndarray:
    """The largest IoU of each object with a proposed region, [N, M]."""

    @jax.jit
    def of_batch(images, boxes):
        pixels = images.astype(jnp.float32) / 255
        outputs, _ = network.apply(variables, network.normalize(pixels))
        ious = jax.vmap(overlap.pairwise_iou)(outputs['regions'], boxes)
        return ious.max(axis=1)

    best = []
    for first in range(0, len(examples['image']), BATCH):
        rows = slice(first, first + BATCH)
        best.append(of_batch(examples['image'][rows], examples['boxes'][rows]))
    return np.concatenate(best)


if __name__ == '__main__':
    main()
