"""Loss -> update: gradient, accumulation, optimizer, EMA, and the guard against non-finite steps.

    update(state, batch) -> (state, scalars)

An ordinary task has one update, `from_loss(loss, tx)`; an adversarial one composes two with
`in_turn`; a rule that is no loss's gradient (Reptile) enters at `from_gradients`.

Under `jit` the batch is the whole global one. Under `pmap`, over the axis REPLICAS, it is a
device's equal part of it, and `from_gradients` takes the means over the devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import keys
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Scalars,
    Update,
)
from jaxvision.core.types import Batch, Tree

# (gradient, {network: model state}, scalars)
Gradients = tuple[Tree, dict[str, Tree], Scalars]
# {term: (values [B], weights [B])}
Terms = dict[str, tuple[jax.Array, jax.Array]]
# {'model_state': {network: tree}, 'scalars': terms that are only reported}, each optional
Aux = dict[str, Any]
Loss = Callable[[Tree, TrainState, Batch, jax.Array], tuple[Terms, Aux]]

REPLICAS = 'replicas'  # the axis that pmap maps over


def from_loss(
    loss: Loss,
    tx: optax.GradientTransformation,
    player: str = 'model',
    *,
    accumulate: int = 1,
    ema: float = 0.0,
) -> Update:
    """Build the update that descends a loss.

    The loss is the sum over its terms of sum(values) / sum(weights), each sum over the whole
    global batch. So padding, unequal masks, accumulation and any layout give the same mean.

    Args:
        loss: `(params, state, batch, key) -> (terms, aux)`. `params` are this network's, those
            of the others are in `state.params`; both include what is frozen. `terms` is {name:
            (values [B], weights [B])}; the weights depend on the batch only. `aux` may hold
            'model_state' {network: tree}, and 'scalars' of the same form as the terms.
        tx: the optimizer.
        player: the network that is trained.
        accumulate: microbatches that the batch is split into, to save memory.
        ema: decay of the averaged weights, as for `from_gradients`.
    """

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        objective = _Objective(loss, state, player)
        if accumulate == 1:
            return objective.gradients(state.model_state, batch)
        return _accumulated(objective, _microbatches(batch, accumulate), accumulate)

    return from_gradients(gradients, tx, player, ema=ema)


@dataclasses.dataclass(frozen=True)
class _Objective:
    """A loss at one step, as a function of the parameters that it is differentiated by."""

    loss: Loss
    state: TrainState
    player: str

    def __call__(
        self,
        params: Tree,
        model_state: dict[str, Tree],
        batch: Batch,
        totals: Scalars | None = None,
    ) -> tuple[jax.Array, tuple[dict[str, Tree], Scalars, Scalars]]:
        """Compute the loss.

        Args:
            params: of this network, without what is frozen.
            model_state: of all networks.
            batch: the whole batch, or a microbatch.
            totals: the weights of the whole batch; None: `batch` is the whole batch.

        Returns:
            (loss, (new model state, scalars, the weights of `batch`)).
        """
        state = self.state
        key = keys.at_step(state.key, self.player, state.step)
        others = state.replace(
            params=state.whole(state.params), model_state=model_state
        )
        whole_params = state.whole({self.player: params})[self.player]
        terms, aux = self.loss(whole_params, others, batch, key)
        sums = {
            name: (jnp.sum(values), jnp.sum(weights))
            for name, (values, weights) in {**aux.get('scalars', {}), **terms}.items()
        }
        weights = {name: weight for name, (_, weight) in sums.items()}
        # Under pmap each device divides by the devices' mean weight: then the mean over
        # devices is the global one.
        divisors = totals or _mean_over_replicas(weights)
        means = {
            name: _ratio(value, divisors[name]) for name, (value, _) in sums.items()
        }
        total: Any = sum(means[name] for name in terms)
        new_model_state = {**model_state, **aux.get('model_state', {})}
        return total, (new_model_state, {**means, 'loss': total}, weights)

    def gradients(
        self, model_state: dict[str, Tree], batch: Batch, totals: Scalars | None = None
    ) -> Gradients:
        """Differentiate the loss; the arguments are those of `__call__`."""
        params = self.state.params[self.player]
        gradient, (model_state, scalars, _) = jax.grad(self, has_aux=True)(
            params, model_state, batch, totals
        )
        return gradient, model_state, scalars


def _accumulated(objective: _Objective, parts: Batch, count: int) -> Gradients:
    """Sum the gradients of microbatches [count, B / count, ...]."""
    state = objective.state
    params = state.params[objective.player]

    def weights_of(part: Batch) -> Scalars:
        _, (_, _, weights) = objective(params, state.model_state, part)
        return weights

    # Only the weights are asked for, so the compiler drops the rest of this forward pass.
    weights = jax.lax.map(weights_of, parts)
    totals = _mean_over_replicas(
        jax.tree.map(lambda weight: jnp.sum(weight, 0), weights)
    )

    def add_part(carry, part):
        gradient, model_state, scalars = carry
        part_gradient, model_state, part_scalars = objective.gradients(
            model_state, part, totals
        )
        gradient = jax.tree.map(jnp.add, gradient, part_gradient)
        scalars = jax.tree.map(jnp.add, scalars, part_scalars)
        return (gradient, model_state, scalars), None

    first = jax.tree.map(lambda x: x[0], parts)
    _, (_, shapes, _) = jax.eval_shape(objective, params, state.model_state, first)
    start = (_zeros(params), state.model_state, _zeros(shapes))
    # Inside a rolled loop XLA's CPU convolution gradients lose their threads.
    unroll = count if jax.default_backend() == 'cpu' else 1
    return jax.lax.scan(add_part, start, parts, unroll=unroll)[0]


def _zeros(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def from_gradients(
    gradients: Callable[[TrainState, Batch], Gradients],
    tx: optax.GradientTransformation,
    player: str = 'model',
    *,
    ema: float = 0.0,
) -> Update:
    """Build the update that gives gradients to an optimizer.

    Args:
        gradients: `(state, batch) -> (gradient, model_state, scalars)`. The gradient is shaped
            like the network's parameters, the model state is {network: tree}. Under `pmap`
            all three are those of a device's part of the batch, and their means are taken.
        tx: the optimizer.
        player: the network that is trained.
        ema: above 0: the update keeps an average of the network's weights and model state, with
            decay min(ema, (1 + step) / (10 + step)). The state must have been created with one.
    """

    def update(state: TrainState, batch: Batch):
        gradient, model_state, scalars = _mean_over_replicas(gradients(state, batch))
        updates, opt_state = tx.update(
            gradient, state.opt_state[player], state.params[player]
        )
        params = optax.apply_updates(state.params[player], updates)
        scalars = {
            **scalars,
            'gradient_norm': optax.tree.norm(gradient),
            'update_norm': optax.tree.norm(updates),
        }
        if player != 'model':
            scalars = {f'{player}/{name}': value for name, value in scalars.items()}
        state = state.replace(
            params={**state.params, player: params},
            opt_state={**state.opt_state, player: opt_state},
            model_state={**state.model_state, **model_state},
        )
        return (_averaged(state, player, ema) if ema else state), scalars

    return update


def in_turn(*updates: Update) -> Update:
    """Combine updates: each works on the state that the one before returned."""

    def update(state: TrainState, batch: Batch):
        scalars = {}
        for one_update in updates:
            state, new_scalars = one_update(state, batch)
            scalars |= new_scalars
        return state, scalars

    return update


def with_learning_rate(update: Update, lr: optax.Schedule) -> Update:
    """Add the learning rate of the step to an update's scalars, as 'lr'."""

    def update_and_rate(state: TrainState, batch: Batch):
        new, scalars = update(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    return update_and_rate


def guarded(update: Update) -> Update:
    """Count the steps, and keep the old state from the first non-finite scalar on.

    `state.bad_step` is the step of that scalar. The engine compiles every update so.

    The choice is made inside the compiled program: donation has deleted the old buffers by the time
    the host could look. Losses and gradient norms are among the scalars of every update.
    """

    def guarded_update(state: TrainState, batch: Batch):
        new, scalars = update(state, batch)
        finite = jnp.all(
            jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(scalars)])
        )
        bad_step = jnp.where((state.bad_step < 0) & ~finite, state.step, state.bad_step)

        def keep(new, old):
            return jax.tree.map(lambda n, o: jnp.where(bad_step < 0, n, o), new, old)

        new = keep(new.replace(step=state.step + 1, key=None), state.replace(key=None))
        new = new.replace(key=state.key, bad_step=bad_step)
        return new, {**scalars, 'bad_step': bad_step}

    return guarded_update


