"""Checks of a run before its first step."""

from collections.abc import Collection

import jax

from jaxvision.core.errors import UserError, unknown
from jaxvision.train import sharding
from jaxvision.train.run import Run
from jaxvision.train.selection import check_direction


def check_training(run: Run) -> None:
    """Check the settings of training, and trace the update without running it.

    Nothing is traced for a run without steps. All processes must call it together.

    Raises:
        UserError: The settings of steps, selection, accumulation or pmap do not fit. Or the
            first training example cannot be read.
    """
    config = run.config
    if not run.total_steps and not run.task.fit and not config.train.init_from:
        raise UserError(
            f'train.steps={config.train.steps}: expected at least one step. To train no step, '
            'fit a head (task.probe) or copy weights (train.init_from)'
        )
    _check_selection(run)
    part = sharding.part_size(run.mesh, config.data.batch_size)
    if part % config.optimizer.accumulate:
        raise UserError(
            f'optimizer.accumulate={config.optimizer.accumulate}: expected a divisor of the '
            f'{part} examples that each device has under parallel.mode=pmap'
        )
    if not run.total_steps:
        return
    # With the placement of the arrays, so that the first step reuses this trace.
    state, batch = run.abstract(), run.abstract_batch()
    try:
        jax.eval_shape(run.update, state, batch)
    except ValueError as error:
        if config.parallel.mode != 'pmap' or isinstance(error, UserError):
            raise
        raise UserError(
            f'parallel.mode=pmap, with {part} examples per device: {error}. Change '
            'data.batch_size, or set parallel.mode=jit'
        ) from error


def _check_selection(run: Run) -> None:
    """Check the fields that select a checkpoint.

    Raises:
        UserError: There is no validation split, or no such metric.
    """
    train = run.config.train
    check_best(run, run.task.metrics)
    for field in ('best', 'patience'):
        is_set = train[field] not in ('', '0')
        if is_set and 'validation' not in run.spec.data:
            raise UserError(
                f'train.{field}={train[field]}: expected a validation split, since the test '
                'split selects nothing. Set data.validation=10% to hold this part out of '
                'training'
            )
    if run.patience and not run.metric:
        raise UserError(
            f'train.patience={train.patience}: expected a metric to watch. Set train.best'
        )


def check_best(run: Run, metrics: Collection[str]) -> None:
    """Check that `train.best`, if it is set, is one of the metrics.

    Args:
        run: the run.
        metrics: names of metrics without the split; empty: they are unknown, and any
            name passes.

    Raises:
        UserError: There is no such metric, or the sign contradicts it, such as
            '-accuracy'.
    """
    best = run.config.train.best.removeprefix('-')
    if best and metrics and best not in metrics:
        raise unknown('train.best: no evaluation has', best, metrics)
    if best:
        check_direction(run.config.train.best)
