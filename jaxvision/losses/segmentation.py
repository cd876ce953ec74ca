"""Losses of semantic segmentation, for one image of logits [H, W, K] and labels [H, W].

Each loss returns (value, weight), whose sums over a batch are divided by the engine. Losses of
pixels sum over the pixels, and their weight is the number of labelled pixels, or the sum of their
class weights. Losses of regions (Dice, Tversky, Lovasz) have the weight 1. Only
`binary_cross_entropy` takes one logit a pixel, [H, W], and a target in [0, 1] beside the labels.

Pixels with the label IGNORED (255) touch neither value, weight nor gradient, even if their logits
are NaN. An image without a labelled pixel has the value 0, the weight 0 and a gradient of 0.
Labels are in [0, K) or IGNORED; others make the loss NaN. The arithmetic is in float32 at least.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Real

from jaxvision.core.types import IGNORED

Logits = Float[Array, 'h w k']
# One logit, and its target, of each pixel.
LogitMap = Float[Array, 'h w']
TargetMap = Float[Array, 'h w']
Labels = Integer[Array, 'h w']
ClassWeights = Real[Array, 'k']
Distances = Float[Array, 'h w k']
# Pixels whose label counts.
Labelled = Bool[Array, 'h w']
# One-hot labels, zero at pixels that do not count.
OneHot = Float[Array, 'h w k']
Scalar = Float[Array, '']
# (value, weight) of an image.
Loss = tuple[Scalar, Scalar]
PerClass = Float[Array, 'k']
LabelMap = Integer[np.ndarray, 'h w']


def cross_entropy(
    logits: Logits, labels: Labels, class_weights: ClassWeights | None = None
) -> Loss:
    """Softmax cross-entropy of pixels in nats.

    The mean over a batch is that of PyTorch's `cross_entropy` with `weight` and
    `ignore_index`.

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.
        class_weights: a factor for the pixels of each class, [K], at least 0; None: 1.

    Returns:
        (sum over the labelled pixels of weight * cross-entropy, sum of the weights).
    """
    return focal(logits, labels, gamma=0.0, class_weights=class_weights)


def focal(
    logits: Logits,
    labels: Labels,
    gamma: float = 2.0,
    class_weights: ClassWeights | None = None,
) -> Loss:
    """Focal loss of pixels with softmax (arXiv 1708.02002, equation 5).

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.
        gamma: exponent of the probability of a wrong answer, at least 0. With 0 the loss
            is the cross-entropy.
        class_weights: a factor for the pixels of each class (alpha in the paper), [K],
            at least 0; None: 1.

    Returns:
        (sum over the labelled pixels of -weight * (1 - p)^gamma * log p, sum of the
        weights), with the probability p of the labelled class.
    """
    logits, labelled = _masked(logits, labels)
    is_class, is_valid = _membership(labels, labelled, logits.shape[-1])
    log_probabilities = jax.nn.log_softmax(logits)
    # A sum instead of a gather, whose gradient would be a scatter.
    log_p = jnp.sum(jnp.where(is_class, log_probabilities, 0), axis=-1)
    values = jnp.where(is_valid, -log_p, jnp.nan)
    if gamma:
        # Above 0, so that a root has a finite derivative.
        least = jnp.finfo(values.dtype).tiny
        error = jnp.maximum(-jnp.expm1(-values), least)
        values = error**gamma * values
    weights = labelled.astype(values.dtype)
    if class_weights is not None:
        of_classes = class_weights.astype(values.dtype)
        weights = weights * jnp.sum(jnp.where(is_class, of_classes, 0), axis=-1)
    return jnp.sum(weights * values), jnp.sum(weights)


def binary_cross_entropy(
    logits: LogitMap, targets: TargetMap, labels: Labels, factor: float = 1.0
) -> Loss:
    """Sigmoid cross-entropy in nats of pixels whose target is a number, not a class.

    Args:
        logits: [H, W].
        targets: in [0, 1], [H, W].
        labels: [H, W]. Pixels with the label IGNORED do not count, all others do.
        factor: of the part that grows with the target, so that rare targets of 1 count
            more.

    Returns:
        (sum over the labelled pixels of factor * target * softplus(-logit) + (1 - target) *
        softplus(logit), number of labelled pixels).
    """
    logits, labelled = _masked(logits[..., None], labels)
    logits = logits[..., 0]
    targets = jnp.where(labelled, targets, 0)
    positive = factor * targets * jax.nn.softplus(-logits)
    negative = (1 - targets) * jax.nn.softplus(logits)
    values = jnp.where(labelled, positive + negative, 0)
    return jnp.sum(values), jnp.sum(labelled, dtype=values.dtype)


def dice(logits: Logits, labels: Labels, smooth: float = 0.0) -> Loss:
    """1 - soft Dice coefficient (arXiv 1606.04797), without squares in the denominator.

    Classes of which the image has no labelled pixel are left out of the mean.

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.
        smooth: pixels that are added to the numerator and to the denominator of the
            coefficient.

    Returns:
        (mean over the classes of 1 - (2 TP + smooth) / (2 TP + FP + FN + smooth), 1), or
        (0, 0) without a labelled pixel. TP, FP and FN are sums of probabilities.
    """
    hits, false_positives, misses, pixels = _soft_counts(logits, labels)
    sizes = 2 * hits + false_positives + misses + smooth
    coefficients = (2 * hits + smooth) / _nonzero(sizes)
    return _mean_over_present(1 - coefficients, pixels)


def tversky(
    logits: Logits,
    labels: Labels,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
) -> Loss:
    """1 - Tversky index (arXiv 1706.05721): Dice with a price for each kind of error.

    Classes of which the image has no labelled pixel are left out of the mean.

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.
        alpha: weight of false positives, above 0.
        beta: weight of false negatives, above 0. Dice has 0.5 and 0.5, the Jaccard index
            1 and 1.
        smooth: pixels that are added to the numerator and to the denominator of the
            index.

    Returns:
        (mean over the classes of 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth),
        1), or (0, 0) without a labelled pixel. TP, FP and FN are sums of probabilities.
    """
    hits, false_positives, misses, pixels = _soft_counts(logits, labels)
    sizes = hits + alpha * false_positives + beta * misses + smooth
    indices = (hits + smooth) / _nonzero(sizes)
    return _mean_over_present(1 - indices, pixels)


def lovasz(logits: Logits, labels: Labels) -> Loss:
    """Lovasz-softmax loss (arXiv 1705.08790): a convex extension of 1 - IoU.

    Classes of which the image has no labelled pixel are left out of the mean.

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.

    Returns:
        (mean over the classes of the extension, 1), or (0, 0) without a labelled pixel.
    """
    probabilities, one_hot, labelled = _probabilities(logits, labels)
    classes = probabilities.shape[-1]
    is_class = one_hot.reshape(-1, classes)
    flat = probabilities.reshape(-1, classes)
    errors = jnp.where(is_class == 1, 1 - flat, flat)
    counted = labelled.reshape(-1, 1)
    # Largest error first, and pixels that do not count last.
    keys = jax.lax.stop_gradient(jnp.where(counted, -errors, 1))
    order = jnp.argsort(keys, axis=0, stable=True)
    ordered = jnp.take_along_axis(jnp.where(counted, errors, 0), order, axis=0)
    slopes = _lovasz_slopes(jnp.take_along_axis(is_class, order, axis=0))
    extensions = jnp.sum(ordered * slopes.astype(errors.dtype), axis=0)
    return _mean_over_present(extensions, is_class.sum(axis=0))


def boundary(logits: Logits, labels: Labels, distances: Distances) -> Loss:
    """Boundary loss (arXiv 1812.07032, equation 5): probabilities by distance.

    It is added to a loss of regions, such as `dice`, and may be negative.

    Args:
        logits: [H, W, K].
        labels: the class of each pixel, [H, W], or IGNORED.
        distances: of `signed_distances`, [H, W, K]. A class with zeros is left out, such
            as the background in the paper.

    Returns:
        (sum over the labelled pixels of the mean over K classes of distance *
        probability, number of labelled pixels).
    """
    probabilities, _, labelled = _probabilities(logits, labels)
    counted = labelled[..., None]
    products = jnp.where(counted, distances, 0) * probabilities
    weight = jnp.sum(labelled, dtype=probabilities.dtype)
    return jnp.sum(products.mean(axis=-1)), weight


def signed_distances(labels: LabelMap, classes: int) -> Float[np.ndarray, 'h w k']:
    """Signed distances from each pixel to the region of each class, on the host.

    The rule is that of the authors of the boundary loss (arXiv 1812.07032). IGNORED pixels
    belong neither to a class nor to its surroundings.

    Args:
        labels: the class of each pixel, [H, W], in [0, K) or IGNORED.
        classes: the number of classes K.

    Returns:
        float32 [H, W, K]. Outside a class: the distance in pixels to its nearest pixel, 1
        or more. Inside: 1 minus the distance to the nearest labelled pixel of another
        class, 0 or less. Zero at IGNORED pixels, and everywhere for a class without
        pixels or without surroundings.
    """
    from scipy import ndimage

    labelled = labels != IGNORED
    distances = np.zeros((*labels.shape, classes), np.float32)
    for number in range(classes):
        inside = labels == number
        outside = labelled & ~inside
        if not inside.any() or not outside.any():
            continue
        to_class = ndimage.distance_transform_edt(~inside)
        to_others = ndimage.distance_transform_edt(~outside)
        distances[..., number] = to_class * outside - (to_others - 1) * inside
    return distances


def _masked(logits: Logits, labels: Labels) -> tuple[Logits, Labelled]:
    """Logits that are 0 at pixels without a label, and which pixels have one."""
    labelled = labels != IGNORED
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return jnp.where(labelled[..., None], logits.astype(dtype), 0), labelled


def _membership(
    labels: Labels, labelled: Labelled, classes: int
) -> tuple[Bool[Array, 'h w k'], Labelled]:
    """Whether each pixel is of each class, and whether its label is a class or IGNORED.

    Args:
        labels: [H, W].
        labelled: which pixels count.
        classes: the number of classes K.
    """
    numbers = jnp.where(labelled, labels.astype(jnp.int32), 0)
    is_class = numbers[..., None] == jnp.arange(classes)
    return is_class & labelled[..., None], is_class.any(axis=-1)


def _probabilities(logits: Logits, labels: Labels) -> tuple[Logits, OneHot, Labelled]:
    """Probabilities and one-hot labels, both 0 at pixels without a label."""
    logits, labelled = _masked(logits, labels)
    is_class, is_valid = _membership(labels, labelled, logits.shape[-1])
    # A label that is no class becomes NaN.
    invalid = jnp.where(is_valid, 0, jnp.nan)[..., None]
    probabilities = jax.nn.softmax(logits) + invalid
    one_hot = is_class.astype(logits.dtype) + invalid
    return jnp.where(labelled[..., None], probabilities, 0), one_hot, labelled


def _soft_counts(
    logits: Logits, labels: Labels
) -> tuple[PerClass, PerClass, PerClass, PerClass]:
    """True positives, false positives, false negatives and pixels of each class."""
    probabilities, one_hot, _ = _probabilities(logits, labels)
    hits = jnp.sum(probabilities * one_hot, axis=(0, 1))
    false_positives = jnp.sum(probabilities * (1 - one_hot), axis=(0, 1))
    misses = jnp.sum((1 - probabilities) * one_hot, axis=(0, 1))
    return hits, false_positives, misses, one_hot.sum(axis=(0, 1))


def _nonzero(sizes: PerClass) -> PerClass:
    """Replace the size 0 by 1."""
    return jnp.where(sizes == 0, 1, sizes)


def _mean_over_present(values: PerClass, pixels: PerClass) -> Loss:
    """The mean over classes with labelled pixels, and the weight of the image.

    Args:
        values: of each class.
        pixels: labelled pixels of each class.
    """
    present = pixels != 0
    number = jnp.sum(present)
    total = jnp.sum(jnp.where(present, values, 0))
    weight = (number > 0).astype(values.dtype)
    return total / jnp.maximum(number, 1), weight


def _lovasz_slopes(is_class: Float[Array, 'p k']) -> Float[Array, 'p k']:
    """Growth of 1 - IoU with each wrong pixel, in the order of falling errors.

    The differences of algorithm 1 in arXiv 1705.08790 are written as products, which do
    not cancel in large images.

    Args:
        is_class: 1 for the pixels of a class and 0 for others, in that order.
    """
    member = is_class.astype(jnp.int32)
    size = member.sum(axis=0)
    intersection = size - jnp.cumsum(member, axis=0)
    union = size + jnp.cumsum(1 - member, axis=0)
    after = jnp.maximum(union, 1).astype(is_class.dtype)
    before = jnp.maximum(union - 1, 1).astype(is_class.dtype)
    of_others = intersection / before / after
    return jnp.where(member == 1, 1 / after, of_others)
