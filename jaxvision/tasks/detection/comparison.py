"""The comparison of two detectors' outputs as sets, since equal scores may change places."""

import numpy as np
from jaxtyping import Float, Int

from jaxvision.core.types import Records

# Two detections of one class are the same if their edges are within this many pixels and
# their scores within this difference.
MOST_PIXELS = 1.0
MOST_SCORE = 0.01


def compare(outputs: Records, reference: Records) -> dict[str, float]:
    """Compare detections of the same images, whatever their order.

    Partners are of one class, at most 1 pixel and a score of 0.01 apart, and the
    nearest ones are paired first. A detection without a partner is ignored if its score
    is at most 0.01 above the lowest score that its detector has in the image. Its
    partner may have been cut off there.

    Args:
        outputs: 'boxes' [N, D, 4], 'scores' [N, D], 'classes' [N, D], 'valid' [N, D],
            and 'masks' [N, D, M, M] if the detectors have masks.
        reference: the same arrays of the other detector.

    Returns:
        'boxes': the largest difference of an edge between partners, as a fraction of
        the reference's largest edge. 'scores': the largest difference of a score, as a
        fraction of the reference's largest score. 'classes': the fraction of images with
        a detection that has no partner and is not ignored. 'masks', if there are any: the
        largest difference of a probability between partners. It is a fraction of a quarter of
        the largest logit, if this exceeds 1, because a sigmoid turns a difference d of logits
        into at most d / 4.
    """
    edges = 0.0
    scores = 0.0
    masks = 0.0
    alone = np.zeros(len(reference['scores']), bool)
    for row in range(len(alone)):
        found = _detections(outputs, row)
        expected = _detections(reference, row)
        gaps = np.abs(found['boxes'][:, None] - expected['boxes']).max(-1, initial=0)
        score_gaps = np.abs(found['scores'][:, None] - expected['scores'])
        differs = found['classes'][:, None] != expected['classes']
        is_far = differs | (gaps > MOST_PIXELS) | (score_gaps > MOST_SCORE)
        pairs = _pairs(np.where(is_far, np.inf, gaps + score_gaps))
        for one, other in pairs:
            edges = max(edges, float(gaps[one, other]))
            scores = max(scores, float(score_gaps[one, other]))
            if 'masks' in reference:
                gap = np.abs(found['masks'][one] - expected['masks'][other])
                masks = max(masks, float(gap.max()))
        partners = np.array(pairs, int).reshape(-1, 2)
        alone[row] = _has_lone(found, partners[:, 0]) or _has_lone(
            expected, partners[:, 1]
        )
    largest_edge = float(np.abs(reference['boxes']).max(initial=1e-9))
    largest_score = float(np.abs(reference['scores']).max(initial=1e-9))
    fraction = float(alone.mean()) if len(alone) else 0.0
    differences = {}
    if 'masks' in reference:
        differences['masks'] = masks / max(_largest_logit(reference) / 4, 1.0)
    return {
        **differences,
        'boxes': edges / largest_edge,
        'scores': scores / largest_score,
        'classes': fraction,
    }


def _largest_logit(outputs: Records) -> float:
    """The largest absolute logit of the masks of valid detections; 0 without any."""
    values = np.asarray(outputs['masks'], np.float64)[
        np.asarray(outputs['valid'], bool)
    ]
    values = np.clip(values, 1e-9, 1 - 1e-9)
    return float(np.abs(np.log(values / (1 - values))).max(initial=0))


def _detections(outputs: Records, row: int) -> Records:
    valid = np.asarray(outputs['valid'][row], bool)
    names = ('boxes', 'scores', 'classes', 'masks')
    return {
        name: np.asarray(outputs[name][row])[valid] for name in names if name in outputs
    }


def _pairs(costs: Float[np.ndarray, 'n m']) -> list[tuple[int, int]]:
    """Take the cheapest pair of rows and columns that are left, until none is finite."""
    costs = costs.copy()
    pairs = []
    while costs.size and np.isfinite(costs).any():
        row, column = np.unravel_index(np.argmin(costs), costs.shape)
        pairs.append((int(row), int(column)))
        costs[row] = np.inf
        costs[:, column] = np.inf
    return pairs


def _has_lone(detections: Records, partners: Int[np.ndarray, 'p']) -> bool:
    """Whether a detection above the lowest score of its image has no partner."""
    scores = detections['scores']
    lone = np.ones(len(scores), bool)
    lone[partners] = False
    is_above = scores > scores.min(initial=np.inf) + MOST_SCORE
    return bool((lone & is_above).any())
