"""Learning rates of the parts of a model."""

from collections.abc import Sequence

import jax
from jaxtyping import Array

from jaxvision.core.types import Tree


def backbone_rates(path: Sequence[str], rate: float, params: Tree) -> Tree:
    """Give the backbone's parameters another learning rate than the rest.

    Args:
        path: the names that lead to the backbone, such as ('features', 'backbone').
        rate: factor of the learning rate of the backbone.
        params: of the model.

    Returns:
        A factor for each parameter: `rate` in the backbone, 1 elsewhere.
    """
    path = list(path)

    def factor(keys: tuple[jax.tree_util.DictKey, ...], _: Array) -> float:
        names = [key.key for key in keys]
        return rate if names[: len(path)] == path else 1.0

    return jax.tree.map_with_path(factor, params)
