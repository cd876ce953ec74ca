"""CPU seconds of NMS, RoIAlign and a training step, beside torchvision in one run.

    python tests/bench/against_torchvision.py PYTHON [--rounds 9] [--only NMS,training]

PYTHON is an interpreter that has torchvision. Both sides have one thread and the same sizes. They
take turns, and the ratio is the median over the rounds. CPU time is measured, since other work on
the machine changes it less than the time of the clock.

- NMS of 1,000 boxes at IoU 0.5, and of 1,000 boxes of each of five levels to 1,000.
- RoIAlign of 512 boxes, 7x7 cells, 256 channels, on a map of 64x64 cells, with the gradient too.
- Forward and backward pass of Faster R-CNN with ResNet-50 and FPN, frozen batch norm, 2 images of
  256x256 pixels, 512 regions of each.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

SIDE = 256
REGIONS = 512
# Calls of a round. Short ones are repeated, so that the clock can measure them.
REPEATS = {
    'NMS, 1,000 boxes': 15,
    'NMS, 5 levels': 3,
    'RoIAlign': 2,
    'RoIAlign and gradient': 1,
    'training step': 1,
}


def make_boxes(rng, *shape, side):
    center = rng.uniform(0, side, (*shape, 2))
    size = np.exp(rng.uniform(np.log(side / 64), np.log(side / 2), (*shape, 2)))
    corners = np.concatenate([center - size / 2, center + size / 2], axis=-1)
    return np.clip(corners, 0, side).astype(np.float32)


def cpu_seconds(function, repeat):
    """The mean CPU seconds of a call."""
    start = time.process_time()
    for _ in range(repeat):
        function()
    return (time.process_time() - start) / repeat


def make_arrays():
    rng = np.random.default_rng(0)
    boxes = make_boxes(rng, 5, 1000, side=800)
    return {
        'boxes': boxes,
        'scores': rng.uniform(size=(5, 1000)).astype(np.float32),
        'map': rng.normal(size=(64, 64, 256)).astype(np.float32),
        'regions': make_boxes(rng, 512, side=SIDE),
        'images': rng.uniform(size=(2, SIDE, SIDE, 3)).astype(np.float32),
        'truth': make_boxes(rng, 2, 8, side=SIDE),
        'classes': rng.integers(1, 81, (2, 8)).astype(np.int32),
    }


def with_torchvision(arrays):
    import torch
    from torchvision import ops
    from torchvision.models import detection

    torch.set_num_threads(1)
    boxes, scores, features, regions, images, truth, classes = map(
        torch.from_numpy, arrays.values()
    )
    levels = torch.arange(5).repeat_interleave(1000)
    features = features.permute(2, 0, 1)[None].contiguous().requires_grad_()
    model = detection.fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=SIDE,
        max_size=SIDE,
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=REGIONS,
        box_batch_size_per_image=REGIONS,
    )
    freeze(model)
    model.train()
    photographs = list(images.permute(0, 3, 1, 2))
    targets = [
        {'boxes': each_boxes, 'labels': labels.long()}
        for each_boxes, labels in zip(truth, classes, strict=True)
    ]

    def align():
        return ops.roi_align(features, [regions], 7, 0.25, 2, False)

    def align_with_gradient():
        features.grad = None
        align().square().sum().backward()

    def step():
        model.zero_grad()
        sum(model(photographs, targets).values()).backward()

    def suppress_levels():
        return ops.batched_nms(boxes.view(-1, 4), scores.view(-1), levels, 0.7)[:1000]

    return {
        'NMS, 1,000 boxes': lambda: ops.nms(boxes[0], scores[0], 0.5),
        'NMS, 5 levels': suppress_levels,
        'RoIAlign': lambda: align().detach(),
        'RoIAlign and gradient': align_with_gradient,
        'training step': step,
    }


def freeze(module):
    from torch import nn
    from torchvision.ops import FrozenBatchNorm2d

    for name, child in module.named_children():
        freeze(child)
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))


def with_jaxvision(arrays):
    import jax
    import jax.numpy as jnp

    from jaxvision.boxes import nms, roi_align

    boxes, scores, features, regions, _, _, _ = map(jnp.asarray, arrays.values())

    def suppress(boxes, scores):
        return nms.greedy(boxes, scores, iou=0.5, limit=1000)

    def suppress_levels(boxes, scores):
        chosen = []
        for level in range(5):
            kept = nms.greedy(boxes[level], scores[level], iou=0.7, limit=1000)
            chosen.append(jnp.where(kept.valid, scores[level][kept.index], -1))
        return jax.lax.top_k(jnp.concatenate(chosen), 1000)

    def align(features):
        return roi_align.roi_align(features, regions, stride=4.0, aligned=False)

    def squared(features):
        return jnp.square(align(features)).sum()

    def compiled(function, *inputs):
        function = jax.jit(function)
        return lambda: jax.block_until_ready(function(*inputs))

    def step():
        # Built at its first call, since this takes longer than the other rows.
        if not steps:
            loss, params = make_loss(arrays)
            steps.append(compiled(jax.value_and_grad(loss), params))
        return steps[0]()

    steps = []
    return {
        'NMS, 1,000 boxes': compiled(suppress, boxes[0], scores[0]),
        'NMS, 5 levels': compiled(suppress_levels, boxes, scores),
        'RoIAlign': compiled(align, features),
        'RoIAlign and gradient': compiled(jax.grad(squared), features),
        'training step': step,
    }


def make_loss(arrays):
    """The loss of our Faster R-CNN as a function of its parameters, and the parameters."""
    import jax
    import jax.numpy as jnp

    from jaxvision.core import config as configs
    from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
    from jaxvision.core.state import create
    from jaxvision.tasks.detection import preparation, task

    config = configs.default('detection')
    config.model.name = 'faster_rcnn'
    config.model.variant = 'resnet50_fpn'
    config.model.options = {'regions': REGIONS - 8, 'backbone': {'epsilon': 1e-5}}
    spec = Spec(
        inputs={'image': ArraySpec((SIDE, SIDE, 3))},
        targets=preparation.targets(8),
        class_names=tuple(map(str, range(90))),
        preprocessing=Preprocessing(
            size=(SIDE, SIDE), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        details=task.Details(),
    )
    detector = task._make_detector(config.lock(), spec)
    batch = {
        'image': jnp.asarray(255 * arrays['images']),
        'boxes': jnp.asarray(arrays['truth'])[..., jnp.array([1, 0, 3, 2])],
        'box_classes': jnp.asarray(arrays['classes']),
        'box_mask': jnp.ones((2, 8), bool),
        'crowd': jnp.zeros((2, 8), bool),
        'index': jnp.arange(2),
    }
    # Compiling the initialisation would take longer than all else.
    shapes = jax.eval_shape(detector.init, jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    params, model_state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0, 0.05, leaf.shape), leaf.dtype), shapes
    )
    key = jax.random.key(0)
    state = create(key, {}, {}, {'model': model_state}, ema=0.0)

    def loss(params):
        terms, _ = detector.loss(params, state, batch, jax.random.key(1))
        return sum(
            jnp.sum(values) / jnp.sum(weights) for values, weights in terms.values()
        )

    return loss, params


def serve():
    """Measure the names of standard input with torchvision, line by line."""
    functions = with_torchvision(make_arrays())
    for line in sys.stdin:
        name = line.strip()
        print(cpu_seconds(functions[name], REPEATS[name]), flush=True)


def compare(worker, rounds, only):
    functions = with_jaxvision(make_arrays())

    def of_torchvision(name):
        print(name, file=worker.stdin, flush=True)
        return float(worker.stdout.readline())

    def of_jaxvision(name):
        return cpu_seconds(functions[name], REPEATS[name])

    columns = ('CPU ms', 'torchvision', 'jaxvision', 'ratio', 'of the rounds')
    print('{:24}{:>12}{:>12}{:>8}{:>16}'.format(*columns))
    for name in REPEATS:
        if not any(word in name for word in only):
            continue
        # The first call compiles and reserves memory.
        of_torchvision(name)
        of_jaxvision(name)
        pairs = [(of_torchvision(name), of_jaxvision(name)) for _ in range(rounds)]
        theirs, ours = map(statistics.median, zip(*pairs, strict=True))
        ratios = [ours_once / theirs_once for theirs_once, ours_once in pairs]
        milliseconds = f'{1e3 * theirs:12.1f}{1e3 * ours:12.1f}'
        ratio = f'{statistics.median(ratios):8.2f}'
        limits = f'{min(ratios):.2f} to {max(ratios):.2f}'
        print(f'{name:24}{milliseconds}{ratio}{limits:>16}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('python', help="an interpreter that has torchvision, or '-'")
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument(
        '--only', default='', help='words of rows, such as NMS,training'
    )
    arguments = parser.parse_args()
    if arguments.python == '-':
        serve()
        return
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    command = [arguments.python, __file__, '-']
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, text=True, stdin=pipe, stdout=pipe
    ) as worker:
        compare(worker, arguments.rounds, arguments.only.split(','))
        worker.stdin.close()


if __name__ == '__main__':
    os.environ.setdefault(
        'XLA_FLAGS', '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'
    )
    sys.exit(main())
