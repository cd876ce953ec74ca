"""The classifier of a task as a function of images in [0, 1]."""

import jax
import jax.numpy as jnp

from jaxvision.attacks.types import Logits
from jaxvision.core.task import Network
from jaxvision.core.types import Tree


def logits_of(network: Network, variables: Tree) -> Logits:
    """Make the function from images in [0, 1] to logits, in inference mode.

    Args:
        network: the network of a classification task. Its outputs are logits.
        variables: `TrainState.variables`.

    Returns:
        A `jax.tree_util.Partial` with the variables as its arguments, so that compiled
        attacks are shared by all variables of the network.
    """

    def logits(variables, images):
        outputs, _ = network.apply(variables, network.normalize(images))
        # An objective of bfloat16 has too few values for a gradient to follow.
        return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))

    return jax.tree_util.Partial(logits, variables)
