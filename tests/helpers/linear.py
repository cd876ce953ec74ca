"""Linear classifiers, whose robustness has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np


class Linear:
    """A classifier of small images with random weights, and images with known margins.

    The images stay far from 0 and 1.
    """

    def __init__(self, classes, side=4, channels=1, count=12, seed=0):
        rng = np.random.default_rng(seed)
        pixels = side * side * channels
        self.weights = rng.normal(size=(pixels, classes))
        self.images = 0.5 + 0.05 * rng.normal(size=(count, side, side, channels))
        self.labels = self.scores().argmax(-1)

    def scores(self):
        centred = self.images.reshape(len(self.images), -1) - 0.5
        return centred @ self.weights

    def critical(self, norm):
        """The smallest norm of a perturbation that changes each prediction."""
        scores = self.scores()
        rows = np.arange(len(scores))
        gaps = scores[rows, self.labels][:, None] - scores
        slopes = self.weights[:, self.labels].T[..., None] - self.weights
        order = 1 if norm == 'linf' else 2
        lengths = np.linalg.norm(slopes, order, axis=1)
        ratios = gaps / np.where(lengths > 0, lengths, 1)
        return np.where(lengths > 0, ratios, np.inf).min(-1)

    def middle_eps(self, norm):
        """An eps in the widest gap between the critical norms of the middle examples."""
        critical = np.sort(self.critical(norm))
        third = len(critical) // 3
        inner = critical[third:-third]
        widest = np.diff(inner).argmax()
        return float(inner[widest : widest + 2].mean())

    @property
    def logits(self):
        """The classifier as a function of images."""
        return jax.tree_util.Partial(_logits, jnp.asarray(self.weights))

    def arguments(self):
        """(logits, images, labels, keys), the arguments of an attack."""
        keys = jax.vmap(jax.random.key)(jnp.arange(len(self.labels)))
        return self.logits, jnp.asarray(self.images), jnp.asarray(self.labels), keys


def _logits(weights, images):
    return (images.reshape(len(images), -1) - 0.5) @ weights
