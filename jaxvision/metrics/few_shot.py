"""Metrics of few-shot classifiers: means over episodes, with a confidence interval."""

import numpy as np
from jaxtyping import Array, Float, Int

from jaxvision.core.types import MetricValues, Records


def accuracy(
    logits: Float[Array, 'b m n'], label: Int[Array, 'b m']
) -> Float[Array, 'b']:
    """Fraction of each episode's queries that are classified correctly, [B], in [0, 1].

    The largest logit over N classes is the prediction for each of M queries.
    """
    prediction = logits.argmax(-1)
    return (prediction == label).mean(-1)


def summarize(records: Records) -> MetricValues:
    """Mean of every record over the episodes, and the uncertainty of the mean accuracy.

    Args:
        records: an array for each name, with one number for each episode. 'accuracy'
            has to be among them; 'index' is left out.

    Returns:
        The means by name, and 'interval': half the width of the 95 % confidence interval of
        'accuracy', as in the literature (Vinyals et al. 2016). It is 0 for a single episode.
    """
    metrics = {}
    for name, values in records.items():
        if name != 'index':
            metrics[name] = float(values.astype(np.float64).mean())
    accuracies = records['accuracy'].astype(np.float64)
    episodes = len(accuracies)
    std = 0.0
    if episodes > 1:
        std = accuracies.std(ddof=1)
    metrics['interval'] = float(1.96 * std / np.sqrt(episodes))
    return metrics
