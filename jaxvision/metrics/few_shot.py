"""What is said of few-shot classifiers: the mean over episodes, and how sure it is."""

import numpy as np
from jaxtyping import Array, Float, Int


def accuracy(
    logits: Float[Array, 'b m n'], label: Int[Array, 'b m']
) -> Float[Array, 'b']:
    """The share of an episode's queries whose class is the likeliest."""
    return (logits.argmax(-1) == label).mean(-1)


def summarize(records: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of every record over the episodes, and 'interval' of 'accuracy': half the width of
    the 95 % confidence interval of the mean, as the field reports it (Vinyals et al., 2016)."""
    records = {
        name: values.astype(np.float64)
        for name, values in records.items()
        if name != 'index'
    }
    found = {name: float(values.mean()) for name, values in records.items()}
    episodes = records['accuracy']
    spread = episodes.std(ddof=1) if len(episodes) > 1 else 0.0
    return {**found, 'interval': float(1.96 * spread / np.sqrt(len(episodes)))}
