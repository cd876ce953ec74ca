"""Weights for tests: every leaf random, so that nothing that starts at zero hides a difference."""

import jax
import jax.numpy as jnp
import numpy as np


def random_leaves(shapes):
    """A tree of arrays of these shapes: scales and biases near 1, kernels keep the variance."""
    rng = np.random.default_rng(0)

    def leaf(like):
        noise = rng.standard_normal(like.shape, np.float32)
        if len(like.shape) == 1:
            return jnp.asarray(1 + 0.1 * noise)
        return jnp.asarray(noise * np.float32(np.sqrt(1 / np.prod(like.shape[:-1]))))

    return jax.tree.map(leaf, shapes)
