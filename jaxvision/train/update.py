"""Loss -> update: gradient, accumulation, optimizer, EMA, and the guard against non-finite steps.

    update(state, batch) -> (state, scalars)

An ordinary task has one update, `from_loss(loss, tx)`; an adversarial one composes two with
`in_turn`; a rule that is no loss's gradient (Reptile) enters at `from_gradients`.

Under `jit` the batch is the whole global one. Under `pmap`, over the axis REPLICAS, it is a
device's equal part of it, and `from_gradients` takes the means over the devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import keys
from jaxvision.core.state import TrainState

Tree = Any
Batch = dict[str, jax.Array]
Scalars = dict[str, jax.Array]
Update = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]

REPLICAS = 'replicas'  # the axis that pmap maps over


def from_loss(
    loss: Callable,
    tx: optax.GradientTransformation,
    player: str = 'model',
    *,
    accumulate: int = 1,
    ema: float = 0.0,
) -> Update:
    """The update that descends a loss.

    `loss(params, state, batch, key) -> (terms, aux)`: `params` is this player's tree, with what is
    frozen of it, as the others' in `state.params`; `terms` is {name: (values [B], weights [B])} and
    the loss the sum over terms of sum(values) / sum(weights), each summed over the whole global
    batch, so padding, unequal masks, accumulation and any layout give the same mean. Weights depend
    on the batch only.
    `aux` may hold 'model_state' {player: tree} and 'scalars' in the same (values, weights) form.
    `accumulate` splits the batch into microbatches that take turns, to save memory.
    """

    def gradients(state: TrainState, batch: Batch):
        key = keys.at_step(state.key, player, state.step)

        def whole(params):
            return state.whole({player: params})[player]

        # Under pmap each device divides by the devices' mean weight: then the mean over devices is
        # the global one.
        def objective(params, model_state, part, totals=None):
            others = state.replace(
                params=state.whole(state.params), model_state=model_state
            )
            terms, aux = loss(whole(params), others, part, key)
            sums = {
                name: (jnp.sum(values), jnp.sum(weights))
                for name, (values, weights) in {
                    **aux.get('scalars', {}),
                    **terms,
                }.items()
            }
            weights = {name: weight for name, (_, weight) in sums.items()}
            over = totals or _mean_over_replicas(weights)
            means = {
                name: _ratio(value, over[name]) for name, (value, _) in sums.items()
            }
            model_state = {**model_state, **aux.get('model_state', {})}
            total = sum(means[name] for name in terms)
            return total, (model_state, {**means, 'loss': total}, weights)

        start = state.params[player], state.model_state
        if accumulate == 1:
            gradient, (model_state, scalars, _) = jax.grad(objective, has_aux=True)(
                *start, batch
            )
            return gradient, model_state, scalars

        parts = _microbatches(batch, accumulate)
        # Only the weights are asked for, so the compiler drops the rest of this forward pass.
        weights = jax.lax.map(lambda part: objective(*start, part)[1][2], parts)
        totals = _mean_over_replicas(
            jax.tree.map(lambda weight: jnp.sum(weight, 0), weights)
        )

        def add_part(carry, part):
            gradient, model_state, scalars = carry
            more, (model_state, more_scalars, _) = jax.grad(objective, has_aux=True)(
                state.params[player], model_state, part, totals
            )

            def add(tree, other):
                return jax.tree.map(jnp.add, tree, other)

            return (add(gradient, more), model_state, add(scalars, more_scalars)), None

        _, (_, shapes, _) = jax.eval_shape(
            objective, *start, jax.tree.map(lambda x: x[0], parts)
        )

        def zeros(tree):
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)

        # Inside a rolled loop XLA's CPU convolution gradients lose their threads.
        unroll = accumulate if jax.default_backend() == 'cpu' else 1
        carry = zeros(state.params[player]), state.model_state, zeros(shapes)
        return jax.lax.scan(add_part, carry, parts, unroll=unroll)[0]

    return from_gradients(gradients, tx, player, ema=ema)


def from_gradients(
    gradients: Callable,
    tx: optax.GradientTransformation,
    player: str = 'model',
    *,
    ema: float = 0.0,
) -> Update:
    """The update that hands `gradients(state, batch) -> (gradient, model_state, scalars)` to an
    optimizer; `gradient` is shaped like this player's params, `model_state` is {player: tree}.

    Under `pmap` each device's three are of its part of the batch, and their means are taken.

    `ema` > 0 keeps an average of the player's weights and model state, decay
    min(ema, (1 + t) / (10 + t)), for which the state must have been created.
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
    """One update that carries out several, each on the state that the one before left."""

    def update(state: TrainState, batch: Batch):
        scalars = {}
        for one in updates:
            state, more = one(state, batch)
            scalars |= more
        return state, scalars

    return update


def with_learning_rate(update: Update, lr: optax.Schedule) -> Update:
    """Add the learning rate of the step to an update's scalars, as 'lr'."""

    def update_and_rate(state: TrainState, batch: Batch):
        new, scalars = update(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    return update_and_rate


def guarded(update: Update) -> Update:
    """What the engine compiles: counts the step and keeps the old state from the first non-finite
    scalar on, which `state.bad_step` remembers.

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
