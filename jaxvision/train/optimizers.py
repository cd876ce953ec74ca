"""Optimizers, learning rate schedules, weight decay masks and gradient clipping, by config.

Each optimizer is a function. Its keyword arguments are the options that
`config.optimizer.options` may set.
"""

from collections.abc import Callable

import jax
import optax

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import Config
from jaxvision.core.intervals import steps
from jaxvision.core.options import call
from jaxvision.core.types import Tree

Schedule = optax.Schedule

# The schedule of a learning-rate range test, which users cannot choose.
RANGE_TEST = 'range_test'
RANGE_TEST_STEPS = 100
RANGE_TEST_RATES = 1e-6, 10.0


def make(
    config: Config,
    examples: int,
    updates: int = 1,
    rates: Callable[[Tree], Tree] | None = None,
) -> tuple[optax.GradientTransformation, Schedule]:
    """Build the optimizer and the schedule of a config.

    Args:
        config: the config of the run.
        examples: number of training examples.
        updates: number of calls of the optimizer per training step.
        rates: `rates(updates)`, a factor of the learning rate for each parameter.
            `updates` has the structure and shapes of the parameters, and the result has
            the same structure. None: 1.

    Returns:
        (the optimizer, its learning rate as a function of the training step).

    Raises:
        UserError: `optimizer.accumulate` does not divide the batch, or
            `optimizer.warmup`, `optimizer.schedule` or an option is wrong.
    """
    settings = config.optimizer
    batch_size = config.data.batch_size
    if batch_size % settings.accumulate:
        raise UserError(
            f'optimizer.accumulate={settings.accumulate}: expected a divisor of '
            f'data.batch_size={batch_size}'
        )
    total = steps(config.train.steps, batch_size, examples)
    warmup = steps(settings.warmup, batch_size, examples)
    lr = schedule(settings.schedule, settings.lr, total, warmup)

    def lr_of_update(count):
        return lr(count // updates)

    transformations = []
    if settings.clip:
        transformations.append(optax.clip_by_global_norm(settings.clip))
    optimizer = call(
        OPTIMIZERS[settings.name],
        f'optimizer {settings.name!r}',
        lr_of_update,
        settings.weight_decay,
        options=settings.options,
    )
    transformations.append(optimizer)
    if rates:
        transformations.append(_scaled_by(rates))
    return optax.chain(*transformations), lr


def _scaled_by(rates: Callable[[Tree], Tree]) -> optax.GradientTransformation:
    """Multiply the update of each parameter by its factor."""

    def scale(updates, _):
        return jax.tree.map(lambda update, rate: update * rate, updates, rates(updates))

    return optax.stateless(scale)


def schedule(name: str, peak: float, total: int, warmup: int = 0) -> Schedule:
    """Build a learning rate schedule.

    Args:
        name: the schedule after a linear warm-up from 0: 'constant' keeps the peak,
            'cosine' and 'linear' decay to 0. Or 'one_cycle' (Smith and Topin 2018): up
            from peak / 25, then down to nearly 0, both along a cosine. Or `RANGE_TEST`:
            exponentially from the lowest to the highest of `RANGE_TEST_RATES`, whatever
            the peak.
        peak: largest learning rate.
        total: number of steps of the run.
        warmup: steps of the warm-up; 0: no warm-up, but with 'one_cycle' 30 % of the
            steps.

    Returns:
        A function from the step, counted from 0, to the learning rate. It is always 0
        if `total` is 0.

    Raises:
        UserError: The warm-up is as long as the run or longer, or there is no such
            schedule.
    """
    if not total:
        return optax.constant_schedule(0.0)
    if name == RANGE_TEST:
        low, high = RANGE_TEST_RATES
        return optax.exponential_decay(low, RANGE_TEST_STEPS - 1, high / low)
    if warmup >= total:
        raise UserError(
            f'optimizer.warmup is {warmup} steps: expected fewer than the {total} steps of '
            'the run. Set a shorter optimizer.warmup, or more train.steps.'
        )
    if name == 'one_cycle':
        return optax.cosine_onecycle_schedule(total, peak, warmup / total or 0.3)
    decay_steps = total - warmup
    match name:
        case 'constant':
            decay = optax.constant_schedule(peak)
        case 'cosine':
            decay = optax.cosine_decay_schedule(peak, decay_steps)
        case 'linear':
            decay = optax.linear_schedule(peak, 0.0, decay_steps)
        case _:
            choices = ('constant', 'cosine', 'linear', 'one_cycle')
            raise not_a_choice('optimizer.schedule', name, choices)
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup), decay], [warmup]
    )


