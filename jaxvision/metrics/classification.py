"""Metrics of a classifier: accuracy, likelihood, calibration and the confusion matrix.

`record` and `record_multilabel` run on the device and treat examples independently. The other
functions take the records of all N examples of a split, as NumPy arrays, so every number is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from jaxvision.core.types import Batch, MetricValues, Records
from jaxvision.metrics.calibration import calibration_error

Logits = Float[Array, 'b k']


def record(logits: Logits, labels: Integer[Array, 'b']) -> Batch:
    """Record what `summarize` and `confusion_matrix` need of a batch.

    Labels are the true classes, from 0.

    Returns:
        Arrays [B]: 'label', 'prediction', 'confidence' (the largest softmax probability), 'nll'
        (negative log-likelihood in nats) and 'rank', the number of classes ranked before the true
        one: 0 for a correct prediction. Equal logits are ranked by class index, the
        lower first. A NaN ranks before the true class, so that a diverged network has
        no correct predictions.
    """
    logits = _at_least_float32(logits)
    classes = logits.shape[-1]
    true_logit = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    # Counted, not sorted: some export formats have no counterpart to lax.top_k.
    is_later = jnp.arange(classes) > labels[:, None]
    is_behind = (logits < true_logit) | ((logits == true_logit) & is_later)
    prediction = jnp.argmax(logits, axis=-1)
    behind = is_behind.sum(axis=-1, dtype=jnp.int32)
    return {
        'label': labels.astype(jnp.int32),
        'prediction': prediction.astype(jnp.int32),
        'confidence': jax.nn.softmax(logits).max(axis=-1),
        'nll': optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        'rank': classes - 1 - behind,
    }


def names(classes: int) -> tuple[str, ...]:
    """Names of the metrics that `summarize` returns for a number of classes."""
    if classes > 5:
        return ('accuracy', 'top5_accuracy', 'nll', 'calibration_error')
    return ('accuracy', 'nll', 'calibration_error')


def summarize(records: Records, classes: int) -> MetricValues:
    """Compute the metrics of a split from the results of `record` for all its examples.

    Returns:
        'accuracy' in [0, 1], 'top5_accuracy' in [0, 1] if there are more than 5
        classes, the mean 'nll' in nats, and 'calibration_error' in [0, 1].

    Raises:
        ValueError: There are no records.
    """
    _require_examples(records)
    rank = records['rank']
    is_correct = rank < 1
    metrics = {'accuracy': is_correct.mean()}
    if classes > 5:
        metrics['top5_accuracy'] = (rank < 5).mean()
    metrics['nll'] = records['nll'].mean(dtype=np.float64)
    metrics['calibration_error'] = calibration_error(records['confidence'], is_correct)
    return {name: float(value) for name, value in metrics.items()}


def confusion_matrix(records: Records, classes: int) -> Int[np.ndarray, 'k k']:
    """Number of examples for each true class (row) and predicted class (column).

    `records` are the results of `record` for all examples: 'label' and 'prediction'.
    """
    labels = records['label'].astype(np.int64)
    cells = labels * classes + records['prediction']
    counts = np.bincount(cells, minlength=classes**2)
    return counts.reshape(classes, classes)


def record_multilabel(logits: Logits, targets: Num[Array, 'b k']) -> Batch:
    """Record what `summarize_multilabel` needs of a batch. Targets are 0 or 1.

    Returns:
        'probabilities' [B, K], 'targets' [B, K] and 'nll' [B], the negative log-likelihood in nats,
        averaged over classes.
    """
    logits = _at_least_float32(logits)
    probabilities = jax.nn.sigmoid(logits)
    entropies = optax.sigmoid_binary_cross_entropy(logits, targets)
    return {
        'probabilities': probabilities,
        'targets': targets,
        'nll': entropies.mean(-1),
    }


# Names of the metrics that `summarize_multilabel` returns. The first one is left out if no class
# has a positive example.
MULTILABEL_NAMES = ('mean_average_precision', 'f1_micro', 'exact_match', 'nll')


def summarize_multilabel(records: Records) -> MetricValues:
    """Compute the metrics of a multi-label split from `record_multilabel`'s results.

    Returns:
        'mean_average_precision' over the classes with a positive example, left out if
        there are none. 'f1_micro', and 'exact_match', the fraction of examples with all
        classes correct; both predict a class if its probability is above 0.5. The mean
        'nll' in nats. All but 'nll' are in [0, 1].

    Raises:
        ValueError: There are no records.
    """
    _require_examples(records)
    probabilities = records['probabilities']
    targets = records['targets'].astype(bool)
    predicted = probabilities > 0.5
    metrics = {}
    if targets.any():
        average = _mean_average_precision(targets, probabilities)
        metrics['mean_average_precision'] = average
    true_positives = (targets & predicted).sum()
    positives = targets.sum() + predicted.sum()
    metrics['f1_micro'] = 2 * true_positives / max(positives, 1)
    metrics['exact_match'] = (targets == predicted).all(axis=-1).mean()
    metrics['nll'] = records['nll'].mean(dtype=np.float64)
    return {name: float(value) for name, value in metrics.items()}


def _mean_average_precision(
    targets: Bool[np.ndarray, 'n k'], probabilities: Float[np.ndarray, 'n k']
) -> float:
    # Slow to import, and only used here.
    from sklearn.metrics import average_precision_score

    present = np.flatnonzero(targets.any(axis=0))
    precisions = [
        average_precision_score(targets[:, k], probabilities[:, k]) for k in present
    ]
    return np.mean(precisions)


def _require_examples(records: Records) -> None:
    if not len(records['nll']):
        raise ValueError(
            'records: expected one example or more, but the evaluated split has no examples.'
        )


def _at_least_float32(logits: Logits) -> Logits:
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return logits.astype(dtype)
