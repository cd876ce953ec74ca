"""Metrics of instance segmentation without overlaps, from instance maps int32 [H, W].

In an instance map, 0 is no object and every other value is an object, which need not be connected.
The numbers of objects have no meaning. One image becomes a small record, and `summarize` computes
exact numbers of many records.

Ignored pixels belong to no object. A predicted object without a match is left out if more than
half of its area is ignored, as in panopticapi.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.core.types import MetricValues, Records

# Percent of IoU that a match has to exceed, as in the Data Science Bowl 2018.
THRESHOLDS = (50, 55, 60, 65, 70, 75, 80, 85, 90, 95)
NAMES = ('ap', 'ap50', 'ap75', 'aji', 'aji_plus', 'pq', 'sq', 'rq')
# Arrays of `panoptic`, each with one value for each class.
PANOPTIC = ('pq_iou', 'pq_true', 'pq_false', 'pq_missed')

InstanceMap = Int[np.ndarray, 'h w']
Mask = Bool[np.ndarray, 'h w']
# One value for each true object, each predicted object, or each pair that overlaps.
PerTrue = Int[np.ndarray, 'n']
PerPredicted = Int[np.ndarray, 'm']
PerPair = Int[np.ndarray, 'pairs']
IsPair = Bool[np.ndarray, 'pairs']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intersections:
    """The objects of two instance maps, and the pairs that have pixels in common.

    Attributes:
        true_labels: of the N true objects, int [N], rising.
        predicted_labels: of the M predicted objects, int [M], rising.
        true_areas: pixels of each true object without ignored ones, int64 [N].
        predicted_areas: pixels of each predicted object without ignored ones, int64 [M].
        ignored_areas: ignored pixels of each predicted object, int64 [M].
        rows: the true object of each pair, as an index in [0, N).
        columns: the predicted object of each pair, as an index in [0, M).
        common: pixels that a pair has in common, int64.
    """

    true_labels: PerTrue
    predicted_labels: PerPredicted
    true_areas: PerTrue
    predicted_areas: PerPredicted
    ignored_areas: PerPredicted
    rows: PerPair
    columns: PerPair
    common: PerPair

    @property
    def union(self) -> PerPair:
        """Pixels of either object of each pair, int64."""
        areas = self.true_areas[self.rows] + self.predicted_areas[self.columns]
        return areas - self.common

    @property
    def iou(self) -> Float[np.ndarray, 'pairs']:
        """The IoU of each pair."""
        return self.common / self.union

    def exceeds(self, percent: int) -> IsPair:
        """Whether the IoU of each pair is above a percentage, without rounding."""
        return 100 * self.common > percent * self.union

    @property
    def is_excused(self) -> Bool[np.ndarray, 'm']:
        """Whether more than half of each predicted object is ignored."""
        return self.ignored_areas > self.predicted_areas


def intersections(
    truth: InstanceMap, prediction: InstanceMap, ignored: Mask | None = None
) -> Intersections:
    """Find the objects of two instance maps, and the pairs that overlap.

    Args:
        truth: int32 [H, W], 0 = no object.
        prediction: int32 [H, W], 0 = no object.
        ignored: bool [H, W], pixels that belong to no object; None: no pixel. A true
            object that is ignored as a whole is left out.
    """
    if ignored is None:
        ignored = np.zeros(truth.shape, bool)
    truth = np.where(ignored, 0, truth)
    true_labels, true_index, true_areas = _objects(truth)
    predicted_labels, predicted_index, whole_areas = _objects(prediction)
    number = len(predicted_labels)
    ignored_areas = np.bincount(
        predicted_index[ignored & (prediction != 0)], minlength=number
    )
    both = (truth != 0) & (prediction != 0)
    pairs = true_index[both] * number + predicted_index[both]
    pair_numbers, _, common = _counted(pairs)
    rows, columns = np.divmod(pair_numbers, max(number, 1))
    return Intersections(
        true_labels=true_labels,
        predicted_labels=predicted_labels,
        true_areas=true_areas,
        predicted_areas=whole_areas - ignored_areas,
        ignored_areas=ignored_areas,
        rows=rows,
        columns=columns,
        common=common,
    )


def record(
    truth: InstanceMap, prediction: InstanceMap, ignored: Mask | None = None
) -> Records:
    """Everything about an image that `summarize` needs, as small arrays of fixed shapes.

    All objects are of one class.

    Args:
        truth: int32 [H, W], 0 = no object.
        prediction: int32 [H, W], 0 = no object.
        ignored: bool [H, W], pixels that do not count; None: no pixel.

    Returns:
        'matches' int64 [10]: pairs with an IoU above each of `THRESHOLDS`. 'objects' and
        'predicted' int64: numbers of true and of predicted objects. For the predicted
        objects, 'excused' int64 [10] counts those that are mostly ignored and have no
        match. 'aji' and 'aji_plus' int64 [2]: intersection and union of all objects.
        The arrays of `panoptic`, for one class.
    """
    table = intersections(truth, prediction, ignored)
    above = [table.exceeds(percent) for percent in THRESHOLDS]
    excused = [_unmatched_excused(table, is_match) for is_match in above]
    return {
        'matches': np.array([np.count_nonzero(is_match) for is_match in above]),
        'excused': np.array(excused),
        'objects': np.array(len(table.true_labels)),
        'predicted': np.array(len(table.predicted_labels)),
        'aji': aggregated_jaccard(table),
        'aji_plus': aggregated_jaccard_plus(table),
        **_panoptic_counts(
            table,
            np.zeros(len(table.true_labels), np.int64),
            np.zeros(len(table.predicted_labels), np.int64),
            1,
        ),
    }


def summarize(records: Records) -> MetricValues:
    """Compute AP, AJI and panoptic quality from the records of all images.

    An image without true and predicted objects is perfect: its AP and AJI are 1.

    Args:
        records: arrays [images, ...] of `record`.

    Returns:
        Values in [0, 1] by `NAMES`. 'ap' is the mean AP of the Data Science Bowl 2018: TP /
        (TP + FP + FN) for a match at an IoU above 0.5, 0.55, ..., 0.95, averaged over these
        thresholds and then over images. 'ap50' and 'ap75' are those of one threshold.
        'aji' is the aggregated Jaccard index (Kumar et al., IEEE TMI 2017), 'aji_plus'
        that with pairs of one true and one predicted object (Graham et al., HoVer-Net,
        arXiv 1812.06499); both are means over images. 'pq', 'sq' and 'rq' are panoptic
        quality and its factors (arXiv 1801.00868), over all objects of all images. They
        are 1 without any object.
    """
    by_threshold = average_precisions(records).mean(axis=0)
    quality = panoptic_quality(records)
    return {
        'ap': float(by_threshold.mean()),
        'ap50': float(by_threshold[THRESHOLDS.index(50)]),
        'ap75': float(by_threshold[THRESHOLDS.index(75)]),
        'aji': _mean_ratio(records['aji']),
        'aji_plus': _mean_ratio(records['aji_plus']),
        **quality,
    }


def average_precisions(records: Records) -> Float[np.ndarray, 'images thresholds']:
    """TP / (TP + FP + FN) of each image at an IoU above each of `THRESHOLDS`.

    The value is 1 for an image without true and predicted objects.
    """
    matches = records['matches']
    objects = records['objects'][:, None]
    predicted = records['predicted'][:, None] - records['excused']
    return _ratio(matches, objects + predicted - matches)


def aggregated_jaccard(table: Intersections) -> Int[np.ndarray, '2']:
    """Intersection and union of the aggregated Jaccard index (Kumar et al., IEEE TMI 2017).

    Each true object has the predicted object with the largest IoU; the first one if
    several have it. A predicted object may serve several true ones. Objects without a
    partner are added to the union.
    """
    order = np.lexsort((table.columns, -table.iou, table.rows))
    _, first = np.unique(table.rows[order], return_index=True)
    return _aggregated(table, order[first])


def aggregated_jaccard_plus(table: Intersections) -> Int[np.ndarray, '2']:
    """Intersection and union of AJI+, with pairs of one true and one predicted object.

    The pairs have the largest sum of IoUs (Graham et al., arXiv 1812.06499).
    """
    from scipy.optimize import linear_sum_assignment

    if not len(table.rows):
        return _aggregated(table, table.rows)
    chosen = []
    for pairs in _groups(table):
        _, rows = np.unique(table.rows[pairs], return_inverse=True)
        _, columns = np.unique(table.columns[pairs], return_inverse=True)
        ious = np.zeros((rows.max() + 1, columns.max() + 1))
        ious[rows, columns] = table.iou[pairs]
        partners = np.full(len(ious), -1)
        with_partner, best_columns = linear_sum_assignment(ious, maximize=True)
        partners[with_partner] = best_columns
        chosen.append(pairs[partners[rows] == columns])
    return _aggregated(table, np.concatenate(chosen))


def panoptic(
    truth: InstanceMap,
    prediction: InstanceMap,
    true_classes: PerTrue,
    predicted_classes: PerPredicted,
    classes: int,
    ignored: Mask | None = None,
) -> Records:
    """Sums of panoptic quality of an image by class, with panopticapi's arithmetic.

    Objects match if they have the same class and an IoU above 0.5, so that no object has
    two matches.

    Args:
        truth: int32 [H, W], 0 = no object, k = object k.
        prediction: int32 [H, W], likewise.
        true_classes: the class of object k at k - 1, in [0, K), int [N]. N is at least
            the largest label.
        predicted_classes: likewise, int [M].
        classes: the number of classes K.
        ignored: bool [H, W], void pixels of the truth; None: no pixel.

    Returns:
        By the names in `PANOPTIC`: the sum of the IoUs of matches, float64 [K], and the
        numbers of matches, of predicted objects without match and of true objects
        without match, int64 [K].
    """
    table = intersections(truth, prediction, ignored)
    return _panoptic_counts(
        table,
        true_classes[table.true_labels - 1],
        predicted_classes[table.predicted_labels - 1],
        classes,
    )


def panoptic_quality(records: Records) -> MetricValues:
    """Compute panoptic quality over all images (arXiv 1801.00868).

    The sums of all images are added first. Classes without true and predicted objects
    are left out of the means.

    Args:
        records: arrays [images, K] of `panoptic`.

    Returns:
        'pq', 'sq' and 'rq' in [0, 1]: the mean over classes of the sum of IoUs / (TP + FP /
        2 + FN / 2), of the mean IoU of matches, and of TP / (TP + FP / 2 + FN / 2). They
        are 1 if there are no objects.
    """
    ious, matches, false, missed = (records[name].sum(axis=0) for name in PANOPTIC)
    sizes = matches + false / 2 + missed / 2
    present = sizes > 0
    if not present.any():
        return {'pq': 1.0, 'sq': 1.0, 'rq': 1.0}
    ious = ious[present]
    matches = matches[present]
    sizes = sizes[present]
    return {
        'pq': float(np.mean(ious / sizes)),
        'sq': float(np.mean(ious / np.maximum(matches, 1))),
        'rq': float(np.mean(matches / sizes)),
    }


def _objects(
    labels: InstanceMap,
) -> tuple[Int[np.ndarray, 'n'], Int[np.ndarray, 'h w'], Int[np.ndarray, 'n']]:
    """The labels of the objects, each pixel's index into them (-1: none), and their areas."""
    values, index, areas = _counted(labels)
    is_object = values != 0
    places = np.cumsum(is_object) - 1
    places[~is_object] = -1
    return values[is_object], places[index], areas[is_object]