def _mean_over_replicas(tree: Tree) -> Tree:
    try:
        jax.lax.axis_index(REPLICAS)
    except NameError:  # not under pmap
        return tree

    def mean(x):
        return (
            jax.lax.pmean(x, REPLICAS)
            if jnp.issubdtype(x.dtype, jnp.inexact)
            else jax.lax.pmax(x, REPLICAS)
        )

    return jax.tree.map(mean, tree)


def _averaged(state: TrainState, player: str, most: float) -> TrainState:
    decay = jnp.minimum(most, (1 + state.step) / (10 + state.step))

    def mix(old, new):
        return jax.tree.map(
            lambda o, n: (decay * o + (1 - decay) * n).astype(o.dtype), old, new
        )

    ema = {
        kind: {**players, player: mix(players[player], getattr(state, kind)[player])}
        if player in players
        else players
        for kind, players in state.ema.items()
    }
    return state.replace(ema=ema)


def _microbatches(batch: Batch, count: int) -> Batch:
    """[B, ...] -> [count, B / count, ...], strided, so that every device keeps its own examples;
    neighbours 2i and 2i + 1 stay together where they can: mixup pairs them."""

    def split(x):
        size = x.shape[0] // count
        if size * count != x.shape[0]:
            raise ValueError(
                f'a batch of {x.shape[0]} cannot be split into {count} equal parts'
            )
        pair = 2 if size % 2 == 0 else 1
        x = x.reshape(size // pair, count, pair, *x.shape[1:])
        return jnp.moveaxis(x, 1, 0).reshape(count, size, *x.shape[3:])

    return jax.tree.map(split, batch)


def _ratio(total: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)
