"""Metrics of instances against masks compared one by one, and the rules for empty images."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.metrics import instances

seeds = st.integers(0, 10_000)
nothing = np.zeros((6, 7), np.int32)


def label_map(rng, size, number):
    """Rectangles that hide each other, with labels that are no sequence."""
    labels = np.zeros(size, np.int32)
    for label in rng.choice(50, number, replace=False) + 1:
        top, left = rng.integers(0, size)
        height, width = rng.integers(1, 6, 2)
        labels[top : top + height, left : left + width] = label
    return labels


def image(seed):
    """A truth, a prediction near it, and ignored pixels."""
    rng = np.random.default_rng(seed)
    size = rng.integers(5, 13, 2)
    truth = label_map(rng, size, rng.integers(0, 8))
    prediction = np.roll(truth, rng.integers(-1, 2), 1)
    # Some objects join, some vanish, and some are new.
    for label in np.unique(prediction):
        prediction[prediction == label] = rng.choice([label, label, label, 7, 0])
    extra = label_map(rng, size, rng.integers(0, 3))
    prediction = np.where(extra > 0, extra + 100, prediction)
    prediction = prediction.astype(np.int32)
    ignored = label_map(rng, size, rng.integers(0, 3)) > 0
    return truth, prediction, ignored


def masks(labels):
    return [labels == label for label in np.unique(labels) if label]


def objects_by_hand(truth, prediction, ignored):
    """Masks of both maps without ignored pixels, and whether each prediction is mostly ignored."""
    true_masks = [mask & ~ignored for mask in masks(truth)]
    true_masks = [mask for mask in true_masks if mask.any()]
    predicted = masks(prediction)
    excused = [(mask & ignored).sum() / mask.sum() > 0.5 for mask in predicted]
    return true_masks, [mask & ~ignored for mask in predicted], excused


def ious_by_hand(true_masks, predicted_masks):
    ious = np.zeros((len(true_masks), len(predicted_masks)))
    for row, column in np.ndindex(ious.shape):
        truth = true_masks[row]
        prediction = predicted_masks[column]
        ious[row, column] = (truth & prediction).sum() / (truth | prediction).sum()
    return ious


def precision_by_hand(ious, excused, threshold):
    """TP / (TP + FP + FN) of the Data Science Bowl 2018."""
    matched = ious > threshold
    true_positives = matched.any(axis=1).sum() if ious.size else 0
    misses = len(ious) - true_positives
    false = 0
    for column, is_excused in enumerate(excused):
        false += not matched[:, column].any() and not is_excused
    total = true_positives + misses + false
    return true_positives / total if total else 1.0


def aggregated_by_hand(true_masks, predicted_masks, excused, partners):
    """The aggregated Jaccard index with the partner of each true object, or None."""
    intersection = 0
    union = 0
    for truth, partner in zip(true_masks, partners, strict=True):
        if partner is None:
            union += truth.sum()
            continue
        intersection += (truth & predicted_masks[partner]).sum()
        union += (truth | predicted_masks[partner]).sum()
    for column, mask in enumerate(predicted_masks):
        if column not in partners and not excused[column]:
            union += mask.sum()
    return intersection / union if union else 1.0


def best_assignments(ious):
    """All choices of partners with the largest sum of IoUs, by trying every one."""
    rows, columns = ious.shape
    choices = [*range(columns), *[None] * rows]
    by_partners = {}
    for chosen in set(itertools.permutations(choices, rows)):
        partners = []
        total = 0.0
        for row, column in enumerate(chosen):
            overlaps = column is not None and ious[row, column] > 0
            partners.append(column if overlaps else None)
            total += ious[row, column] if overlaps else 0
        by_partners[tuple(partners)] = total
    best = max(by_partners.values())
    return [key for key, total in by_partners.items() if total > best - 1e-12]


def stack(records):
    return {name: np.stack([row[name] for row in records]) for name in records[0]}


@settings(deadline=None, max_examples=80)
@given(seeds, st.booleans())
def test_ap_and_aji_equal_those_of_masks_compared_one_by_one(seed, with_ignored):
    truth, prediction, ignored = image(seed)
    ignored &= with_ignored
    true_masks, predicted_masks, excused = objects_by_hand(truth, prediction, ignored)
    ious = ious_by_hand(true_masks, predicted_masks)
    record = instances.record(truth, prediction, ignored if with_ignored else None)
    values = instances.summarize(stack([record]))
    precisions = [
        precision_by_hand(ious, excused, threshold)
        for threshold in np.arange(50, 100, 5) / 100
    ]
    assert values['ap'] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert values['ap50'] == pytest.approx(precisions[0], abs=1e-12)
    assert values['ap75'] == pytest.approx(precisions[5], abs=1e-12)
    partners = [int(np.argmax(row)) if row.size and row.any() else None for row in ious]
    aji = aggregated_by_hand(true_masks, predicted_masks, excused, partners)
    assert values['aji'] == pytest.approx(aji, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_aji_plus_has_the_best_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    truth = label_map(rng, (7, 7), rng.integers(0, 4))
    prediction = label_map(rng, (7, 7), rng.integers(0, 4))
    ignored = np.zeros((7, 7), bool)
    true_masks, predicted_masks, excused = objects_by_hand(truth, prediction, ignored)
    ious = ious_by_hand(true_masks, predicted_masks)
    values = instances.summarize(stack([instances.record(truth, prediction)]))
    possible = [
        aggregated_by_hand(true_masks, predicted_masks, excused, partners)
        for partners in best_assignments(ious)
    ]
    assert np.abs(values['aji_plus'] - np.array(possible)).min() < 1e-12


def panoptic_by_hand(pairs, classes):
    """PQ, SQ and RQ with the arithmetic of panopticapi, where the label 0 is void."""
    sums = {number: [0.0, 0, 0, 0] for number in range(classes)}
    for truth, prediction, class_of_truth, class_of_prediction in pairs:
        matched_truth = set()
        matched_prediction = set()
        for label, other in itertools.product(class_of_truth, class_of_prediction):
            mask = truth == label
            guess = prediction == other
            if class_of_truth[label] != class_of_prediction[other]:
                continue
            common = (mask & guess).sum()
            void = (guess & (truth == 0)).sum()
            iou = common / (mask.sum() + guess.sum() - common - void)
            if iou > 0.5:
                sums[class_of_truth[label]][0] += iou
                sums[class_of_truth[label]][1] += 1
                matched_truth.add(label)
                matched_prediction.add(other)
        for other in set(class_of_prediction) - matched_prediction:
            guess = prediction == other
            if (guess & (truth == 0)).sum() / guess.sum() <= 0.5:
                sums[class_of_prediction[other]][2] += 1
        for label in set(class_of_truth) - matched_truth:
            sums[class_of_truth[label]][3] += 1
    values = []
    for iou, matches, false, missed in sums.values():
        size = matches + 0.5 * false + 0.5 * missed
        if size:
            values.append([iou / size, iou / matches if matches else 0, matches / size])
    return np.mean(values, axis=0) if values else np.ones(3)


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_panoptic_quality_has_the_arithmetic_of_panopticapi(seed):
    rng = np.random.default_rng(seed)
    classes = 3
    pairs = []
    records = []
    for number in range(2):
        truth, prediction, _ = image(seed + number)
        true_classes = rng.integers(0, classes, 200)
        predicted_classes = true_classes.copy()
        changed = rng.uniform(size=200) < 0.2
        predicted_classes[changed] = rng.integers(0, classes, changed.sum())
        row = instances.panoptic(
            truth, prediction, true_classes, predicted_classes, classes, truth == 0
        )
        records.append(row)
        by_label = [
            {
                int(label): int(numbers[label - 1])
                for label in np.unique(labels)
                if label
            }
            for labels, numbers in (
                (truth, true_classes),
                (prediction, predicted_classes),
            )
        ]
        pairs.append((truth, prediction, *by_label))
    values = instances.panoptic_quality(stack(records))
    expected = panoptic_by_hand(pairs, classes)
    np.testing.assert_allclose(list(values.values()), expected, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_the_numbers_of_the_objects_have_no_meaning(seed):
    truth, prediction, ignored = image(seed)
    names = np.random.default_rng(seed).permutation(300).astype(np.int32) + 1
    record = instances.record(truth, prediction, ignored)
    renamed = instances.record(truth, np.append(0, names)[prediction], ignored)
    for name in record:
        # Which of two equal IoUs comes first decides about other partners.
        if name not in ('aji', 'aji_plus'):
            np.testing.assert_allclose(record[name], renamed[name])
    swapped = instances.record(prediction, truth)
    forth = instances.summarize(stack([instances.record(truth, prediction)]))
    back = instances.summarize(stack([swapped]))
    for name in ('ap', 'ap50', 'pq', 'sq', 'rq'):
        assert forth[name] == pytest.approx(back[name], abs=1e-12)


def test_an_iou_of_exactly_a_threshold_is_no_match():
    truth = nothing.copy()
    truth[0, :4] = 3
    prediction = nothing.copy()
    prediction[0, :2] = 9
    values = instances.summarize(stack([instances.record(truth, prediction)]))
    assert values['ap50'] == 0
    prediction[0, 2] = 9
    values = instances.summarize(stack([instances.record(truth, prediction)]))
    assert values['ap50'] == 1
    # An IoU of 0.75 is above 0.5, 0.55, ..., 0.7.
    assert values['ap75'] == 0
    assert values['ap'] == 0.5


def test_images_without_objects_are_perfect_or_have_false_objects():
    objects = nothing.copy()
    objects[1:3, 2:5] = 4
    records = {
        'empty': instances.record(nothing, nothing),
        'false': instances.record(nothing, objects),
        'missed': instances.record(objects, nothing),
        'right': instances.record(objects, objects),
    }
    expected = {'empty': 1, 'false': 0, 'missed': 0, 'right': 1}
    for case, value in expected.items():
        values = instances.summarize(stack([records[case]]))
        assert values == dict.fromkeys(instances.NAMES, value), case
    values = instances.summarize(stack(list(records.values())))
    assert values['ap'] == values['aji'] == values['aji_plus'] == 0.5
    assert values['pq'] == values['rq'] == 0.5
    assert values['sq'] == 1


def test_ignored_pixels_excuse_a_prediction_of_which_they_are_more_than_half():
    objects = nothing.copy()
    objects[2, 1:5] = 4
    ignored = np.zeros(nothing.shape, bool)
    ignored[2, 1:3] = True
    values = instances.summarize(stack([instances.record(nothing, objects, ignored)]))
    assert values['ap'] == values['pq'] == values['aji'] == 0
    ignored[2, 3] = True
    values = instances.summarize(stack([instances.record(nothing, objects, ignored)]))
    assert set(values.values()) == {1.0}
    # A true object that is ignored as a whole is not missed.
    values = instances.summarize(
        stack([instances.record(objects, nothing, objects > 0)])
    )
    assert set(values.values()) == {1.0}


def test_records_of_images_of_any_size_can_be_stacked():
    rng = np.random.default_rng(0)
    records = []
    for size in ((5, 5), (40, 60), (9, 3)):
        truth = label_map(rng, size, 6)
        records.append(instances.record(truth, np.roll(truth, 1, 0)))
    values = instances.summarize(stack(records))
    assert tuple(values) == instances.NAMES
    singles = [instances.summarize(stack([row]))['ap'] for row in records]
    assert values['ap'] == pytest.approx(np.mean(singles))
