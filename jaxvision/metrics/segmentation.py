"""Metrics of semantic segmentation: exact numbers from confusion matrices, and boundary F.

A confusion matrix counts labelled pixels, int64 [K, K]. Row i and column j hold the pixels of class
i that were predicted as j. Pixels with the label IGNORED (255) are not counted. Matrices of images
are added, so that a metric of a split depends neither on batches nor on hosts.

Classes without a value: the IoU and the Dice coefficient of a class are NaN if the class is
neither in the truth nor in the prediction, and the accuracy of a class is NaN if it is not in the
truth. Means leave out classes that are NaN. A class that is only predicted has an IoU of 0, which
counts.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from jaxvision.core.errors import UserError
from jaxvision.core.types import BACKGROUND, IGNORED, MetricValues, Records

# Classes up to which each one has its IoU in `summarize`.
MOST_CLASSES = 32

LabelMap = Integer[np.ndarray, 'h w']
# Its shape is compared with that of the labels.
Prediction = Integer[np.ndarray, '_ _']
Mask = Bool[np.ndarray, 'h w']
Confusion = Int[np.ndarray, 'k k']
PerClass = Float[np.ndarray, 'k']


def confusion(truth: LabelMap, prediction: Prediction, classes: int) -> Confusion:
    """Count the pixels of an image by true and predicted class.

    Args:
        truth: labels [H, W] in [0, K), or IGNORED.
        prediction: classes [H, W] in [0, K), at the resolution of the labels. They may
            have any value where the truth is IGNORED.
        classes: the number of classes K.

    Returns:
        int64 [K, K], rows by truth and columns by prediction, as scikit-learn's
        `confusion_matrix`.

    Raises:
        ValueError: the shapes differ, or a value is no class.
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f'prediction.shape={prediction.shape}: expected that of the truth, '
            f'{truth.shape}. Resize the prediction to the labels.'
        )
    counted = truth != IGNORED
    rows = truth[counted].astype(np.int64)
    columns = prediction[counted].astype(np.int64)
    for name, values in (('truth', rows), ('prediction', columns)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(
                f'{name}={values.min()}..{values.max()}: expected classes from 0 to '
                f'{classes - 1}, or {IGNORED} in the truth. Check the class names.'
            )
    counts = np.bincount(rows * classes + columns, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def iou(counts: Confusion) -> PerClass:
    """The IoU (Jaccard index) of each class, TP / (TP + FP + FN); NaN for absent classes."""
    hits, predicted, labelled = _sizes(counts)
    return _ratio(hits, predicted + labelled - hits)


def dice(counts: Confusion) -> PerClass:
    """The Dice coefficient (F1) of each class, 2 TP / (2 TP + FP + FN); NaN for absent ones."""
    hits, predicted, labelled = _sizes(counts)
    return _ratio(2 * hits, predicted + labelled)


def class_accuracy(counts: Confusion) -> PerClass:
    """The fraction of the pixels of each class that is correct; NaN without such pixels."""
    hits, _, labelled = _sizes(counts)
    return _ratio(hits, labelled)


def miou(counts: Confusion) -> float:
    """The mean IoU over the classes in the truth or in the prediction."""
    return _mean(iou(counts))


def pixel_accuracy(counts: Confusion) -> float:
    """The fraction of labelled pixels that are correct; NaN without any."""
    total = np.array([counts.sum()])
    return float(_ratio(np.array([counts.trace()]), total)[0])


def mean_accuracy(counts: Confusion) -> float:
    """The mean accuracy over the classes in the truth."""
    return _mean(class_accuracy(counts))


def frequency_weighted_iou(counts: Confusion) -> float:
    """The mean IoU weighted by the labelled pixels of each class (arXiv 1411.4038)."""
    labelled = counts.sum(axis=1)
    total = labelled.sum()
    if not total:
        return float('nan')
    # Where there are no labelled pixels, the IoU is NaN or 0, and the weight 0.
    ious = np.nan_to_num(iou(counts))
    return float(np.dot(labelled / total, ious))


def names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the metrics of `summarize`: 'miou', 'dice', 'accuracy' and 'iou/CLASS'.

    More than `MOST_CLASSES` classes have no metrics by class.
    """
    of_all = ('miou', 'dice', 'accuracy')
    if len(class_names) > MOST_CLASSES:
        return of_all
    by_class = [f'iou/{name}' for name in class_names]
    return (*of_all, *by_class)


def summarize(class_names: Sequence[str], records: Records) -> MetricValues:
    """Compute mean IoU, mean Dice coefficient, accuracy of pixels, and the IoU of each class.

    The pixels of all images are added up before the metrics are computed.

    Args:
        class_names: of the values of the labels.
        records: of all images: 'confusion' int64 [N, K, K], and 'index' [N].

    Returns:
        Values in [0, 1] by `names`. 'dice' is the mean over the classes except one that
        is named 'background', unless it is the only one. 'iou/CLASS' is missing for a
        class that is neither in the truth nor in the prediction.

    Raises:
        UserError: no image has a labelled pixel.
    """
    counts = records['confusion'].sum(axis=0)
    if not counts.sum():
        raise UserError(
            f'{len(records["index"])} images: expected labelled pixels, but every pixel has '
            f'the label {IGNORED}, which does not count. Check the labels of the split.'
        )
    ious = iou(counts)
    values = {
        'miou': miou(counts),
        'dice': _foreground_dice(class_names, counts),
        'accuracy': pixel_accuracy(counts),
    }
    if len(class_names) <= MOST_CLASSES:
        for name, value in zip(class_names, ious.tolist(), strict=True):
            if not np.isnan(value):
                values[f'iou/{name}'] = value
    return values


def boundary_f(
    truth: Mask,
    prediction: Mask,
    tolerance: float = 0.008,
    ignored: Mask | None = None,
) -> float:
    """F-measure of the boundaries of two masks, as in the DAVIS evaluation.

    A pixel of one boundary is correct if the other boundary is within a distance (Martin et
    al., PAMI 2004; Perazzi et al., CVPR 2016). A boundary pixel differs from its neighbour
    on the right, below or diagonally below.

    Args:
        truth: bool [H, W].
        prediction: bool [H, W].
        tolerance: the distance as a fraction of the image's diagonal, rounded up to
            whole pixels.
        ignored: pixels that belong to neither mask, bool [H, W]; None: no pixel.

    Returns:
        The harmonic mean of precision and recall, in [0, 1]. Without any boundary it is
        1; if only one mask has a boundary it is 0.
    """
    if ignored is not None:
        truth = truth & ~ignored
        prediction = prediction & ~ignored
    radius = np.ceil(tolerance * np.hypot(*truth.shape))
    true_edge = _boundary(truth)
    predicted_edge = _boundary(prediction)
    if not true_edge.any() or not predicted_edge.any():
        return float(true_edge.any() == predicted_edge.any())
    precision = _fraction_near(predicted_edge, true_edge, radius)
    recall = _fraction_near(true_edge, predicted_edge, radius)
    if not precision + recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary_f_by_class(
    truth: LabelMap, prediction: LabelMap, classes: int, tolerance: float = 0.008
) -> PerClass:
    """`boundary_f` of each class of an image (Csurka et al., BMVC 2013).

    Args:
        truth: labels [H, W] in [0, K), or IGNORED.
        prediction: classes [H, W] in [0, K).
        classes: the number of classes K.
        tolerance: as for `boundary_f`.

    Returns:
        Values in [0, 1]; NaN for a class that is neither in the truth nor in the
        prediction of the labelled pixels.
    """
    ignored = truth == IGNORED
    values = np.full(classes, np.nan)
    for number in range(classes):
        true_mask = truth == number
        predicted_mask = (prediction == number) & ~ignored
        if true_mask.any() or predicted_mask.any():
            values[number] = boundary_f(true_mask, predicted_mask, tolerance)
    return values


def _sizes(
    counts: Confusion,
) -> tuple[Int[np.ndarray, 'k'], Int[np.ndarray, 'k'], Int[np.ndarray, 'k']]:
    """Correct, predicted and labelled pixels of each class."""
    return np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)


def _ratio(
    numerator: Int[np.ndarray, 'k'], denominator: Int[np.ndarray, 'k']
) -> PerClass:
    """The quotient, NaN where the denominator is 0."""
    undefined = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _mean(values: PerClass) -> float:
    """The mean without NaN; NaN if there is nothing else."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float('nan')


def _foreground_dice(class_names: Sequence[str], counts: Confusion) -> float:
    """The mean Dice coefficient of the present classes without the background, if any."""
    coefficients = dice(counts)
    is_foreground = np.array([name != BACKGROUND for name in class_names])
    foreground = _mean(coefficients[is_foreground])
    return _mean(coefficients) if np.isnan(foreground) else foreground


def _boundary(mask: Mask) -> Mask:
    """Pixels that differ from the next one in their row, column or diagonal."""
    # The last row and the last column repeat, so that they have no neighbour of another value.
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    right = padded[:-1, 1:]
    below = padded[1:, :-1]
    diagonal = padded[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def _fraction_near(edge: Mask, other: Mask, radius: float) -> float:
    """The fraction of the pixels of an edge at most `radius` pixels from the other edge."""
    from scipy import ndimage

    distances = ndimage.distance_transform_edt(~other)
    return float(np.mean(distances[edge] <= radius))
