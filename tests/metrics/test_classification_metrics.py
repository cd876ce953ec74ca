import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from jaxvision.metrics import classification as metrics


def gathered(logits, labels):
    return jax.device_get(metrics.record(jnp.array(logits), jnp.array(labels)))


def example(classes, count=200, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes), rng.integers(0, classes, count - classes)]
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def slow_calibration_error(confidence, correct, bins=15):
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            gap = correct[inside].mean() - confidence[inside].astype(np.float64).mean()
            total += inside.mean() * abs(gap)
    return total


@pytest.mark.parametrize('classes', [2, 6, 100])
def test_summary_equals_scikit_learn(classes):
    logits, labels = example(classes)
    chance = softmax(logits.astype(np.float64), axis=-1)
    got = metrics.summarize(gathered(logits, labels), classes)
    expected = {
        'accuracy': sklearn.metrics.accuracy_score(labels, logits.argmax(-1)),
        'nll': sklearn.metrics.log_loss(labels, chance),
        'calibration_error': slow_calibration_error(
            chance.max(-1), logits.argmax(-1) == labels
        ),
    }
    if classes > 5:
        expected['top5_accuracy'] = sklearn.metrics.top_k_accuracy_score(
            labels, logits, k=5
        )
    assert got == pytest.approx(expected, rel=1e-5)


def test_confusion_matrix_equals_scikit_learn():
    logits, labels = example(7)
    got = metrics.confusion_matrix(gathered(logits, labels), 7)
    np.testing.assert_array_equal(
        got, sklearn.metrics.confusion_matrix(labels, logits.argmax(-1))
    )


def test_confusion_matrix_has_a_row_for_a_class_that_never_occurs():
    records = {'label': np.array([0, 0]), 'prediction': np.array([0, 1])}
    np.testing.assert_array_equal(
        metrics.confusion_matrix(records, 3), [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    )


def test_rank_counts_the_classes_before_the_true_one():
    logits = np.array([[3.0, 1, 2], [3, 1, 2], [1, 1, 1], [1, 1, 1]], np.float32)
    assert gathered(logits, np.array([0, 1, 0, 2]))['rank'].tolist() == [0, 2, 0, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_rank_is_the_position_in_a_stable_sort(seed):
    rng = np.random.default_rng(seed)
    logits, labels = (
        rng.integers(0, 4, (8, 10)).astype(np.float32),
        rng.integers(0, 10, 8),
    )
    records = gathered(logits, labels)
    order = np.argsort(-logits, axis=-1, kind='stable')
    np.testing.assert_array_equal(
        records['rank'], (order == labels[:, None]).argmax(-1)
    )
    np.testing.assert_array_equal(records['rank'] == 0, records['prediction'] == labels)


def test_a_diverged_network_has_no_correct_predictions():
    logits = np.full((3, 10), np.nan, np.float32)
    numbers = metrics.summarize(gathered(logits, np.array([0, 4, 9])), 10)
    assert (numbers['accuracy'], numbers['top5_accuracy']) == (0, 0)


def test_records_do_not_depend_on_the_batch_and_work_under_jit():
    logits, labels = example(5)
    whole, compiled = gathered(logits, labels), jax.jit(metrics.record)
    for rows in (slice(0, 64), slice(64, 200)):
        part = jax.device_get(
            compiled(jnp.array(logits[rows]), jnp.array(labels[rows]))
        )
        for name, values in part.items():
            np.testing.assert_allclose(values, whole[name][rows], rtol=1e-5)


def test_the_mean_is_summed_in_float64():
    records = gathered(*example(2, count=4))
    records = {name: np.resize(values, 10**6) for name, values in records.items()}
    records['nll'] = np.full(10**6, 0.1, np.float32)
    assert metrics.summarize(records, 2)['nll'] == pytest.approx(
        np.float32(0.1), rel=1e-12
    )


def multilabel_example(classes=5, count=50, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (count, classes))
    return (rng.normal(size=targets.shape) + 2 * targets - 1).astype(
        np.float32
    ), targets


def summary_multilabel(logits, targets):
    records = metrics.record_multilabel(jnp.array(logits), jnp.array(targets))
    return metrics.summarize_multilabel(jax.device_get(records))


def test_multilabel_summary_equals_scikit_learn():
    logits, targets = multilabel_example()
    chance = expit(logits.astype(np.float64))
    likelihood = targets * np.log(chance) + (1 - targets) * np.log1p(-chance)
    assert summary_multilabel(logits, targets) == pytest.approx(
        {
            'mean_average_precision': sklearn.metrics.average_precision_score(
                targets, chance
            ),
            'f1_micro': sklearn.metrics.f1_score(
                targets, chance > 0.5, average='micro'
            ),
            'exact_match': sklearn.metrics.accuracy_score(targets, chance > 0.5),
            'nll': -likelihood.mean(),
        },
        rel=1e-5,
    )


def test_a_class_without_a_positive_is_left_out_of_the_mean():
    logits, targets = multilabel_example()
    with_absent = np.c_[targets, np.zeros(len(targets), int)]
    wider = np.c_[logits, logits[:, 0]]
    name = 'mean_average_precision'
    assert summary_multilabel(wider, with_absent)[name] == pytest.approx(
        summary_multilabel(logits, targets)[name]
    )


def test_targets_without_positives_give_finite_metrics():
    numbers = summary_multilabel(np.full((3, 2), -1, np.float32), np.zeros((3, 2), int))
    assert (numbers['f1_micro'], numbers['exact_match']) == (0, 1)
    assert 'mean_average_precision' not in numbers


@pytest.mark.parametrize(
    'summarize', [lambda r: metrics.summarize(r, 3), metrics.summarize_multilabel]
)
def test_no_examples_is_an_error(summarize):
    with pytest.raises(ValueError, match='expected one example or more'):
        summarize({'nll': np.zeros(0, np.float32)})
