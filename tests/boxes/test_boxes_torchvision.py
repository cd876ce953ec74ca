"""Box arithmetic equals torchvision's: arrays stored by tests/bench/torchvision_boxes.py."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.boxes import anchors, coders, matching, nms, overlap, roi_align

REFERENCE = dict(np.load(Path(__file__).with_name('torchvision.npz')))
SWAPPED = [
    1,
    0,
    3,
    2,
]  # [xmin, ymin, xmax, ymax] to [ymin, xmin, ymax, xmax], and deltas


def boxes(name):
    return jnp.asarray(REFERENCE[name][:, SWAPPED])


@pytest.mark.parametrize('name', ['iou', 'giou', 'diou', 'ciou'])
def test_overlaps_of_all_pairs(name):
    function = getattr(overlap, name)
    found = function(boxes('a')[:, None], boxes('b')[None])
    # CIoU's shape term divides by 1 - IoU, which torchvision does with another epsilon.
    np.testing.assert_allclose(found, REFERENCE[name], atol=2e-6)


def test_the_overlap_on_the_host_is_the_same():
    a = np.asarray(boxes('a'))
    b = np.asarray(boxes('b'))
    for box, expected in zip(a, REFERENCE['iou'], strict=True):
        np.testing.assert_allclose(overlap.iou_on_host(box, b), expected, atol=1e-6)


def test_deltas_of_faster_rcnn():
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = coders.encode_deltas(boxes('a'), boxes('b'), weights)
    np.testing.assert_allclose(deltas, boxes('deltas'), rtol=1e-5, atol=1e-5)
    decoded = coders.decode_deltas(boxes('large_deltas'), boxes('b'), weights)
    np.testing.assert_allclose(decoded, boxes('decoded'), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize('form', [nms.greedy, nms.by_argmax])
@pytest.mark.parametrize('threshold', [30, 50, 70])
def test_suppression_by_class(form, threshold):
    kept = form(
        boxes('crowded'),
        jnp.asarray(REFERENCE['scores']),
        jnp.asarray(REFERENCE['classes'], jnp.int32),
        iou=threshold / 100,
        limit=300,
    )
    index = np.asarray(kept.index)[np.asarray(kept.valid)]
    # torchvision's sort is not stable: boxes of equal scores may change places.
    expected = REFERENCE[f'nms_{threshold}']
    assert set(index) == set(expected)
    scores = REFERENCE['scores']
    np.testing.assert_array_equal(scores[index], scores[expected])


@pytest.mark.parametrize(
    'name, positive, negative, low_quality',
    [
        ('rpn', 0.7, 0.3, True),
        ('head', 0.5, 0.5, False),
        ('retina', 0.5, 0.4, True),
    ],
)
def test_matching_by_iou(name, positive, negative, low_quality):
    candidates = jnp.concatenate([boxes('b'), boxes('a')])
    matches = matching.by_iou(
        candidates,
        boxes('a')[:6],
        jnp.ones(6, bool),
        positive=positive,
        negative=negative,
        low_quality=low_quality,
    )
    found = np.where(matches.ignored, -2, matches.index)  # torchvision's "between"
    np.testing.assert_array_equal(found, REFERENCE[f'match_{name}'])


@pytest.mark.parametrize('form', [roi_align._by_products, roi_align._by_gathers])
@pytest.mark.parametrize('aligned', [False, True])
def test_roi_align(form, aligned, monkeypatch):
    monkeypatch.setattr(roi_align, '_by_products', form)
    features = np.moveaxis(REFERENCE['features'], 0, -1)
    found = roi_align.roi_align(
        jnp.asarray(features), boxes('rois'), stride=8.0, aligned=aligned
    )
    expected = np.moveaxis(REFERENCE[f'align_{int(aligned)}'], 1, -1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    'name, sizes', [('anchors_rpn', (32,)), ('anchors_retina', (32, 40, 50))]
)
def test_anchors(name, sizes):
    cell = anchors.cell_anchors(sizes, (0.5, 1.0, 2.0), rounded=True)
    found = anchors.grid_anchors(cell, (4, 6), (16, 16))
    np.testing.assert_array_equal(found, boxes(name))


def test_an_image_of_a_batch_is_suppressed_as_if_alone():
    one = boxes('crowded')
    scores = jnp.asarray(REFERENCE['scores'])
    classes = jnp.asarray(REFERENCE['classes'], jnp.int32)
    suppress = functools.partial(nms.by_argmax, iou=0.5, limit=100, score=0.2)
    both = jax.jit(jax.vmap(suppress))(
        jnp.stack([one, one[::-1]]),
        jnp.stack([scores, scores[::-1]]),
        jnp.stack([classes, classes[::-1]]),
    )
    alone = nms.greedy(one, scores, classes, iou=0.5, limit=100, score=0.2)
    np.testing.assert_array_equal(both.index[0], alone.index)
    np.testing.assert_array_equal(both.valid[0], alone.valid)


def test_sums_of_roi_align_have_at_most_four_axes():
    """LiteRT cannot sum more, and Mask R-CNN's masks need a large map."""
    features = jnp.zeros((64, 64, 8))
    boxes = jnp.zeros((40, 4))
    maps = [features, features[::2, ::2]]
    text = str(
        jax.make_jaxpr(
            lambda maps, boxes: roi_align.pyramid_roi_align(
                maps, boxes, (2, 4), size=14
            )
        )(maps, boxes)
    )
    sums = re.findall(r'= reduce_sum\[.*?\]', text, re.S)
    ranks = [
        shape.count(',') + 1
        for shape in re.findall(r':f32\[([\d,]+)\] = reduce_sum', text)
    ]
    assert sums and len(ranks) == len(sums)
    # The axis that is summed is gone.
    assert max(ranks) <= 3
