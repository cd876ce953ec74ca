"""Laws of box arithmetic, and the pitfalls of detectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.boxes import (
    coders,
    conversions,
    matching,
    merging,
    nms,
    overlap,
    roi_align,
    sampling,
)


def f32(values):
    return jnp.asarray(values, jnp.float32)


def random_boxes(rng, number, side=64.0):
    corners = rng.uniform(0, side, (number, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1) + 1], 1)
    return boxes.astype(np.float32)


seeds = st.integers(0, 10_000)


@jax.jit
def there_and_back(boxes, anchors, centers):
    """Boxes after a conversion and its inverse, by the name of the form between."""
    distances = coders.encode_distances(boxes, centers)
    deltas = coders.encode_deltas(boxes, anchors)
    return {
        'center': conversions.from_center_size(conversions.to_center_size(boxes)),
        'xywh': conversions.from_xywh(conversions.to_xywh(boxes)),
        'distances': coders.decode_distances(distances, centers),
        'deltas': coders.decode_deltas(deltas, anchors),
    }


@settings(deadline=None, max_examples=100)
@given(seeds)
def test_conversions_and_coders_invert_each_other(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 7)
    anchors = random_boxes(rng, 7)
    centers = rng.uniform(0, 64, (7, 2)).astype(np.float32)
    back = there_and_back(boxes, anchors, centers)
    for name in ('center', 'xywh', 'distances'):
        np.testing.assert_allclose(back[name], boxes, rtol=1e-4, atol=1e-3)
    sizes = boxes[:, 2:] - boxes[:, :2]
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    rows = (sizes <= coders.LARGEST_GROWTH * anchor_sizes).all(1)
    np.testing.assert_allclose(back['deltas'][rows], boxes[rows], rtol=1e-3, atol=2e-3)


def test_boxes_have_no_extra_pixel():
    """Two boxes of 2x3 pixels that share 1x3: a +1 in sizes would say 6/15."""
    a = f32([0, 0, 2, 3])
    b = f32([1, 0, 3, 3])
    assert float(conversions.area(a)) == 6
    assert float(overlap.iou(a, b)) == pytest.approx(3 / 9)


def test_the_first_axis_is_vertical():
    wide = f32([0, 0, 1, 10])
    np.testing.assert_array_equal(conversions.to_xywh(wide), [0, 0, 10, 1])
    np.testing.assert_array_equal(
        conversions.clip(f32([0, 0, 99, 99]), f32([20.0, 30.0])),
        [0, 0, 20, 30],
    )


LEAST_OVERLAP = {'iou': 0, 'giou': -1, 'diou': -1, 'ciou': -2}


@jax.jit
def all_overlaps(a, b):
    return {name: getattr(overlap, name)(a, b) for name in LEAST_OVERLAP}


@settings(deadline=None, max_examples=100)
@given(seeds)
def test_overlaps_are_symmetric_and_bounded(seed):
    rng = np.random.default_rng(seed)
    a = random_boxes(rng, 9)
    b = random_boxes(rng, 9)
    overlaps = jax.tree.map(np.asarray, all_overlaps(a, b))
    swapped = all_overlaps(b, a)
    with_itself = all_overlaps(a, a)
    for name, least in LEAST_OVERLAP.items():
        np.testing.assert_allclose(overlaps[name], swapped[name], atol=1e-5)
        assert (least <= overlaps[name]).all()
        assert (overlaps[name] <= 1 + 1e-6).all()
        np.testing.assert_allclose(with_itself[name], 1, atol=1e-5)
    assert (overlaps['giou'] <= overlaps['iou'] + 1e-6).all()


@pytest.mark.parametrize('function', [overlap.giou, overlap.diou, overlap.ciou])
def test_boxes_without_area_have_finite_gradients(function):
    point = f32([3.0, 3.0, 3.0, 3.0])
    for other in (point, f32([0.0, 0.0, 8.0, 8.0])):
        gradient = jax.grad(lambda box, other=other: function(box, other))(point)
        assert bool(jnp.isfinite(gradient).all())


@functools.partial(jax.jit, static_argnums=(3, 4))
def both_forms(boxes, scores, classes, iou, limit):
    options = {'iou': iou, 'limit': limit, 'score': 0.1}
    return (
        nms.greedy(boxes, scores, classes, **options),
        nms.by_argmax(boxes, scores, classes, **options),
        overlap.pairwise_iou(boxes, boxes),
    )


# A program for each: few boxes, some, and more than there are.
OPTIONS_OF_SUPPRESSION = [
    (0.2, 30),
    (0.2, 7),
    (0.5, 30),
    (0.5, 1),
    (0.8, 30),
    (0.8, 12),
]


@settings(deadline=None, max_examples=100)
@given(seeds, st.sampled_from(OPTIONS_OF_SUPPRESSION))
def test_both_forms_of_suppression_agree(seed, options):
    iou, limit = options
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 24) - 20  # negative coordinates must not leak classes
    scores = np.float32(rng.integers(0, 6, 24) / 5)  # ties
    classes = rng.integers(0, 3, 24, np.int32)
    sorted_form, argmax_form, ious = jax.tree.map(
        np.asarray, both_forms(boxes, scores, classes, iou, limit)
    )
    np.testing.assert_array_equal(sorted_form.index, argmax_form.index)
    np.testing.assert_array_equal(sorted_form.valid, argmax_form.valid)
    kept = sorted_form.index[sorted_form.valid]
    assert (scores[kept] > 0.1).all()
    assert (np.diff(scores[kept]) <= 0).all()
    same = classes[kept][:, None] == classes[kept]
    others = same & ~np.eye(len(kept), dtype=bool)
    assert (ious[np.ix_(kept, kept)][others] <= iou + 1e-6).all()


def suppressed_by_class(boxes, scores, classes, iou):
    """The kept rows by float64 and one class after the other, the best first."""
    boxes = np.asarray(boxes, np.float64)
    kept = []
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        for row in rows[np.argsort(-scores[rows], kind='stable')]:
            same = [other for other in kept if classes[other] == label]
            if not (overlap.iou_on_host(boxes[row], boxes[same]) > iou).any():
                kept.append(row)
    return sorted(kept, key=lambda row: -scores[row])


@pytest.mark.parametrize('form', [nms.greedy, nms.by_argmax])
@pytest.mark.parametrize('shift', [-308.0, 0.0, 40_000.0])
def test_classes_are_compared_and_not_moved_apart(form, shift):
    """Moved by 90 times the image, boxes would lose up to half a pixel or reach other classes."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (40, 1, 2)) + rng.uniform(0, 3, (40, 8, 2))
    sides = rng.uniform(4, 5, (40, 8, 2))
    boxes = np.concatenate([corners, corners + sides], -1).reshape(-1, 4)
    boxes = (boxes + shift).astype(np.float32)
    classes = rng.choice([0, 1, 50, 89], len(boxes)).astype(np.int32)
    scores = rng.permutation(len(boxes)).astype(np.float32)
    # No pair is so near to the limit that float32 decides.
    kept = form(
        f32(boxes), f32(scores), jnp.asarray(classes), iou=0.5, limit=len(boxes)
    )
    index = np.asarray(kept.index)[np.asarray(kept.valid)]
    expected = suppressed_by_class(boxes, scores, classes, 0.5)
    np.testing.assert_array_equal(index, expected)


