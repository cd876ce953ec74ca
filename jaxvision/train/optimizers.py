"""Config -> optax: schedules, weight-decay masks, clipping. Each optimizer is one function whose
keyword arguments are what `config.optimizer.options` may set."""

from collections.abc import Callable

import jax
import optax

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import Config
from jaxvision.core.intervals import steps
from jaxvision.core.options import call
from jaxvision.core.types import Tree

Schedule = optax.Schedule


def make(
    config: Config,
    examples: int,
    updates: int = 1,
    rates: Callable[[Tree], Tree] | None = None,
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimizer of a whole config, and its learning rate as a function of the step, in each of
    which it makes so many updates; `rates(params)`, if given, are each leaf's factors of it."""
    c, batch_size = config.optimizer, config.data.batch_size
    if batch_size % c.accumulate:
        raise UserError(
            f'optimizer.accumulate={c.accumulate} does not divide '
            f'data.batch_size={batch_size}'
        )
    total = steps(config.train.steps, batch_size, examples)
    lr = schedule(c.schedule, c.lr, total, steps(c.warmup, batch_size, examples))
    tx = call(
        OPTIMIZERS[c.name],
        f'optimizer {c.name!r}',
        lambda count: lr(count // updates),
        c.weight_decay,
        options=c.options,
    )
    clip = [optax.clip_by_global_norm(c.clip)] if c.clip else []
    scale = (
        [
            optax.stateless(
                lambda updates, _: jax.tree.map(
                    lambda update, rate: update * rate, updates, rates(updates)
                )
            )
        ]
        if rates
        else []
    )
    return optax.chain(*clip, tx, *scale), lr


def schedule(name: str, peak: float, total: int, warmup: int = 0) -> Schedule:
    """Step -> learning rate over `total` steps: linear warm-up to `peak`, then 'constant', 'cosine'
    or 'linear' to zero; or 'one_cycle' (Smith and Topin 2018: up over `warmup` or 30 % of
    the steps, down along a cosine)."""
    if not total:
        return optax.constant_schedule(0.0)
    if warmup >= total:
        raise UserError(f'optimizer.warmup is {warmup} steps, of a run of {total}')
    if name == 'one_cycle':
        return optax.cosine_onecycle_schedule(total, peak, warmup / total or 0.3)
    after = {
        'constant': lambda: optax.constant_schedule(peak),
        'cosine': lambda: optax.cosine_decay_schedule(peak, total - warmup),
        'linear': lambda: optax.linear_schedule(peak, 0.0, total - warmup),
    }
    if name not in after:
        raise not_a_choice('optimizer.schedule', name, [*after, 'one_cycle'])
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup), after[name]()], [warmup]
    )


def is_kernel(params: Tree) -> Tree:
    """True for what is decayed: kernels, never biases, norm scales, tokens or positions."""

    def kernel(path, leaf):
        return leaf.ndim > 1 and str(getattr(path[-1], 'key', path[-1])) == 'kernel'

    return jax.tree_util.tree_map_with_path(kernel, params)


def sgd(
    lr: Schedule,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """SGD with momentum; the decay is added to the gradient, as ResNet's authors did."""
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
    """AdamW (Loshchilov and Hutter 2019): decay apart from the gradient, times the rate."""
    return optax.adamw(lr, b1, b2, eps, weight_decay=weight_decay, mask=is_kernel)


def lamb(
    lr: Schedule,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
) -> optax.GradientTransformation:
    """LAMB (You et al. 2020), for large batches."""
    return optax.lamb(lr, b1, b2, eps, weight_decay=weight_decay, mask=is_kernel)


def muon(
    lr: Schedule, weight_decay: float = 0.0, beta: float = 0.95, adam_lr: float = 0.1
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on kernels, a convolution's taken as a matrix from all its inputs
    to its outputs; Adam at `adam_lr` times the rate on everything else."""

    def dimensions(params):
        def spec(leaf, kernel):
            return (
                optax.contrib.MuonDimensionNumbers(
                    tuple(range(leaf.ndim - 1)), leaf.ndim - 1
                )
                if kernel
                else None
            )

        return jax.tree.map(spec, params, is_kernel(params))

    return optax.contrib.muon(
        lr,
        beta=beta,
        weight_decay=weight_decay,
        weight_decay_mask=is_kernel,
        adam_learning_rate=lambda step: adam_lr * lr(step),
        muon_weight_dimension_numbers=dimensions,
    )


OPTIMIZERS = {'sgd': sgd, 'adamw': adamw, 'lamb': lamb, 'muon': muon}
