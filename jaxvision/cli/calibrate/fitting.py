"""Fit a classifier's temperature and conformal sets, and measure them: arrays to a report."""

import dataclasses

import numpy as np

from jaxvision.core import keys
from jaxvision.core.types import Json, Records
from jaxvision.metrics import calibration, conformal
from jaxvision.metrics import out_of_distribution as ood
from jaxvision.tasks.shared.calibrated import METHODS, Calibration

# Simulated splits of a perfectly calibrated model.
DRAWS = 1000
# Probability of a coverage outside the reported band.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a calibration.

    Attributes:
        alpha: the accepted probability of a set without the true class, in (0, 1).
        method: the sets that `predict` writes, one of `METHODS`.
        bins: number of bins of the calibration error.
        seed: seed of all random numbers.
    """

    alpha: float
    method: str
    bins: int
    seed: int


def fit(settings: Settings, validation: Records) -> tuple[Calibration, list[str]]:
    """Fit temperature and thresholds on the validation split.

    Args:
        settings: the settings.
        validation: 'logits' [N, K] and 'label' [N].

    Returns:
        (the fitted values, warnings). The temperature is 1 if none is the best.
    """
    logits, labels = validation['logits'], validation['label']
    warnings = []
    temperature = 1.0
    try:
        temperature = calibration.fit_temperature(logits, labels)
    except ValueError as error:
        warnings.append(f'no temperature was fitted on validation: {error}')
    fitted = Calibration(
        temperature=temperature,
        alpha=settings.alpha,
        method=settings.method,
        thresholds={},
        examples=len(labels),
    )
    probabilities = calibration.softmax(logits, temperature)
    uniform = _uniform(settings, 'fit', len(labels))
    thresholds = {}
    for method in METHODS:
        scores = fitted.scores(method, probabilities, uniform)
        true_scores = conformal.scores_of(scores, labels)
        thresholds[method] = conformal.threshold(true_scores, settings.alpha)
    if not conformal.allowed_misses(len(labels), settings.alpha):
        warnings.append(
            f'{len(labels)} validation examples are too few for alpha {settings.alpha:g}: '
            'each set has every class'
        )
    return dataclasses.replace(fitted, thresholds=thresholds), warnings


def measure(settings: Settings, temperature: float, measured: Records) -> Json:
    """Measure the probabilities at a temperature.

    Args:
        settings: the settings.
        temperature: divides the logits.
        measured: 'logits' [N, K] and 'label' [N].

    Returns:
        'temperature', 'nll', 'brier', and for bins of equal 'width' and 'mass' the
        'calibration_error' beside the mean and the 95th percentile of its null
        distribution and the 'p_value' of the error under it. 'bins' has the reliability
        diagram of bins of equal width.
    """
    logits, labels = measured['logits'], measured['label']
    probabilities = calibration.softmax(logits, temperature)
    confidence = probabilities.max(axis=1)
    correct = logits.argmax(axis=1) == labels
    errors = {}
    for binning in ('width', 'mass'):
        error = calibration.calibration_error(
            confidence, correct, settings.bins, binning
        )
        null = calibration.null_calibration_errors(
            confidence,
            keys.host(settings.seed, f'null/{binning}'),
            DRAWS,
            settings.bins,
            binning,
        )
        errors[binning] = {
            'calibration_error': error,
            'null_mean': float(null.mean()),
            'null_95': float(np.quantile(null, 0.95)),
            'p_value': float((1 + (null >= error).sum()) / (1 + DRAWS)),
        }
    bins = calibration.reliability(confidence, correct, settings.bins)
    return {
        'temperature': temperature,
        'nll': calibration.negative_log_likelihood(logits, labels, temperature),
        'brier': calibration.brier_score(probabilities, labels),
        **errors,
        'bins': {
            'counts': bins.counts.tolist(),
            'confidence': bins.confidence.tolist(),
            'accuracy': bins.accuracy.tolist(),
        },
    }


def measure_sets(settings: Settings, fitted: Calibration, measured: Records) -> Json:
    """Measure the conformal sets of each method.

    Args:
        settings: the settings.
        fitted: the fitted values.
        measured: 'logits' [N, K] and 'label' [N].

    Returns:
        {method: 'threshold', 'coverage', its 'band', 'mean_size', the fraction of
        'empty' sets, and 'sizes', the number of sets of each size}.
    """
    logits, labels = measured['logits'], measured['label']
    probabilities = calibration.softmax(logits, fitted.temperature)
    uniform = _uniform(settings, 'measure', len(labels))
    band = conformal.coverage_band(fitted.examples, len(labels), fitted.alpha, LEVEL)
    thresholds = fitted.to_json()['conformal']['thresholds']
    rows = {}
    for method, limit in fitted.thresholds.items():
        scores = fitted.scores(method, probabilities, uniform)
        included = conformal.sets(scores, limit)
        sizes = conformal.sizes(included)
        rows[method] = {
            'threshold': thresholds[method],
            'coverage': conformal.coverage(included, labels),
            'band': list(band),
            'mean_size': float(sizes.mean()),
            'empty': float((sizes == 0).mean()),
            'sizes': np.bincount(sizes, minlength=logits.shape[1] + 1).tolist(),
        }
    return rows


def measure_others(training: Records, measured: Records, others: Records) -> Json:
    """Measure how well scores tell other images from those of a split.

    Args:
        training: 'features' [N, F] and 'label' [N] of training images.
        measured: 'features' and 'logits' [N, K] of the split.
        others: 'features' and 'logits' of other images.

    Returns:
        {score: 'auroc' and 'fpr95'}.
    """
    gaussians = ood.Mahalanobis(training['features'], training['label'])
    scores = {
        'max_softmax': [ood.max_softmax(x['logits']) for x in (measured, others)],
        'energy': [ood.negative_energy(x['logits']) for x in (measured, others)],
        'mahalanobis': [gaussians.scores(x['features']) for x in (measured, others)],
    }
    return {
        name: {
            'auroc': ood.auroc(inside, outside),
            'fpr95': ood.false_positive_rate(inside, outside),
        }
        for name, (inside, outside) in scores.items()
    }


def _uniform(settings: Settings, name: str, count: int) -> np.ndarray:
    return keys.host(settings.seed, f'conformal/{name}').random(count)
