"""How good a classifier is: accuracy, likelihood, calibration and which classes it confuses.

`record` and `record_multilabel` run on the device, an example at a time; the rest takes the records
of a whole split, as numpy arrays over its N examples, so every number is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Integer, Num


def record(
    logits: Float[Array, 'b k'], labels: Integer[Array, 'b']
) -> dict[str, Array]:
    """label, prediction, confidence (largest softmax), nll in nats, and rank: all [B].

    The rank is the number of classes put before the true one, of equal logits the lower class
    first. A logit that is not a number puts its class before the true one, so that a network that
    diverged scores no hits.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    classes = logits.shape[-1]
    true_logit = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    # Counted, not sorted: lax.top_k has no counterpart in some of the export formats.
    later = jnp.arange(classes) > labels[:, None]
    behind = (logits < true_logit) | ((logits == true_logit) & later)
    return {
        'label': labels.astype(jnp.int32),
        'prediction': jnp.argmax(logits, axis=-1).astype(jnp.int32),
        'confidence': jax.nn.softmax(logits).max(axis=-1),
        'nll': optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        'rank': classes - 1 - behind.sum(axis=-1, dtype=jnp.int32),
    }


def names(classes: int) -> tuple[str, ...]:
    """The metrics that `summarize` returns."""
    top5 = ('top5_accuracy',) if classes > 5 else ()
    return ('accuracy', *top5, 'nll', 'calibration_error')


def summarize(records: dict[str, np.ndarray], classes: int) -> dict[str, float]:
    """accuracy, top5_accuracy (of more than 5 classes), nll in nats, calibration_error.

    Raises ValueError where there are no records.
    """
    _require_examples(records)
    correct = records['rank'] < 1
    numbers = {'accuracy': correct.mean()}
    if classes > 5:
        numbers['top5_accuracy'] = (records['rank'] < 5).mean()
    numbers['nll'] = records['nll'].mean(dtype=np.float64)
    numbers['calibration_error'] = calibration_error(records['confidence'], correct)
    return {name: float(value) for name, value in numbers.items()}


def calibration_error(
    confidence: Float[np.ndarray, 'n'], correct: Bool[np.ndarray, 'n'], bins: int = 15
) -> float:
    """Expected calibration error in [0, 1]: sum over bins of |B|/N |accuracy(B) - confidence(B)|.

    The bins (0, 1/M], ..., ((M-1)/M, 1] are of equal width (Guo et al. 2017, equation 5).
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of = np.digitize(confidence, inner_edges, right=True)
    # |B| cancels: each bin adds the difference between its hits and its sum of confidences.
    gaps = np.bincount(bin_of, weights=correct - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(confidence))


def confusion_matrix(
    records: dict[str, np.ndarray], classes: int
) -> Int[np.ndarray, 'k k']:
    """How many examples of each true class (row) were predicted as each class (column)."""
    cells = records['label'].astype(np.int64) * classes + records['prediction']
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def record_multilabel(
    logits: Float[Array, 'b k'], targets: Num[Array, 'b k']
) -> dict[str, Array]:
    """probabilities [B, K], targets [B, K] (0 or 1), nll [B]: the mean over classes in nats."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return {
        'probabilities': jax.nn.sigmoid(logits),
        'targets': targets,
        'nll': optax.sigmoid_binary_cross_entropy(logits, targets).mean(-1),
    }


# The metrics that `summarize_multilabel` returns; the first only where a class is present.
MULTILABEL_NAMES = ('mean_average_precision', 'f1_micro', 'exact_match', 'nll')


def summarize_multilabel(records: dict[str, np.ndarray]) -> dict[str, float]:
    """mean_average_precision, f1_micro, exact_match (both at probability 0.5), nll in nats.

    The mean average precision is over the classes that have a positive example, and left out where
    there are none. Raises ValueError where there are no records.
    """
    _require_examples(records)
    targets = records['targets'].astype(bool)
    predicted = records['probabilities'] > 0.5
    numbers = {}
    if targets.any():
        numbers['mean_average_precision'] = _mean_average_precision(
            targets, records['probabilities']
        )
    positives = targets.sum() + predicted.sum()
    numbers['f1_micro'] = 2 * (targets & predicted).sum() / max(positives, 1)
    numbers['exact_match'] = (targets == predicted).all(axis=-1).mean()
    numbers['nll'] = records['nll'].mean(dtype=np.float64)
    return {name: float(value) for name, value in numbers.items()}


def _mean_average_precision(targets, probabilities) -> float:
    from sklearn.metrics import (
        average_precision_score,
    )  # slow to import, and only used here

    present = np.flatnonzero(targets.any(axis=0))
    return np.mean(
        [average_precision_score(targets[:, k], probabilities[:, k]) for k in present]
    )


def _require_examples(records: dict[str, np.ndarray]) -> None:
    if not len(records['nll']):
        raise ValueError(
            'no examples to summarize: the split that was evaluated is empty'
        )