def _groups(table: Intersections) -> list[PerPair]:
    """Divide the pairs, as indices, so that no object is in pairs of two groups."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    objects = len(table.true_labels)
    size = objects + len(table.predicted_labels)
    ends = (table.rows, objects + table.columns)
    edges = coo_array((np.ones(len(table.rows)), ends), (size, size))
    _, groups = connected_components(edges, directed=False)
    group_of_pair = groups[table.rows]
    order = np.argsort(group_of_pair, kind='stable')
    _, starts = np.unique(group_of_pair[order], return_index=True)
    return np.split(order, starts[1:])


def _counted(
    values: Int[np.ndarray, '*size'],
) -> tuple[Int[np.ndarray, 'n'], Int[np.ndarray, '*size'], Int[np.ndarray, 'n']]:
    """The distinct values, rising, each entry's index into them, and how many there are."""
    # `np.unique` needs no sort, and so a fifth of the time, if it returns the values alone.
    distinct = np.unique(values)
    index = np.searchsorted(distinct, values)
    return distinct, index, np.bincount(index.ravel(), minlength=len(distinct))


def _unmatched_excused(table: Intersections, is_match: IsPair) -> int:
    """The number of predicted objects that are mostly ignored and have no match."""
    excused = table.is_excused.copy()
    excused[table.columns[is_match]] = False
    return int(excused.sum())