def test_suppression_without_boxes_keeps_nothing():
    kept = nms.greedy(
        jnp.zeros((4, 4)),
        jnp.zeros(4),
        iou=0.5,
        limit=6,
        score=0.0,
    )
    assert not kept.valid.any()
    assert kept.index.shape == (6,)


@jax.jit
def all_matches(candidates, scores, truth, valid):
    centers = conversions.to_center_size(candidates)[:, :2]
    strides = jnp.full(len(candidates), 4.0)
    return (
        matching.by_iou(
            candidates, truth, valid, positive=0.7, negative=0.3, low_quality=True
        ),
        matching.simota(candidates, -jnp.log(scores), centers, strides, truth, valid),
        matching.task_aligned(candidates, scores, centers, truth, valid),
        matching.hungarian(scores, valid),
    )


@settings(deadline=None, max_examples=50)
@given(seeds, st.sampled_from([1, 2, 5]), st.booleans())
def test_padding_of_the_truth_matches_nothing(seed, number, has_area):
    """3 boxes in 3 slots or in 50 give the same matches, even where no anchor overlaps."""
    rng = np.random.default_rng(seed)
    truth = random_boxes(rng, number)
    # An augmentation moves padding too, which must not count wherever it lies.
    padded = random_boxes(rng, 50) * np.float32(has_area)
    padded[:number] = truth
    candidates = np.concatenate([random_boxes(rng, 50), random_boxes(rng, 5) + 500])
    scores = rng.uniform(size=(55, 50)).astype(np.float32)
    narrow = all_matches(candidates, scores[:, :number], truth, np.ones(number, bool))
    wide = all_matches(candidates, scores, padded, np.arange(50) < number)
    for few, many in zip(narrow, wide, strict=True):
        np.testing.assert_array_equal(few.index, many.index)
        np.testing.assert_array_equal(few.ignored, many.ignored)
        np.testing.assert_allclose(few.quality, many.quality, atol=1e-6)
    # Candidates that overlap nothing are negative: "the best anchor" of a far box is none.
    assert (np.asarray(narrow[0].index)[50:] == matching.NONE).all()


def test_an_image_without_truth_matches_nothing():
    rng = np.random.default_rng(0)
    candidates = jnp.asarray(random_boxes(rng, 8))
    truth = jnp.zeros((3, 4))
    valid = jnp.zeros(3, bool)
    found = matching.by_iou(
        candidates, truth, valid, positive=0.5, negative=0.3, low_quality=True
    )
    assert (np.asarray(found.index) == matching.NONE).all()
    assert not found.ignored.any()


def test_hungarian_matching_is_the_cheapest():
    rng = np.random.default_rng(0)
    costs = rng.normal(size=(12, 5)).astype(np.float32)
    found = matching.hungarian(jnp.asarray(costs), jnp.ones(5, bool))
    rows, columns = scipy.optimize.linear_sum_assignment(costs)
    expected = np.full(12, matching.NONE)
    expected[rows] = columns
    np.testing.assert_array_equal(found.index, expected)


