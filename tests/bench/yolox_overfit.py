"""Measure that YOLOX learns eight scenes of digits by heart.

    python tests/bench/yolox_overfit.py

Prints AP and AP50 on the eight scenes after 150 steps, and CPU seconds with compilation.
"""

import resource
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import config as configs
from jaxvision.data import digit_scenes
from jaxvision.tasks.detection import evaluation
from jaxvision.train import loop, run

OVERRIDES = (
    'data.source=digit_scenes/64',
    'data.image_size=64',
    'data.batch_size=8',
    'model.name=yolox',
    'model.variant=0.33x0.125',
    'optimizer.lr=0.004',
    'train.steps=150',
    'train.eval_every=150',
    'train.checkpoint_every=150',
    'task.box_weight=5.0',
    'task.candidates=10',
)


def main():
    digit_scenes.LENGTHS = (8, 8)
    config = configs.default('detection')
    for text in OVERRIDES:
        configs.override(config, *text.split('=', 1))
    config.model.options = {'momentum': 0.9}
    with tempfile.TemporaryDirectory() as folder:
        loop.run(config, Path(folder))
        trained = run.reopen(Path(folder))
        state = trained.restore('last')
        source = trained.sources['train']
        examples = [trained.task.prepare(source[row], None) for row in range(8)]
        batch = {
            name: jnp.stack([example[name] for example in examples])
            for name in ('image', *trained.spec.targets)
        }
        batch['index'] = jnp.arange(8)
        outputs = jax.jit(trained.task.predict)(
            state.variables, {'image': batch['image']}
        )
        records = jax.tree.map(np.asarray, evaluation.record(outputs, batch))
        metrics = trained.task.main.summarize(records)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    print(f'AP {metrics["ap"]:.3f}, AP50 {metrics["ap50"]:.3f}, {seconds:.0f} CPU s')


if __name__ == '__main__':
    main()
