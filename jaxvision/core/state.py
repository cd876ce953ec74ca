"""The train state."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from jaxvision.core.trees import joined
from jaxvision.core.types import NetworkTrees


# JAX builds the same tree with shapes, shardings and None as leaves.
@no_type_check
@flax.struct.dataclass
class TrainState:
    """The train state: all arrays that a training step reads and returns.

    Attributes:
        step: number of steps taken.
        key: base key of the run, which never changes.
        bad_step: the first step with a non-finite scalar, counted from 0; -1 while
            there is none.
        params: {network: its trained parameters}. A network is 'model', or 'generator' and
            'discriminator'.
        opt_state: {network: the state of its optimizer}.
        model_state: {network: its batch statistics and other variables}.
        ema: averages of trained parameters and model state, {'params': {network: tree},
            'model_state': {network: tree}}; {}: no averages.
        frozen: variables that are not trained. {NAME: variables} holds an auxiliary network.
            {'params': {network: tree}} holds the frozen parameters of trained networks.
    """

    step: Int[Array, '']
    key: PRNGKeyArray
    bad_step: Int[Array, '']
    params: NetworkTrees
    opt_state: NetworkTrees
    model_state: NetworkTrees
    ema: dict[str, NetworkTrees]
    frozen: NetworkTrees

    if TYPE_CHECKING:  # flax.struct.dataclass adds it.

        def replace(self, **changes: Any) -> 'TrainState': ...

    @property
    def variables(self) -> dict[str, NetworkTrees]:
        """Variables for evaluation and prediction, averaged where averages are kept.

        The entries are 'params' {network: tree} with trained and frozen parameters,
        'model_state' {network: tree}, and 'frozen' {name: variables} of auxiliary
        networks.
        """
        params = {**self.params, **self.ema.get('params', {})}
        auxiliary = {
            name: tree for name, tree in self.frozen.items() if name != 'params'
        }
        return {
            'params': self.whole(params),
            'model_state': {**self.model_state, **self.ema.get('model_state', {})},
            'frozen': auxiliary,
        }

    def whole(self, params: NetworkTrees) -> NetworkTrees:
        """Join the trained parameters of each network with its frozen parameters.

        Args:
            params: {network: trained parameters}, of some or all networks.

        Returns:
            {network: all parameters}, for the same networks.
        """
        frozen = self.frozen.get('params', {})
        return {
            network: joined(tree, frozen.get(network, {}))
            for network, tree in params.items()
        }


def create(
    key: PRNGKeyArray,
    params: NetworkTrees,
    optimizers: dict[str, optax.GradientTransformation],
    model_state: NetworkTrees | None = None,
    *,
    ema: float = 0.0,
    averaged: Collection[str] = ('model',),
    frozen: NetworkTrees | None = None,
) -> TrainState:
    """Build the state before the first step.

    Args:
        key: base key of the run.
        params: {network: its trained parameters}.
        optimizers: {network: its optimizer}, whose state is initialised here. Each
            network is in `params`.
        model_state: {network: its batch statistics and other variables}.
        ema: decay of the averaged weights; 0: no averages. The value itself is not
            stored.
        averaged: the networks whose averages are kept, each in `params`.
        frozen: variables that are not trained, in the form of `TrainState.frozen`.

    Returns:
        The state, with step 0 and bad_step -1. Averages begin as copies of the weights.
    """
    model_state = model_state or {}
    average = {}
    if ema and averaged:
        with_state = [network for network in averaged if network in model_state]
        average = {
            'params': _copies(params, averaged),
            'model_state': _copies(model_state, with_state),
        }
    return TrainState(
        step=jnp.int32(0),
        key=key,
        bad_step=jnp.int32(-1),
        params=params,
        opt_state={
            network: tx.init(params[network]) for network, tx in optimizers.items()
        },
        model_state=model_state,
        ema=average,
        frozen=frozen or {},
    )


def _copies(trees: NetworkTrees, networks: Collection[str]) -> NetworkTrees:
    """Copy the trees of these networks, so that no buffer is donated twice."""
    return {network: jax.tree.map(jnp.copy, trees[network]) for network in networks}