def test_task_aligned_quality_is_the_largest_iou_for_the_best_candidate():
    truth = f32([[0, 0, 10, 10]])
    boxes = f32([[0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 10, 7]])
    centers = f32([[5, 5], [5, 5], [50, 50]])
    scores = f32([[0.5], [0.9], [0.9]])
    found = matching.task_aligned(boxes, scores, centers, truth, jnp.ones(1, bool))
    np.testing.assert_array_equal(found.index, [0, 0, matching.NONE])
    assert float(found.quality[0]) == pytest.approx(0.9)
    ratio = (0.9 * 0.5**6) / (0.5 * 0.9**6)
    assert float(found.quality[1]) == pytest.approx(0.9 * ratio, rel=1e-4)


def test_sampling_is_balanced_and_depends_on_the_key_alone():
    rng = np.random.default_rng(0)
    positive = rng.uniform(size=200) < 0.3
    negative = ~positive & (rng.uniform(size=200) < 0.8)
    counts = np.zeros(200)
    for seed in range(200):
        chosen = np.asarray(
            sampling.balanced(
                jax.random.key(seed),
                jnp.asarray(positive),
                jnp.asarray(negative),
                32,
                0.25,
            )
        )
        assert (chosen & positive).sum() == 8
        assert (chosen & negative).sum() == 24
        counts += chosen
    # Each positive is chosen about as often: 8 of about 60, 200 times.
    frequency = counts[positive] / 200
    assert abs(frequency - 8 / positive.sum()).max() < 0.12
    few = np.zeros(200, bool)
    few[:3] = True
    chosen = sampling.balanced(
        jax.random.key(0), jnp.asarray(few), jnp.asarray(~few), 32, 0.25
    )
    assert int(chosen.sum()) == 32


def test_roi_align_of_a_ramp_has_no_half_cell_shift():
    """The map's value is its coordinate in pixels, so a cell's value is its own centre."""
    stride = 4
    y = (np.arange(16) + 0.5) * stride
    features = np.stack(np.meshgrid(y, y, indexing='ij'), -1)
    features = f32(features)
    box = f32([[8, 12, 36, 52]])
    found = roi_align.roi_align(features, box, stride=4.0, size=4, samples=2)
    centers = 8 + (np.arange(4) + 0.5) * 7
    np.testing.assert_allclose(found[0, :, 0, 0], centers, rtol=1e-5)
    centers = 12 + (np.arange(4) + 0.5) * 10
    np.testing.assert_allclose(found[0, 0, :, 1], centers, rtol=1e-5)


def test_pyramid_levels_as_the_paper_has_them():
    sides = f32([16, 112, 223, 224, 448, 4000])
    boxes = jnp.stack([0 * sides, 0 * sides, sides, sides], 1)
    np.testing.assert_array_equal(
        roi_align.pyramid_levels(boxes, (2, 5)), [2, 3, 3, 4, 5, 5]
    )


def test_fusion_averages_what_both_views_found():
    detections = merging.Detections(
        boxes=np.float32([[0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60]]),
        scores=np.float32([0.9, 0.6, 0.5]),
        classes=np.int32([1, 1, 1]),
    )
    fused = merging.weighted_fusion(detections, views=2)
    np.testing.assert_allclose(fused.boxes[0], [0, 0, 10, (9 + 7.2) / 1.5], rtol=1e-5)
    np.testing.assert_allclose(fused.scores, [0.75, 0.25], rtol=1e-5)
    apart = merging.Detections(detections.boxes, detections.scores, np.int32([1, 2, 1]))
    assert len(merging.weighted_fusion(apart, views=2).boxes) == 3
    nothing = merging.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32))
    assert merging.weighted_fusion(nothing, views=2).boxes.shape == (0, 4)


def test_boxes_of_a_large_pyramid_are_gathered_from_their_own_levels(monkeypatch):
    """More boxes than are gathered at once, of all levels, with the gradient."""
    rng = np.random.default_rng(0)
    maps = [
        jnp.asarray(rng.normal(size=(height, height + 3, 2)), jnp.float32)
        for height in (40, 20, 10)
    ]
    corners = rng.uniform(0, 160, (37, 2))
    sides = np.exp(rng.uniform(1, 5, (37, 2)))
    boxes = jnp.asarray(np.concatenate([corners, corners + sides], 1), jnp.float32)

    def pooled(maps, boxes):
        return roi_align.pyramid_roi_align(
            maps, boxes, (4, 8, 16), size=3, aligned=False, canonical_size=64.0
        )

    def squared(maps, boxes):
        regions = pooled(maps, boxes)
        return jnp.square(regions).sum(), regions

    def compiled():
        gradient = jax.jit(jax.value_and_grad(squared, has_aux=True))
        (_, regions), slopes = gradient(maps, boxes)
        return regions, *slopes

    gathered = compiled()
    monkeypatch.setattr(roi_align, 'LARGEST_PRODUCT', 10**6)
    products = compiled()
    for actual, expected in zip(gathered, products, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
