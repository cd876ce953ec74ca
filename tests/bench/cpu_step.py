"""Time of a training step on the CPU: jaxvision's layers, plain Flax layers and PyTorch.

    python tests/bench/cpu_step.py [--torch PYTHON] [--rounds 7] [--network cnn|resnet18|resnet50]

Forward, backward and SGD with momentum, one batch of noise. "plain" is the same network of
`nn.Conv` and `nn.max_pool`, "plain + BatchNorm" of `nn.BatchNorm` too. They take turns within one
run, so that a change of the machine's load falls on all; the ratio is the median over rounds.
PYTHON is an interpreter that has PyTorch; it runs its own process, channels last.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxvision.models.backbones import cnn, resnet
from jaxvision.models.blocks import convolution, layers, pooling

# name: (make, batch, image size, channels, classes, steps a round)
NETWORKS = {
    'cnn': (partial(cnn.make, variant='16-32-64'), 64, 28, 1, 10, 10),
    'resnet18': (partial(resnet.make, variant='18', stem='cifar'), 64, 32, 3, 10, 1),
    'resnet50': (partial(resnet.make, variant='50'), 16, 224, 3, 1000, 1),
}


def max_pool(x, window, strides=None):
    return nn.max_pool(x, window, strides or window)


PLAIN = {(convolution, 'Conv'): nn.Conv, (pooling, 'max_pool'): max_pool}
# who: what is put in the place of which layers
SWAPS = {
    'plain': PLAIN,
    'plain + BatchNorm': PLAIN | {(layers, 'BatchNorm'): nn.BatchNorm},
    'jaxvision': {},
}


def compiled_step(make, batch, size, channels, classes):
    """step() -> None: one training step of the compiled network on its own state."""
    model = make(num_classes=classes)
    image = jax.random.normal(jax.random.key(0), (batch, size, size, channels))
    label = jnp.arange(batch) % classes
    tx = optax.sgd(0.01, momentum=0.9)

    def update(params, batch_stats, opt_state):
        def loss(params):
            (logits, _), new = model.apply(
                {'params': params, 'batch_stats': batch_stats},
                image,
                train=True,
                mutable=['batch_stats'],
            )
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
                logits, label
            )
            return cross_entropy.mean(), new['batch_stats']

        gradient, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    variables = jax.jit(model.init)(jax.random.key(1), image)
    state = [
        variables['params'],
        variables['batch_stats'],
        tx.init(variables['params']),
    ]
    compiled = jax.jit(update, donate_argnums=(0, 1, 2)).lower(*state).compile()

    def step():
        state[:] = compiled(*state)
        jax.block_until_ready(state)

    return step


def seconds(step, steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def torch_timer(python, *arguments):
    """seconds(steps) of a PyTorch process that answers line by line."""
    script = Path(__file__).with_name('torch_step.py')
    process = subprocess.Popen(
        [python, script, *map(str, arguments)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def timer(steps):
        print(steps, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return timer


def compare(name, rounds, torch_python):
    make, batch, size, channels, classes, steps = NETWORKS[name]
    shape = (batch, size, channels, classes)
    timers = {}
    for who, swap in SWAPS.items():
        with contextlib.ExitStack() as stack:
            for (module, attribute), layer in swap.items():
                stack.enter_context(mock.patch.object(module, attribute, layer))
            timers[who] = partial(seconds, compiled_step(make, *shape))
    if torch_python:
        timers['PyTorch'] = torch_timer(torch_python, name, 'train', *shape)
    for timer in timers.values():
        timer(1)
    times = [
        {who: timer(steps) for who, timer in timers.items()} for _ in range(rounds)
    ]
    for who in timers:
        images = batch / statistics.median(t[who] for t in times)
        ratio = statistics.median(t['plain'] / t[who] for t in times)
        print(
            f'{name:8} {who:17} {images:8.1f} images/s  {ratio:5.2f} x plain',
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--torch', metavar='PYTHON', help='an interpreter that has PyTorch'
    )
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--network', choices=NETWORKS, action='append')
    arguments = parser.parse_args()
    for name in arguments.network or NETWORKS:
        compare(name, arguments.rounds, arguments.torch)


if __name__ == '__main__':
    sys.exit(main())
