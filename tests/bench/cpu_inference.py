"""Time of inference on the CPU: every exported format, the run itself and PyTorch's eager forward.

    python tests/bench/cpu_inference.py --torch PYTHON [--rounds 7]
        [--network cnn|resnet18|resnet50]

A batch of 1 and one of 32, of noise, through a network of random weights. They take turns within
one run; a ratio is the median over rounds of PyTorch's time over theirs. Ours go from uint8 to
probabilities; PyTorch's part gets floats, channels last, and ends at the logits.
"""

import argparse
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from cpu_step import NETWORKS, seconds, torch_timer

from jaxvision.cli.export import exported, formats


def predictor(make, classes, size, channels):
    """(predict, variables): from uint8 to probabilities."""
    model = make(num_classes=classes)

    def leaf(path, like):
        # As of a trained network: nothing is zero, and no scale vanishes.
        noise = np.random.default_rng(0).standard_normal(like.shape, np.float32)
        if len(like.shape) > 1:
            return noise / np.sqrt(np.prod(like.shape[:-1]), dtype=np.float32)
        return 0.1 * noise + (path[-1].key in ('scale', 'var'))

    def predict(variables, inputs):
        logits, _ = model.apply(variables, inputs['image'].astype(jnp.float32) / 255)
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    blank = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), blank)
    return predict, jax.tree_util.tree_map_with_path(leaf, shapes)


def export(folder, predict, variables, spec, images):
    """{format: answer}."""
    formats.savedmodel(predict, variables, spec, {}, folder / 'savedmodel')
    formats.stablehlo(predict, variables, spec, {}, folder / 'model.stablehlo')
    for kind in formats.TFLITE:
        formats.tflite(
            predict,
            variables,
            spec,
            {},
            folder / f'{kind}.tflite',
            kind,
            {'image': images},
        )
    compiled, variables = jax.jit(predict), jax.device_put(variables)
    return {
        'the run': lambda inputs: jax.device_get(compiled(variables, inputs)),
        **{
            path.name: exported.open_exported(path) for path in sorted(folder.iterdir())
        },
    }


def compare(name, rounds, torch_python):
    make, _, size, channels, classes, _ = NETWORKS[name]
    spec = {'inputs': {'image': {'shape': [size, size, channels], 'dtype': 'uint8'}}}
    images = (
        np.random.default_rng(1)
        .integers(0, 256, (32, size, size, channels))
        .astype(np.uint8)
    )
    with tempfile.TemporaryDirectory() as folder:
        answers = export(
            Path(folder), *predictor(make, classes, size, channels), spec, images
        )
    for batch in (1, 32):
        inputs = {'image': images[:batch]}
        timers = {
            who: partial(seconds, partial(answer, inputs))
            for who, answer in answers.items()
        }
        timers['PyTorch'] = torch_timer(
            torch_python, name, 'infer', batch, size, channels, classes
        )
        for timer in timers.values():
            timer(1)  # compiles
        steps = max(1, int(0.2 / max(timer(1) for timer in timers.values())))
        times = [
            {who: timer(steps) for who, timer in timers.items()} for _ in range(rounds)
        ]
        for who in timers:
            ratio = statistics.median(t['PyTorch'] / t[who] for t in times)
            print(
                f'{name:8} batch {batch:2} {who:20} '
                f'{1e3 * statistics.median(t[who] for t in times):8.2f} ms  '
                f'{ratio:5.2f} x PyTorch',
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--torch',
        metavar='PYTHON',
        required=True,
        help='an interpreter that has PyTorch',
    )
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--network', choices=NETWORKS, action='append')
    arguments = parser.parse_args()
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    for name in arguments.network or NETWORKS:
        compare(name, arguments.rounds, arguments.torch)


if __name__ == '__main__':
    main()
