"""Updates of a train state: gradients, accumulation, optimizer, averages, non-finite steps.

    update(state, batch) -> (state, scalars)

An ordinary task has one update, `from_loss(loss, tx)`. An adversarial task combines two updates
by `in_turn`. A rule that is no gradient of a loss, such as Reptile, uses `from_gradients`.

Under `jit` the batch is the whole global batch. Under `pmap` it is the equal part of one device,
along the axis REPLICAS, and `from_gradients` takes the means over devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import keys
from jaxvision.core.state import TrainState
from jaxvision.core.task import Scalars, Update
from jaxvision.core.types import Batch, NetworkTrees, Tree

# (gradient, {network: model state}, scalars)
Gradients = tuple[Tree, NetworkTrees, Scalars]
# {term: (values [B], weights [B])}
Terms = dict[str, tuple[jax.Array, jax.Array]]
# {'model_state': {network: tree}, 'scalars': terms that are only reported}; both are optional
Aux = dict[str, Any]
# The result of a loss.
TermsAndAux = tuple[Terms, Aux]
Loss = Callable[[Tree, TrainState, Batch, jax.Array], TermsAndAux]
# (new model state, scalars, weights)
_LossAux = tuple[NetworkTrees, Scalars, Scalars]

# The axis over which pmap maps.
REPLICAS = 'replicas'


def from_loss(
    loss: Loss,
    tx: optax.GradientTransformation,
    network: str = 'model',
    *,
    accumulate: int = 1,
    ema: float = 0.0,
) -> Update:
    """Build the update that descends a loss.

    The loss is the sum of sum(values) / sum(weights) over its terms, where each sum is over the
    whole global batch. So padding, unequal masks, accumulation and any layout of devices give
    the same mean.

    Args:
        loss: `(params, state, batch, key) -> (terms, aux)`. `params` are the parameters of this
            network, and `state.params` holds those of the others; both include frozen ones.
            `terms` is {name: (values [B], weights [B])}. Values are already multiplied
            by their weights, so padding has the value 0. The weights must depend on the
            batch only. `aux` may hold 'model_state' as {network: tree}, and 'scalars'
            in the form of the terms. `key` belongs to the step and the network: all
            microbatches and devices get the same one. A term whose weights sum to 0 is
            0.
        tx: the optimizer.
        network: the name of the network to train.
        accumulate: number of microbatches per batch; more need less memory. It must
            divide the batch.
        ema: largest decay of the averaged weights: the decay of a step is min(ema,
            (1 + step) / (10 + step)). 0: no averages. The state must be created with
            `ema`.

    Returns:
        The update `(state, batch) -> (state, scalars)`, which does not count the step.
        The scalars are the mean of each term and of each of `aux['scalars']`, 'loss'
        (the sum of the terms), and those of `from_gradients`.
    """

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        objective = _Objective(loss, state, network)
        if accumulate == 1:
            return objective.gradients(state.model_state, batch)
        return _accumulated(objective, _microbatches(batch, accumulate), accumulate)

    return from_gradients(gradients, tx, network, ema=ema)


@dataclasses.dataclass(frozen=True)
class _Objective:
    """A loss at one step as a function of the trained parameters.

    Attributes:
        loss: the loss.
        state: the state before the step.
        network: the name of the network to train.
    """

    loss: Loss
    state: TrainState
    network: str

    def __call__(
        self,
        params: Tree,
        model_state: NetworkTrees,
        batch: Batch,
        totals: Scalars | None = None,
    ) -> tuple[jax.Array, _LossAux]:
        """Compute the loss.

        Args:
            params: trained parameters of the network, without frozen ones.
            model_state: model state of all networks.
            batch: the whole batch, or a microbatch.
            totals: {term: weight} of the whole batch; None: `batch` is the whole batch.

        Returns:
            (loss, (new model state, scalars, {term: weight} of `batch`)).
        """
        state = self.state
        key = keys.at_step(state.key, self.network, state.step)
        others = state.replace(
            params=state.whole(state.params), model_state=model_state
        )
        whole_params = state.whole({self.network: params})[self.network]
        terms, aux = self.loss(whole_params, others, batch, key)
        sums = {}
        weights = {}
        for name, (values, value_weights) in {
            **aux.get('scalars', {}),
            **terms,
        }.items():
            sums[name] = jnp.sum(values)
            weights[name] = jnp.sum(value_weights)
        # Under pmap each device divides by the mean weight of the devices. So the mean over
        # devices is the global mean.
        divisors = totals or _mean_over_replicas(weights)
        means = {name: _ratio(value, divisors[name]) for name, value in sums.items()}
        total: Any = sum(means[name] for name in terms)
        new_model_state = {**model_state, **aux.get('model_state', {})}
        return total, (new_model_state, {**means, 'loss': total}, weights)

    def gradients(
        self, model_state: NetworkTrees, batch: Batch, totals: Scalars | None = None
    ) -> Gradients:
        """Differentiate the loss; the arguments are those of `__call__`."""
        params = self.state.params[self.network]
        gradient, (model_state, scalars, _) = jax.grad(self, has_aux=True)(
            params, model_state, batch, totals
        )
        return gradient, model_state, scalars


def _accumulated(objective: _Objective, parts: Batch, count: int) -> Gradients:
    """Sum the gradients of microbatches, whose arrays are [count, B / count, ...]."""
    state = objective.state
    params = state.params[objective.network]

    def weights_of(part: Batch) -> Scalars:
        _, (_, _, weights) = objective(params, state.model_state, part)
        return weights

    # Only the weights are used, so the compiler removes the rest of this forward pass.
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
    # Inside a rolled loop XLA computes convolution gradients on a single CPU thread.
    unroll = count if jax.default_backend() == 'cpu' else 1
    return jax.lax.scan(add_part, start, parts, unroll=unroll)[0]


def _zeros(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def from_gradients(
    gradients: Callable[[TrainState, Batch], Gradients],
    tx: optax.GradientTransformation,
    network: str = 'model',
    *,
    ema: float = 0.0,
) -> Update:
    """Build the update that passes gradients to an optimizer.

    Args:
        gradients: `(state, batch) -> (gradient, model_state, scalars)`. The gradient has the
            structure of the network's trained parameters. The model state is {network:
            tree}. Under `pmap` they are those of the part of one device, and their means
            are taken.
        tx: the optimizer.
        network: the name of the network to train.
        ema: above 0: keep an average of the weights and the model state of the network, with
            decay min(ema, (1 + step) / (10 + step)). The state must be created with `ema`.

    Returns:
        The update `(state, batch) -> (state, scalars)`, which does not count the step:
        `guarded` does. The scalars are those of `gradients`, 'gradient_norm' before
        clipping, and 'update_norm'. For another network than 'model' their names begin
        with 'NETWORK/'.
    """

    def update(state: TrainState, batch: Batch):
        gradient, model_state, scalars = _mean_over_replicas(gradients(state, batch))
        updates, opt_state = tx.update(
            gradient, state.opt_state[network], state.params[network]
        )
        params = optax.apply_updates(state.params[network], updates)
        scalars = {
            **scalars,
            'gradient_norm': optax.tree.norm(gradient),
            'update_norm': optax.tree.norm(updates),
        }
        if network != 'model':
            scalars = {f'{network}/{name}': value for name, value in scalars.items()}
        state = state.replace(
            params={**state.params, network: params},
            opt_state={**state.opt_state, network: opt_state},
            model_state={**state.model_state, **model_state},
        )
        if ema:
            state = _averaged(state, network, ema)
        return state, scalars

    return update


def in_turn(*updates: Update) -> Update:
    """Combine updates, so that each works on the state that the previous one returned.

    All get the same batch. A scalar of a later update replaces an earlier one of its
    name.
    """

    def combined(state: TrainState, batch: Batch):
        scalars = {}
        for update in updates:
            state, new_scalars = update(state, batch)
            scalars |= new_scalars
        return state, scalars

    return combined


def with_learning_rate(update: Update, lr: optax.Schedule) -> Update:
    """Add the learning rate of the step to the scalars of an update, as 'lr'.

    Args:
        update: the update.
        lr: a function from the number of steps taken before to the learning rate.
    """

    def update_and_rate(state: TrainState, batch: Batch):
        new, scalars = update(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    return update_and_rate


def guarded(update: Update) -> Update:
    """Count the steps, and keep the old state from the first non-finite scalar on.

    `state.bad_step` is the step of this scalar, counted from 0, and -1 before. It is
    also added to the scalars, as 'bad_step'. From then on, `state.step` no longer
    grows. The engine guards every update. The scalars of every update include losses
    and gradient norms.

    The choice is made inside the compiled program, since donation deletes the old buffers before
    the host can read the scalars.
    """

    def guarded_update(state: TrainState, batch: Batch):
        new, scalars = update(state, batch)
        leaves = jax.tree.leaves(scalars)
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        bad_step = jnp.where((state.bad_step < 0) & ~finite, state.step, state.bad_step)

        def choose(new, old):
            return jnp.where(bad_step < 0, new, old)

        # The key is no array of numbers, and never changes.
        old = state.replace(key=None)
        new = new.replace(step=state.step + 1, key=None)
        new = jax.tree.map(choose, new, old)
        new = new.replace(key=state.key, bad_step=bad_step)
        return new, {**scalars, 'bad_step': bad_step}

    return guarded_update


def _mean_over_replicas(tree: Tree) -> Tree:
    """Take means over devices under pmap; integers must be equal on all devices."""
    try:
        jax.lax.axis_index(REPLICAS)
    except NameError:  # Not under pmap.
        return tree

    def mean(x):
        if jnp.issubdtype(x.dtype, jnp.inexact):
            return jax.lax.pmean(x, REPLICAS)
        return jax.lax.pmax(x, REPLICAS)

    return jax.tree.map(mean, tree)


def _averaged(state: TrainState, network: str, largest_decay: float) -> TrainState:
    """Update the averaged weights of a network."""
    decay = jnp.minimum(largest_decay, (1 + state.step) / (10 + state.step))

    def mix(old, new):
        return (decay * old + (1 - decay) * new).astype(old.dtype)

    ema = {}
    for kind, averages in state.ema.items():
        ema[kind] = averages
        if network in averages:
            new = getattr(state, kind)[network]
            average = jax.tree.map(mix, averages[network], new)
            ema[kind] = {**averages, network: average}
    return state.replace(ema=ema)


def _microbatches(batch: Batch, count: int) -> Batch:
    """Split arrays [B, ...] into [count, B / count, ...].

    The split is strided, so that every device keeps its examples. The neighbours 2i and 2i + 1
    stay together if B / count is even, since mixup pairs them.
    """

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


def per_example(terms: Terms) -> jax.Array:
    """The loss of each example alone: the sum of values / weights over the terms, [B].

    A term whose weight is 0 is 0 for the example.
    """
    losses = [_ratio(values, weights) for values, weights in terms.values()]
    return jnp.sum(jnp.stack(losses), axis=0)


def _ratio(total: jax.Array, weight: jax.Array) -> jax.Array:
    """Divide, with 0 for a weight of 0 and a finite gradient."""
    divisor = jnp.where(weight > 0, weight, 1)
    return jnp.where(weight > 0, total / divisor, 0)
