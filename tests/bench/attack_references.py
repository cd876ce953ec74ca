"""Attacks beside those of foolbox (JAX backend) and torchattacks (AutoAttack on torch).

The network is the LeNet of a run of `cnn:mnist5k,robust`, or a small one of random weights for the
arrays that tests/attacks/test_attack_references.py reads. Each command runs where its library is:

    jaxvision attack --workdir RUN --eps 0.3                    our AutoAttack
    PYTHON tests/bench/attack_references.py network RUN FILE    weights, images, our results
    FOOLBOX_PYTHON ... foolbox FILE                             FGSM and PGD-40
    TORCH_PYTHON ... torch FILE --examples 500                  AutoAttack
    PYTHON ... compare FILE                                     the table
    PYTHON ... steps FILE --torch TORCH_PYTHON                  time of PGD-10, by turns
    FOOLBOX_PYTHON ... small_foolbox FILE; TORCH_PYTHON ... small_torch FILE

torchattacks sets 10 steps for its AutoAttack, where the original has 100. Here it gets 100.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

EPS = 0.3
STEP = 0.3 / 12


def update(path, **arrays):
    """Add arrays to an .npz file."""
    path = Path(path)
    old = dict(np.load(path)) if path.exists() else {}
    np.savez_compressed(path, **(old | arrays))


def network(arguments):
    """Store the weights and images of a run, and the results of our attacks."""
    import functools

    import jax
    import jax.numpy as jnp

    from jaxvision.attacks import ensemble, pgd
    from jaxvision.cli import pixel_classifiers
    from jaxvision.core import keys

    opened = pixel_classifiers.open_classifier(arguments.run, 'last')
    examples = pixel_classifiers.read_images(opened, 'test', arguments.examples)
    images, labels = examples['image'], examples['label']
    state = opened.run.restore('last')
    weights = {}
    for name, layer in state.variables['params']['model'].items():
        for part, array in layer.items():
            weights[f'weights/{name}/{part}'] = np.asarray(array)
    preprocessing = opened.run.spec.preprocessing
    all_keys = keys.per_example(jax.random.key(0), jnp.arange(len(images)))
    outputs = pgd.fgsm(
        opened.logits,
        jnp.asarray(images),
        jnp.asarray(labels),
        all_keys,
        eps=EPS,
        keep='last',
    )
    stages = {
        'pgd': [
            ensemble.Stage(
                'pgd', functools.partial(pgd.pgd, eps=EPS, steps=40, step_size=STEP)
            )
        ]
    }
    results = {'ours/auto': reported(arguments.run, examples['index'])}
    for name, chosen in stages.items():
        start = time.process_time()
        outcome = ensemble.run(
            chosen, opened.logits, images, labels, all_keys, batch_size=100
        )
        results[f'ours/{name}'] = outcome.broken_by
        results[f'ours/{name}_cpu_seconds'] = time.process_time() - start
        print(name, outcome.accuracy, outcome.robust_accuracy)
    update(
        arguments.file,
        images=images,
        labels=labels,
        mean=np.array(preprocessing.mean, np.float32),
        std=np.array(preprocessing.std, np.float32),
        **{'ours/fgsm': np.asarray(outputs.images)},
        **weights,
        **results,
    )


def reported(run, index):
    """Our AutoAttack from the report of `jaxvision attack`: -1 for images that stand."""
    (path,) = Path(run, 'attack').glob('*-test-auto-linf/attack.json')
    report = json.loads(path.read_text())
    assert report['index'] == index.tolist() and report['eps'][0]['eps'] == EPS
    codes = {'': -1, 'original': -2}
    return np.array([codes.get(name, 0) for name in report['broken_by']])


def jax_logits(stored):
    """The LeNet in plain JAX, for foolbox."""
    import jax
    import jax.numpy as jnp

    weights = {
        name.removeprefix('weights/'): jnp.asarray(array)
        for name, array in stored.items()
        if name.startswith('weights/')
    }
    convolutions = sum(name.startswith('conv') for name in weights) // 2

    def logits(images):
        x = (images - stored['mean']) / stored['std']
        for number in range(1, convolutions + 1):
            x = jax.lax.conv_general_dilated(
                x,
                weights[f'conv{number}/kernel'],
                (2, 2),
                'SAME',
                dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            )
            x = jax.nn.relu(x + weights[f'conv{number}/bias'])
        x = x.reshape(len(x), -1)
        x = jax.nn.relu(x @ weights['hidden/kernel'] + weights['hidden/bias'])
        return x @ weights['head/kernel'] + weights['head/bias']

    return jax.jit(logits)


def foolbox(arguments):
    """FGSM and PGD-40 by foolbox on the same network and images."""
    import eagerpy
    import foolbox
    import jax.numpy as jnp

    stored = dict(np.load(arguments.file))
    model = foolbox.JAXModel(
        jax_logits(stored), bounds=(0, 1), data_format='channels_last'
    )
    fgsm = []
    broken = []
    start = time.process_time()
    for begin in range(0, len(stored['images']), 100):
        images = eagerpy.astensor(jnp.asarray(stored['images'][begin : begin + 100]))
        labels = eagerpy.astensor(jnp.asarray(stored['labels'][begin : begin + 100]))
        _, clipped, _ = foolbox.attacks.LinfFastGradientAttack()(
            model, images, labels, epsilons=EPS
        )
        fgsm.append(np.asarray(clipped.raw))
        attack = foolbox.attacks.LinfPGD(steps=40, abs_stepsize=STEP)
        _, _, success = attack(model, images, labels, epsilons=EPS)
        broken.append(np.asarray(success.raw))
    update(
        arguments.file,
        **{
            'foolbox/fgsm': np.concatenate(fgsm),
            'foolbox/pgd': np.concatenate(broken),
            'foolbox/cpu_seconds': time.process_time() - start,
        },
    )


def torch_model(stored):
    """The LeNet in torch, on images [B, C, H, W]."""
    import torch
    from torch import nn

    def tensor(name):
        return torch.from_numpy(stored[f'weights/{name}'])

    class Twin(nn.Module):
        def forward(self, images):
            mean = torch.from_numpy(stored['mean'])[:, None, None]
            std = torch.from_numpy(stored['std'])[:, None, None]
            x = (images - mean) / std
            number = 1
            while f'weights/conv{number}/kernel' in stored:
                kernel = tensor(f'conv{number}/kernel').permute(3, 2, 0, 1)
                # 'SAME' for even sides, a 4x4 window and a stride of 2.
                pads = [_pads(side) for side in x.shape[:1:-1]]
                x = nn.functional.pad(x, (*pads[0], *pads[1]))
                bias = tensor(f'conv{number}/bias')
                x = torch.relu(nn.functional.conv2d(x, kernel, bias, stride=2))
                number += 1
            x = x.permute(0, 2, 3, 1).flatten(1)
            x = torch.relu(x @ tensor('hidden/kernel') + tensor('hidden/bias'))
            return x @ tensor('head/kernel') + tensor('head/bias')

    return Twin().eval()


def _pads(side):
    out = -(-side // 2)
    total = max((out - 1) * 2 + 4 - side, 0)
    return total // 2, total - total // 2


def torch(arguments):
    """AutoAttack's four attacks by torchattacks, each on the images that stand."""
    import torch
    import torchattacks

    torch.manual_seed(0)
    stored = dict(np.load(arguments.file))
    model = torch_model(stored)
    count = arguments.examples
    images = torch.from_numpy(stored['images'][:count]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(stored['labels'][:count]).long()
    attacks = {
        'apgd-ce': torchattacks.APGD(model, eps=EPS, steps=100, loss='ce'),
        'apgd-t': torchattacks.APGDT(model, eps=EPS, steps=100),
        'fab': torchattacks.FAB(
            model, eps=EPS, steps=100, multi_targeted=True, n_classes=10
        ),
        'square': torchattacks.Square(model, eps=EPS, n_queries=5000),
    }
    stands = (model(images).argmax(1) == labels).numpy()
    broken_by = np.where(stands, -1, -2)
    print('original', stands.mean(), flush=True)
    start = time.process_time()
    for number, (name, attack) in enumerate(attacks.items()):
        rows = np.flatnonzero(broken_by == -1)
        for part in np.array_split(rows, -(-len(rows) // 100)):
            changed = attack(images[part], labels[part])
            assert (changed - images[part]).abs().max() <= EPS + 1e-5
            wrong = (model(changed).argmax(1) != labels[part]).numpy()
            broken_by[part[wrong]] = number
        print(name, (broken_by == -1).mean(), flush=True)
    update(
        arguments.file,
        **{
            'torch/auto': broken_by,
            'torch/cpu_seconds': time.process_time() - start,
        },
    )


def compare(arguments):
    """Print our results beside those of the libraries."""
    stored = dict(np.load(arguments.file))
    if 'foolbox/fgsm' in stored:
        change = np.abs(stored['foolbox/fgsm'] - stored['ours/fgsm'])
        print(
            f'FGSM: {np.mean(change > 1e-6):.2e} of the pixels differ, by at most '
            f'{change.max():.2g}'
        )
        ours = (stored['ours/pgd'] == -1).mean()
        theirs = 1 - stored['foolbox/pgd'].mean()
        print(f'PGD-40: ours {ours:.4f}, foolbox {theirs:.4f}')
    if 'torch/auto' in stored:
        theirs = stored['torch/auto']
        ours = stored['ours/auto'][: len(theirs)]
        print(
            f'auto on {len(theirs)}: ours {(ours == -1).mean():.4f}, torchattacks '
            f'{(theirs == -1).mean():.4f}'
        )
    for name, value in stored.items():
        if name.endswith('cpu_seconds'):
            print(f'{name}: {value:.1f}')


def steps(arguments):
    """PGD-10 on batches of 100 beside torchattacks, by turns: CPU time for a step.

    torch has one thread: waiting threads of OpenMP count as CPU time.
    """
    ratios = []
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    for _ in range(arguments.rounds):
        seconds = []
        for python, name in ((sys.executable, 'jax'), (arguments.torch, 'torch')):
            command = [python, __file__, f'steps_{name}', arguments.file]
            output = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            seconds.append(float(output.stdout.split()[-1]))
        ratios.append(seconds[0] / seconds[1])
        print(
            f'{1e3 * seconds[0]:.2f} ms, torchattacks {1e3 * seconds[1]:.2f} ms, ratio '
            f'{ratios[-1]:.2f}',
            flush=True,
        )
    print(f'median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}')


def timed(attack, batches):
    """CPU seconds of a step of PGD-10, after one batch that compiles."""
    attack(0)
    start = time.process_time()
    for number in range(batches):
        attack(number)
    return (time.process_time() - start) / (10 * batches)


def steps_jax(arguments):
    """CPU time of a step by this package."""
    import jax
    import jax.numpy as jnp

    from jaxvision.attacks import pgd

    stored = dict(np.load(arguments.file))
    logits = jax.tree_util.Partial(jax_logits(stored))
    keys = jax.vmap(jax.random.key)(jnp.arange(100))
    images = jnp.asarray(stored['images'])
    labels = jnp.asarray(stored['labels'])

    def attack(number):
        part = slice(100 * number, 100 * (number + 1))
        attacked = pgd.pgd(
            logits,
            images[part],
            labels[part],
            keys,
            eps=EPS,
            steps=10,
            step_size=STEP,
            keep='last',
        )
        jax.block_until_ready(attacked)

    print(timed(attack, 10))


def steps_torch(arguments):
    """CPU time of a step by torchattacks."""
    import torch
    import torchattacks

    stored = dict(np.load(arguments.file))
    images = torch.from_numpy(stored['images']).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(stored['labels']).long()
    pgd = torchattacks.PGD(torch_model(stored), eps=EPS, alpha=STEP, steps=10)

    def attack(number):
        part = slice(100 * number, 100 * (number + 1))
        pgd(images[part], labels[part])

    print(timed(attack, 10))


def small():
    """Weights, images and labels of a small network: 16 pixels, 12 hidden units, 5 classes."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(16, 12)).astype(np.float32)
    second = (3 * rng.normal(size=(12, 5))).astype(np.float32)
    images = rng.uniform(0.1, 0.9, (8, 4, 4, 1)).astype(np.float32)
    hidden = np.tanh((images.reshape(8, 16) - 0.5) @ first)
    labels = (hidden @ second).argmax(-1).astype(np.int32)
    return {'first': first, 'second': second, 'images': images, 'labels': labels}


def small_foolbox(arguments):
    """Attacks of foolbox without a random start on the small network."""
    import eagerpy
    import foolbox
    import jax.numpy as jnp

    stored = small()

    def logits(images):
        hidden = jnp.tanh((images.reshape(len(images), 16) - 0.5) @ stored['first'])
        return hidden @ stored['second']

    model = foolbox.JAXModel(logits, bounds=(0, 1), data_format='channels_last')
    images = eagerpy.astensor(jnp.asarray(stored['images']))
    labels = eagerpy.astensor(jnp.asarray(stored['labels']))
    kinds = foolbox.attacks
    pgd = {'steps': 5, 'random_start': False}
    attacks = {
        'fgsm': (kinds.LinfFastGradientAttack(), 0.05),
        'fgm': (kinds.L2FastGradientAttack(), 0.2),
        'pgd': (kinds.LinfPGD(abs_stepsize=0.02, **pgd), 0.05),
        'pgd_l2': (kinds.L2PGD(abs_stepsize=0.08, **pgd), 0.2),
        'deepfool': (kinds.L2DeepFoolAttack(overshoot=0.02, candidates=5), None),
    }
    results = {}
    for name, (attack, eps) in attacks.items():
        raw, clipped, _ = attack(model, images, labels, epsilons=eps)
        results[f'foolbox/{name}'] = np.asarray((raw if eps is None else clipped).raw)
    update(arguments.file, **stored, **results)


def small_torch(arguments):
    """Attacks of torchattacks without a random start on the small network."""
    import torch
    import torchattacks

    stored = small()

    class Twin(torch.nn.Module):
        def forward(self, images):
            first, second = map(torch.from_numpy, (stored['first'], stored['second']))
            return torch.tanh((images.flatten(1) - 0.5) @ first) @ second

    model = Twin().eval()
    images = torch.from_numpy(stored['images']).permute(0, 3, 1, 2)
    labels = torch.from_numpy(stored['labels']).long()
    attacks = {
        'momentum': torchattacks.MIFGSM(
            model, eps=0.05, alpha=0.02, steps=5, decay=1.0
        ),
        'fab': torchattacks.FAB(
            model, eps=10.0, steps=30, multi_targeted=True, n_classes=5
        ),
        'fab_l2': torchattacks.FAB(
            model, norm='L2', eps=10.0, steps=30, multi_targeted=True, n_classes=5
        ),
    }
    results = {}
    for name, attack in attacks.items():
        changed = attack(images, labels)
        results[f'torch/{name}'] = changed.permute(0, 2, 3, 1).numpy()
    update(arguments.file, **stored, **results)


COMMANDS = {
    'network': network,
    'foolbox': foolbox,
    'torch': torch,
    'compare': compare,
    'steps': steps,
    'steps_jax': steps_jax,
    'steps_torch': steps_torch,
    'small_foolbox': small_foolbox,
    'small_torch': small_torch,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('run', nargs='?', help='the folder of a run, for `network`')
    parser.add_argument('file')
    parser.add_argument('--examples', type=int, default=1000)
    parser.add_argument('--torch', help='the Python with torch, for `steps`')
    parser.add_argument('--rounds', type=int, default=5, help='rounds of `steps`')
    arguments = parser.parse_args()
    COMMANDS[arguments.command](arguments)


if __name__ == '__main__':
    main()
