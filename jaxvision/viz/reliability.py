"""The reliability diagram of a classifier, before and after its calibration."""

from typing import Any

import numpy as np

from jaxvision.core.types import Json
from jaxvision.viz import canvas
from jaxvision.viz.canvas import Picture


def diagram(before: Json, after: Json) -> Picture:
    """Draw accuracy over confidence in bins, and the examples of each bin below.

    Args:
        before: 'temperature' and 'bins', which has 'counts', 'confidence' and 'accuracy'.
            The error bars are 95 % intervals of a binomial distribution (Wilson).
        after: the same with the fitted temperature.
    """
    figure = canvas.empty(8.0, 5.0)
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
    for column, values in enumerate((before, after)):
        upper, lower = axes[:, column]
        counts, confidence, accuracy = (
            np.asarray(values['bins'][name])
            for name in ('counts', 'confidence', 'accuracy')
        )
        _reliability(upper, counts, confidence, accuracy)
        upper.set(title=_title(values), ylabel='accuracy', xlim=(0, 1), ylim=(0, 1.02))
        lower.bar(confidence, counts, width=0.03)
        lower.set(xlabel='confidence', ylabel='examples', yscale='log')
    return canvas.render(figure)


def _title(values: Json) -> str:
    error = values['width']['calibration_error']
    return f'temperature {values["temperature"]:.3f}, ECE {error:.4f}'


def _reliability(
    axes: Any, counts: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray
) -> None:
    from scipy.stats import binomtest

    intervals = []
    for count, fraction in zip(counts, accuracy, strict=True):
        test = binomtest(round(fraction * count), int(count))
        intervals.append(test.proportion_ci(method='wilson'))
    low, high = np.transpose(intervals)
    errors = np.maximum([accuracy - low, high - accuracy], 0)
    axes.plot([0, 1], [0, 1], color='0.6', linestyle='--')
    axes.errorbar(confidence, accuracy, errors, fmt='o-', capsize=3)
    axes.grid(alpha=0.3)
