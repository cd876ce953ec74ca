"""Detection of images unlike those of training, by scores of a classifier.

Every score is larger for images that are more like those of training.
"""

import numpy as np
from jaxtyping import Bool, Float, Integer

Logits = Float[np.ndarray, 'n k']
Features = Float[np.ndarray, 'n f']
Scores = Float[np.ndarray, 'n']
OtherScores = Float[np.ndarray, 'm']


def max_softmax(logits: Logits) -> Scores:
    """Score images by the largest probability (Hendrycks & Gimpel 2017)."""
    from scipy.special import softmax

    return softmax(logits.astype(np.float64), axis=1).max(axis=1)


def negative_energy(logits: Logits, temperature: float = 1.0) -> Scores:
    """Score images by T logsumexp(logits / T), the negative energy (Liu et al. 2020)."""
    from scipy.special import logsumexp

    scaled = logits.astype(np.float64) / temperature
    return temperature * logsumexp(scaled, axis=1)


class Mahalanobis:
    """Gaussians of the classes of a feature space, with one covariance (Lee et al. 2018)."""

    def __init__(self, features: Features, labels: Integer[np.ndarray, 'n']):
        """Fit the mean of each class, and the covariance of all classes together.

        Args:
            features: features of training images, [N, F].
            labels: their classes, [N].

        Raises:
            ValueError: There are no examples.
        """
        # Slow to import, and only used here.
        from sklearn.covariance import EmpiricalCovariance

        if not len(features):
            raise ValueError('features: expected one example or more.')
        features = features.astype(np.float64)
        classes, rows = np.unique(labels, return_inverse=True)
        self._means = np.stack(
            [features[rows == number].mean(axis=0) for number in range(len(classes))]
        )
        residuals = features - self._means[rows]
        # Features that are constant have no inverse variance, and count as equal.
        self._gaussian = EmpiricalCovariance(assume_centered=True).fit(residuals)

    def scores(self, features: Features) -> Scores:
        """Score images by the negative squared distance to the nearest class.

        Args:
            features: features of images, [N, F].
        """
        features = features.astype(np.float64)
        distances = [
            self._gaussian.mahalanobis(features - mean) for mean in self._means
        ]
        return -np.min(distances, axis=0)


def auroc(inside: Scores, outside: OtherScores) -> float:
    """Compute the probability that a usual image has a larger score than another one.

    Equal scores count half.

    Args:
        inside: scores of images like those of training.
        outside: scores of other images.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(_is_inside(inside, outside), _joined(inside, outside)))


def false_positive_rate(
    inside: Scores, outside: OtherScores, recall: float = 0.95
) -> float:
    """Compute the fraction of other images that pass a threshold which usual images pass.

    Args:
        inside: scores of images like those of training.
        outside: scores of other images.
        recall: the least fraction of usual images that pass; 0.95 gives FPR95.
    """
    from sklearn.metrics import roc_curve

    rates, recalls, _ = roc_curve(
        _is_inside(inside, outside), _joined(inside, outside), drop_intermediate=False
    )
    return float(rates[np.argmax(recalls >= recall)])


def _joined(inside: Scores, outside: OtherScores) -> Float[np.ndarray, 'n+m']:
    return np.concatenate([inside, outside])


def _is_inside(inside: Scores, outside: OtherScores) -> Bool[np.ndarray, 'n+m']:
    return np.repeat([True, False], [len(inside), len(outside)])
