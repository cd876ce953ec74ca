"""Which candidate of a detector answers for which ground-truth box.

All functions take padded ground truth: `valid` is False for padding, which matches nothing.
`NONE` in a result means that a candidate has no ground truth.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.boxes import overlap
from jaxvision.boxes.types import (
    Candidates,
    Chosen,
    Classes,
    PairMask,
    Pairs,
    Scores,
    Truth,
    Valid,
)

# (y, x) of the cells, in pixels.
Centers = Float[Array, 'n 2']

NONE = -1
_IMPOSSIBLE = 1e8  # a cost above every real one


class Matches(NamedTuple):
    """The ground truth of each candidate.

    Attributes:
        index: number of the ground-truth box, or `NONE`.
        ignored: whether a candidate is neither positive nor negative.
        quality: of the match, in [0, 1], as each function defines it; 0 without a
            match.
    """

    index: Classes
    ignored: Chosen
    quality: Scores


def by_iou(
    candidates: Candidates,
    truth: Truth,
    valid: Valid,
    *,
    positive: float,
    negative: float,
    low_quality: bool = False,
) -> Matches:
    """Match by the largest IoU (arXiv 1506.01497, section 3.1.2).

    Args:
        candidates: anchors or proposals.
        truth: ground-truth boxes.
        valid: False for padding of `truth`.
        positive: the least IoU of a positive candidate.
        negative: the IoU below which a candidate is negative; ignored in between.
        low_quality: whether the best candidates of each ground-truth box are positive
            at any IoU above 0. Such a candidate, too, is matched with the box of its
            largest IoU, which may be another box.

    Returns:
        Matches whose quality is the IoU of a positive candidate, and 0 for others.
    """
    ious = jnp.where(valid, overlap.pairwise_iou(candidates, truth), 0)
    best = jnp.argmax(ious, axis=1)
    quality = jnp.max(ious, axis=1)
    is_positive = quality >= positive
    if low_quality:
        best_of_truth = jnp.max(ious, axis=0)
        is_best = (ious == best_of_truth) & (ious > 0)
        is_positive |= jnp.any(is_best, axis=1)
    ignored = ~is_positive & (quality >= negative)
    index = jnp.where(is_positive, best, NONE)
    return Matches(index, ignored, jnp.where(is_positive, quality, 0))


def simota(
    boxes: Candidates,
    class_costs: Pairs,
    centers: Centers,
    strides: Scores,
    truth: Truth,
    valid: Valid,
    *,
    radius: float = 2.5,
    candidates: int = 10,
) -> Matches:
    """Match by the least cost of class and box (SimOTA of YOLOX, arXiv 2107.08430).

    A ground-truth box takes about as many candidates as the sum of its largest IoUs, at
    least one. Only cells that are inside or near the centre of some box are candidates, for
    all boxes. For a box, cells both inside it and near its centre come first. A candidate
    that several boxes take goes to the cheapest one. No candidate is `ignored`.

    Args:
        boxes: predicted boxes.
        class_costs: classification loss of each prediction for each ground-truth box.
            The cost of a pair is this loss - 3 log(IoU).
        centers: (y, x) of each prediction's cell, pixels.
        strides: of each prediction's feature map, pixels.
        truth: ground-truth boxes.
        valid: False for padding of `truth`.
        radius: half the side, in strides, of the square around a box's centre in which
            cells are near.
        candidates: number of largest IoUs that are summed.

    Returns:
        Matches whose quality is the IoU of a matched prediction, and 0 for others.
    """
    in_box = _is_inside(centers, truth) & valid
    in_center = _is_near_center(centers, strides, truth, radius) & valid
    is_candidate = jnp.any(in_box | in_center, axis=1)
    allowed = is_candidate[:, None] & valid
    ious = jnp.where(allowed, overlap.pairwise_iou(boxes, truth), 0)
    costs = class_costs - 3 * jnp.log(ious + 1e-8)
    costs = costs + 1e5 * ~(in_box & in_center)
    costs = jnp.where(allowed, costs, _IMPOSSIBLE)
    largest, _ = jax.lax.top_k(ious.T, min(candidates, len(boxes)))
    number = jnp.clip(jnp.sum(largest, axis=1).astype(jnp.int32), 1)
    cheapest, _ = jax.lax.top_k(-costs.T, min(candidates, len(boxes)))
    limit = -jnp.take_along_axis(cheapest, number[:, None] - 1, axis=1)[:, 0]
    chosen = (costs <= limit) & allowed
    return _resolve(chosen, -costs, ious)


def task_aligned(
    boxes: Candidates,
    scores: Pairs,
    centers: Centers,
    truth: Truth,
    valid: Valid,
    *,
    number: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Matches:
    """Match by class score and IoU together (TAL of TOOD, arXiv 2108.07755, section 3.2.1).

    Args:
        boxes: predicted boxes.
        scores: predicted probability of each ground-truth box's class, in [0, 1].
        centers: (y, x) of each prediction's cell, pixels. A prediction can only match a
            box that holds this point.
        truth: ground-truth boxes.
        valid: False for padding of `truth`.
        number: candidates that a ground-truth box takes at most.
        alpha: exponent of the score.
        beta: exponent of the IoU. A candidate of several boxes goes to the one of
            largest IoU.

    Returns:
        Matches whose quality is score^alpha * IoU^beta, the target of the score. It is
        scaled for each box, so that its best match gets the largest IoU of its matches.
    """
    inside = _is_inside(centers, truth) & valid
    ious = jnp.where(inside, overlap.pairwise_iou(boxes, truth), 0)
    alignment = scores**alpha * ious**beta
    alignment = jnp.where(inside, alignment, 0)
    largest, _ = jax.lax.top_k(alignment.T, min(number, len(boxes)))
    chosen = (alignment >= largest[:, -1]) & (alignment > 0)
    matches = _resolve(chosen, ious, ious)
    is_matched = matches.index != NONE
    own = jnp.arange(len(truth)) == matches.index[:, None]
    alignment = jnp.where(own, alignment, 0)
    largest_alignment = jnp.max(alignment, axis=0)
    largest_iou = jnp.max(jnp.where(own, ious, 0), axis=0)
    scale = largest_iou / jnp.maximum(largest_alignment, 1e-12)
    quality = jnp.max(alignment * scale, axis=1)
    return matches._replace(quality=jnp.where(is_matched, quality, 0))


def hungarian(costs: Pairs, valid: Valid) -> Matches:
    """Match each ground-truth box with one candidate at the least total cost (DETR).

    Args:
        costs: of each candidate for each ground-truth box; n >= m, padding included.
        valid: False for padding.

    Returns:
        Matches whose quality is 1 for a matched candidate and 0 for others.
    """
    import optax.assignment

    costs = jnp.where(valid, costs, 0)
    rows, columns = optax.assignment.hungarian_algorithm(costs)
    index = (
        jnp.full(len(costs), NONE)
        .at[rows]
        .set(jnp.where(valid[columns], columns, NONE))
    )
    ignored = jnp.zeros(len(costs), bool)
    return Matches(index, ignored, (index != NONE).astype(costs.dtype))


def _is_inside(centers: Centers, truth: Truth) -> PairMask:
    points = centers[:, None]
    is_past_low = points > truth[:, :2]
    is_before_high = points < truth[:, 2:]
    return jnp.all(is_past_low & is_before_high, axis=-1)


def _is_near_center(
    centers: Centers,
    strides: Scores,
    truth: Truth,
    radius: float,
) -> PairMask:
    middle = (truth[:, :2] + truth[:, 2:]) / 2
    distance = jnp.abs(centers[:, None] - middle)
    return jnp.all(distance < radius * strides[:, None, None], axis=-1)


def _resolve(
    chosen: PairMask,
    preference: Pairs,
    quality: Pairs,
) -> Matches:
    """Leave to each candidate the one ground-truth box that it prefers."""
    preference = jnp.where(chosen, preference, -jnp.inf)
    best = jnp.argmax(preference, axis=1)
    is_matched = jnp.any(chosen, axis=1)
    matched_quality = jnp.take_along_axis(quality, best[:, None], axis=1)[:, 0]
    return Matches(
        index=jnp.where(is_matched, best, NONE),
        ignored=jnp.zeros_like(is_matched),
        quality=jnp.where(is_matched, matched_quality, 0),
    )
