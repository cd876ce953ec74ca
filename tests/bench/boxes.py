"""Times of the forms of RoIAlign and of non-maximum suppression on this machine.

    python tests/bench/boxes.py

RoIAlign: 128 boxes of 7x7 cells on maps with 64 channels, forward, and with the gradient. NMS: 8
images of 1,000 boxes to 100. Medians of 15 calls, in ms.
"""

import functools
import statistics
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.boxes import nms, roi_align


def milliseconds(function, *arguments):
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(15):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def random_boxes(rng, shape, side):
    corners = rng.uniform(0, side, (*shape, 2, 2))
    boxes = np.concatenate([corners.min(-2), corners.max(-2) + 1], axis=-1)
    return jnp.asarray(boxes, jnp.float32)


def measure_roi_align(rng, side):
    features = jnp.asarray(rng.normal(size=(side, side, 64)), jnp.float32)
    boxes = random_boxes(rng, (128,), 4 * side)

    def forward(features):
        return roi_align.roi_align(features, boxes, stride=4.0)

    def squared(features):
        return jnp.square(forward(features)).sum()

    for form, largest in (('products', side * side), ('gathers', 0)):
        with mock.patch.object(roi_align, 'LARGEST_PRODUCT', largest):
            both = milliseconds(jax.value_and_grad(squared), features)
            print(
                f'RoIAlign {side}x{side}, {form:8}: '
                f'{milliseconds(forward, features):6.2f} forward, {both:6.2f} with gradient'
            )


def measure_nms(rng):
    boxes = random_boxes(rng, (8, 1000), 300)
    scores = jnp.asarray(rng.uniform(size=(8, 1000)), jnp.float32)
    classes = jnp.asarray(rng.integers(0, 10, (8, 1000)))
    for form in (nms.by_argmax, nms.greedy):
        suppress = jax.vmap(functools.partial(form, iou=0.5, limit=100))
        time_of_batch = milliseconds(suppress, boxes, scores, classes)
        print(f'NMS {form.__name__:9}: {time_of_batch:6.2f}')


def main():
    rng = np.random.default_rng(0)
    for side in (16, 32, 64):
        measure_roi_align(rng, side)
    measure_nms(rng)


if __name__ == '__main__':
    main()
