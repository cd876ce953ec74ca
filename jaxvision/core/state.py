"""All that a training step reads and returns."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from jaxvision.core.trees import (
    joined,
)
from jaxvision.core.types import Tree


@no_type_check  # JAX builds the same tree of shapes, shardings and None
@flax.struct.dataclass
class TrainState:
    """Trees are kept by player ('model'; or 'generator' and 'discriminator', ...)."""

    step: Int[Array, '']
    key: PRNGKeyArray  # the run's base key; it never changes
    bad_step: Int[
        Array, ''
    ]  # the first step with a non-finite scalar, -1 while there is none
    params: dict[str, Tree]
    opt_state: dict[str, Tree]
    model_state: dict[str, Tree]
    ema: dict[
        str, dict[str, Tree]
    ]  # {'params': {player: tree}, 'model_state': ...}, or {}
    # What is not trained: {NAME: variables of a network that the task stands on}, and
    # {'params': {player: tree}}, leaves of the players themselves, which have no optimizer.
    frozen: dict[str, Tree]

    if TYPE_CHECKING:  # flax.struct.dataclass adds it.

        def replace(self, **changes: Any) -> 'TrainState': ...

    @property
    def variables(self) -> dict[str, dict[str, Tree]]:
        """What evaluation and prediction use: the averaged weights where there are some."""
        return {
            'params': self.whole({**self.params, **self.ema.get('params', {})}),
            'model_state': {**self.model_state, **self.ema.get('model_state', {})},
            'frozen': {
                name: tree for name, tree in self.frozen.items() if name != 'params'
            },
        }

    def whole(self, params: dict[str, Tree]) -> dict[str, Tree]:
        """The players' trees, of what is trained of them, with what is not."""
        frozen = self.frozen.get('params', {})
        return {
            player: joined(tree, frozen.get(player, {}))
            for player, tree in params.items()
        }


def create(
    key: PRNGKeyArray,
    params: dict[str, Tree],
    optimizers: dict[str, optax.GradientTransformation],
    model_state: dict[str, Tree] | None = None,
    *,
    ema: float = 0.0,
    averaged: Collection[str] = ('model',),
    frozen: dict[str, Tree] | None = None,
) -> TrainState:
    """Build the state before the first step.

    Args:
        key: the run's base key.
        params: {network: its parameters}.
        optimizers: {network: its optimizer}.
        model_state: {network: its batch statistics and the like}.
        ema: decay of the averaged weights; 0: no average is kept.
        averaged: the networks of which an average is kept.
        frozen: variables that are not trained, as `TrainState.frozen` holds them.
    """
    model_state = model_state or {}
    averaged = averaged if ema else ()
    average = {
        'params': {
            player: jax.tree.map(jnp.copy, params[player]) for player in averaged
        },
        'model_state': {
            player: jax.tree.map(jnp.copy, model_state[player])
            for player in averaged
            if player in model_state
        },
    }
    return TrainState(
        step=jnp.int32(0),
        key=key,
        bad_step=jnp.int32(-1),
        params=params,
        opt_state={
            player: tx.init(params[player]) for player, tx in optimizers.items()
        },
        model_state=model_state,
        ema=average if averaged else {},
        frozen=frozen or {},
    )