def is_kernel(params: Tree) -> Tree:
    """Mark the parameters with weight decay: kernels.

    They are the leaves called 'kernel' with two or more axes. Biases, scales of norms,
    tokens and position embeddings have no weight decay.

    Returns:
        A tree with the structure of `params`, and a bool per leaf.
    """

    def kernel(path, leaf):
        name = getattr(path[-1], 'key', path[-1])
        return leaf.ndim > 1 and str(name) == 'kernel'

    return jax.tree_util.tree_map_with_path(kernel, params)


def sgd(
    lr: Schedule,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """SGD with momentum; weight decay is added to the gradient, as in ResNet's paper.

    Args:
        lr: the schedule.
        weight_decay: the kernels times this factor are added to their gradient.
        momentum: decay of the momentum, in [0, 1).
        nesterov: whether to use Nesterov momentum.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, is_kernel),
        optax.sgd(lr, momentum, nesterov),
    )


def adamw(
    lr: Schedule,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019), with decoupled weight decay.

    Args:
        lr: the schedule.
        weight_decay: a step subtracts learning rate * weight_decay * kernel.
        b1: decay of the mean of gradients, in [0, 1).
        b2: decay of the mean of squared gradients, in [0, 1).
        eps: number added to the denominator.
    """
    return optax.adamw(lr, b1, b2, eps, weight_decay=weight_decay, mask=is_kernel)


def lamb(
    lr: Schedule,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
) -> optax.GradientTransformation:
    """LAMB (You et al. 2020), for large batches.

    Args:
        lr: the schedule.
        weight_decay: the kernels times this factor are added to their update. Then the
            update is scaled by the trust ratio and the learning rate.
        b1: decay of the mean of gradients, in [0, 1).
        b2: decay of the mean of squared gradients, in [0, 1).
        eps: number added to the denominator.
    """
    return optax.lamb(lr, b1, b2, eps, weight_decay=weight_decay, mask=is_kernel)


def muon(
    lr: Schedule, weight_decay: float = 0.0, beta: float = 0.95, adam_lr: float = 0.1
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on kernels, and Adam on all other parameters.

    The kernel of a convolution counts as a matrix from all its inputs to its outputs.

    Args:
        lr: the schedule.
        weight_decay: a step subtracts learning rate * weight_decay * kernel.
        beta: decay of the momentum, in [0, 1).
        adam_lr: learning rate of Adam, as a multiple of the schedule.
    """

    def dimensions(params):
        return jax.tree.map(_muon_dimensions, params, is_kernel(params))

    return optax.contrib.muon(
        lr,
        beta=beta,
        weight_decay=weight_decay,
        weight_decay_mask=is_kernel,
        adam_learning_rate=lambda step: adam_lr * lr(step),
        muon_weight_dimension_numbers=dimensions,
    )


def _muon_dimensions(
    leaf: jax.Array, kernel: bool
) -> optax.contrib.MuonDimensionNumbers | None:
    """Take all axes but the last as the rows of a matrix; None: Adam."""
    if not kernel:
        return None
    last = leaf.ndim - 1
    return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last)


OPTIMIZERS = {'sgd': sgd, 'adamw': adamw, 'lamb': lamb, 'muon': muon}
