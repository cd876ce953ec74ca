"""Non-maximum suppression: of boxes that overlap, keep the one with the highest score.

Both forms give the same result. `greedy` sorts once and visits each box: the form where
most boxes are kept. Up to `LARGEST_MATRIX` boxes it compares all pairs before the visits, which is
7 times as fast: 1,000 boxes take a third of torchvision's CPU time
(tests/bench/against_torchvision.py).

`by_argmax` repeats "take the best, suppress its neighbours" once for each box that it returns. It
needs neither a sort nor a scatter, so that it also runs in TensorFlow and LiteRT. It is the faster
form where few of many boxes are kept: under `vmap`, 8 images of 1,000 boxes to 100 take 3 ms, and
23 ms by visits (2 cores, tests/bench/boxes.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxvision.boxes import conversions
from jaxvision.boxes.types import (
    Candidates,
    Chosen,
    Classes,
    Scores,
    TruthClasses,
    Valid,
)

# Boxes of which all pairs are compared at once, at most.
LARGEST_MATRIX = 2000


class Kept(NamedTuple):
    """The boxes that remain, by falling score.

    Attributes:
        index: number of each box in the input; 0 for padding.
        valid: False for padding.
    """

    index: Int[Array, 'k']
    valid: Bool[Array, 'k']


def greedy(
    boxes: Candidates,
    scores: Scores,
    classes: Classes | None = None,
    *,
    iou: float,
    limit: int,
    score: float = -jnp.inf,
) -> Kept:
    """Suppress boxes in the order of their scores, as `torchvision.ops.nms` does.

    Args:
        boxes: edges.
        scores: one a box. Equal scores keep their order.
        classes: only boxes of one class suppress each other; None: all do.
        iou: a box is suppressed by a better one if their IoU is above this.
        limit: length of the result. The result is padded if fewer boxes remain.
        score: boxes up to this score are left out.
    """
    if classes is None:
        classes = jnp.zeros(len(scores), jnp.int32)
    live = jnp.where(scores > score, scores, -jnp.inf)
    ordered, order = lax.top_k(live, len(scores))
    boxes = boxes[order]
    classes = classes[order]
    areas = conversions.area(boxes)
    places = jnp.arange(len(scores))

    def suppressed_by(place):
        overlaps = _overlaps(boxes[place], boxes, areas[place], areas, iou)
        return (places > place) & (classes == classes[place]) & overlaps

    rows = None
    if len(scores) <= LARGEST_MATRIX:
        rows = jax.vmap(suppressed_by)(places)

    def visit(alive, place_and_row):
        place, row = place_and_row
        if row is None:
            row = suppressed_by(place)
        return alive & ~(alive[place] & row), None

    alive, _ = lax.scan(visit, ordered > -jnp.inf, (places, rows))
    number = min(limit, len(scores))
    kept, place = lax.top_k(jnp.where(alive, ordered, -jnp.inf), number)
    return _padded(order[place], kept > -jnp.inf, limit)


def by_argmax(
    boxes: Candidates,
    scores: Scores,
    classes: Classes | None = None,
    *,
    iou: float,
    limit: int,
    score: float = -jnp.inf,
    unroll: bool = False,
) -> Kept:
    """Take the best box and suppress its neighbours, `limit` times.

    Args:
        boxes: edges.
        scores: one a box. The first of equal scores is taken.
        classes: only boxes of one class suppress each other; None: all do.
        iou: a box is suppressed by a better one if their IoU is above this.
        limit: length of the result. The result is padded if fewer boxes remain.
        score: boxes up to this score are left out.
        unroll: True writes the steps out instead of a loop, for the calibration of int8
            in LiteRT.
    """
    if classes is None:
        classes = jnp.zeros(len(scores), jnp.int32)
    areas = conversions.area(boxes)
    places = jnp.arange(len(scores))

    def take(live, _):
        best = jnp.argmax(live)
        valid = live[best] > -jnp.inf
        overlaps = _overlaps(boxes[best], boxes, areas[best], areas, iou)
        suppressed = overlaps & (classes == classes[best]) | (places == best)
        return jnp.where(suppressed, -jnp.inf, live), Kept(best * valid, valid)

    live = jnp.where(scores > score, scores, -jnp.inf)
    _, kept = lax.scan(take, live, length=limit, unroll=limit if unroll else 1)
    return kept


def _overlaps(
    box: Float[Array, '4'],
    others: Candidates,
    area: Float[Array, ''],
    areas: Scores,
    threshold: float,
) -> Chosen:
    """Whether a box has an IoU above a threshold with others; without a division."""
    low = jnp.maximum(box[:2], others[:, :2])
    high = jnp.minimum(box[2:], others[:, 2:])
    common = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    return common > threshold * (area + areas - common)


def _padded(index: TruthClasses, valid: Valid, limit: int) -> Kept:
    padding = (0, max(limit - len(index), 0))
    return Kept(jnp.pad(index * valid, padding), jnp.pad(valid, padding))