def _aggregated(table: Intersections, chosen: PerPair) -> Int[np.ndarray, '2']:
    """Add up pairs and the objects that are in no pair: [intersection, union].

    Args:
        table: of the image.
        chosen: indices of the pairs.
    """
    has_partner = np.zeros(len(table.true_labels), bool)
    has_partner[table.rows[chosen]] = True
    is_used = table.is_excused.copy()
    is_used[table.columns[chosen]] = True
    union = table.union[chosen].sum() + table.true_areas[~has_partner].sum()
    union += table.predicted_areas[~is_used].sum()
    return np.array([table.common[chosen].sum(), union], np.int64)


def _panoptic_counts(
    table: Intersections,
    true_classes: PerTrue,
    predicted_classes: PerPredicted,
    classes: int,
) -> Records:
    """The arrays of `panoptic` from the classes of all objects of a table.

    Args:
        table: of the image.
        true_classes: of its true objects.
        predicted_classes: of its predicted objects.
        classes: the number of classes.
    """
    same_class = true_classes[table.rows] == predicted_classes[table.columns]
    is_match = table.exceeds(50) & same_class
    rows = table.rows[is_match]
    columns = table.columns[is_match]
    missed = np.ones(len(true_classes), bool)
    missed[rows] = False
    false = ~table.is_excused
    false[columns] = False
    matched_classes = true_classes[rows]
    iou = np.bincount(matched_classes, table.iou[is_match], minlength=classes)
    return {
        'pq_iou': iou.astype(np.float64),
        'pq_true': np.bincount(matched_classes, minlength=classes),
        'pq_false': np.bincount(predicted_classes[false], minlength=classes),
        'pq_missed': np.bincount(true_classes[missed], minlength=classes),
    }


def _ratio(
    numerator: Int[np.ndarray, '*n'], denominator: Int[np.ndarray, '*n']
) -> Float[np.ndarray, '*n']:
    """The quotient; 1 where both are 0."""
    perfect = np.ones(numerator.shape)
    return np.divide(numerator, denominator, out=perfect, where=denominator > 0)


def _mean_ratio(sums: Int[np.ndarray, 'images 2']) -> float:
    return float(_ratio(sums[:, 0], sums[:, 1]).mean())
