"""The learning-rate range test (Smith 2017, arxiv.org/abs/1506.01186).

A short training begins like the run itself: with the same state, data and random keys. But its
learning rate rises exponentially. At first the loss hardly moves, then it falls, and at last it
rises. The chosen rate is the one at which half of the fall is done.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from jaxvision.core.auto_fields import with_values
from jaxvision.core.errors import UserError
from jaxvision.core.fields import AUTO
from jaxvision.train import fitting, processes
from jaxvision.train.optimizers import (
    RANGE_TEST,
    RANGE_TEST_RATES,
    RANGE_TEST_STEPS,
)
from jaxvision.train.run import Run
from jaxvision.train.saved import build_task
from jaxvision.train.training import train_batches
from jaxvision.viz import figures, learning_rates

FIELD = 'optimizer.lr'
PICTURE = 'learning_rate.png'
# The part of the fall of the loss that is done at the chosen rate.
DONE = 0.5
# The least fall, in standard deviations of the loss between neighbouring steps. Smoothed noise
# without a trend falls by about 1.5.
LEAST_FALL = 2.0
# Standard deviation of the Gaussian that smooths the losses, in steps.
SMOOTHING = 3.0
# The training ends when the loss exceeds the first one by this factor.
LARGEST_RISE = 4.0
# Steps between two looks at the losses, so that the host seldom waits for the device.
_STEPS_BETWEEN_LOOKS = 10

Curve = Float[np.ndarray, ' steps']
# `(step)`, whether a signal asks to stop after this step.
Asked = Callable[[int], bool]


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates: the learning rate of each step, ascending.
        losses: the training loss before each step.
        smooth: the losses, smoothed over neighbouring steps.
        chosen: the chosen rate, with two significant digits.
    """

    rates: Curve
    losses: Curve
    smooth: Curve
    chosen: float


def rates(steps: int) -> Curve:
    """The learning rate of each of the first steps of a test.

    Args:
        steps: number of steps, at most `RANGE_TEST_STEPS`.
    """
    return np.geomspace(*RANGE_TEST_RATES, RANGE_TEST_STEPS)[:steps]


def measure(run: Run, asked: Asked) -> Curve | None:
    """Train a few steps with rising rates, and return the loss of each.

    The run stays as it is: nothing is written, and its own initial state is made anew. All
    processes of a run must call it together.

    Args:
        run: a run without a checkpoint.
        asked: `asked(step)`, whether a signal asks to stop after this step.

    Returns:
        The finite losses; None if a signal asked to stop. The training ends early if a
        loss is not finite, or far above the first one.

    Raises:
        UserError: The task has several optimizers, or its update reports no loss.
    """
    schedule = {'optimizer.schedule': RANGE_TEST}
    config = with_values(run.config, schedule)
    tested = dataclasses.replace(run, config=config, task=build_task(config, run.spec))
    _check(tested)
    state = fitting.solve(tested, tested.init())
    losses = []
    pending = []
    with train_batches(tested, 0, RANGE_TEST_STEPS) as batches:
        for step, batch in enumerate(batches, 1):
            state, scalars = tested.update(state, batch)
            pending.append((scalars['loss'], scalars['bad_step']))
            if asked(step):
                return None
            if step % _STEPS_BETWEEN_LOOKS and step < RANGE_TEST_STEPS:
                continue
            for loss, bad_step in pending:
                if int(bad_step) >= 0 or not np.isfinite(float(loss)):
                    return np.array(losses)
                losses.append(float(loss))
            pending = []
            if losses[-1] > LARGEST_RISE * abs(losses[0]):
                break
    return np.array(losses)


def _check(tested: Run) -> None:
    """Check that a task has one optimizer and a loss."""
    networks = list(tested.shapes.opt_state)
    why = ''
    if len(networks) > 1:
        why = (
            f'since the task trains {" and ".join(networks)} against each other, and no loss '
            'falls'
        )
    else:
        _, scalars = jax.eval_shape(
            tested.update, tested.abstract(), tested.abstract_batch()
        )
        if 'loss' not in scalars:
            why = 'since the update of this task reports no loss'
    if why:
        raise UserError(
            f'{FIELD}={AUTO}: expected a number, {why}. Set --config.{FIELD}=NUMBER'
        )


def choose(losses: Curve) -> RangeTest:
    """Choose the first rate at which half of the fall of the smoothed loss is done.

    The fall is from the first loss to the least one.

    Args:
        losses: the training loss of each step, finite.

    Returns:
        The test with the chosen rate.

    Raises:
        UserError: The loss falls at no rate, or less than it changes by chance.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.stats import iqr

    if not len(losses):
        raise _no_fall('It is not finite at the first step')
    tried = rates(len(losses))
    smooth = gaussian_filter1d(losses, SMOOTHING, mode='nearest')
    fall = smooth[0] - smooth.min()
    noise = iqr(losses - smooth, scale='normal')
    if fall <= LEAST_FALL * noise:
        raise _no_fall(
            f'It is {losses[0]:.4g} at first, then at least {losses.min():.4g}, and changes '
            f'by {noise:.2g} from batch to batch'
        )
    place = int(np.argmax(smooth <= smooth[0] - DONE * fall))
    chosen = float(f'{tried[place]:.2g}')
    return RangeTest(rates=tried, losses=losses, smooth=smooth, chosen=chosen)


def _no_fall(behaviour: str) -> UserError:
    """Make the error for a loss that falls at no rate."""
    low, high = RANGE_TEST_RATES
    return UserError(
        f'{FIELD}={AUTO}: expected a loss that falls clearly at some rate between {low:g} and '
        f'{high:g}. {behaviour}. Set --config.{FIELD}=NUMBER, or try a larger data.batch_size'
    )


def find(run: Run, asked: Asked) -> float | None:
    """Choose the learning rate of a run, print it, and draw the test into its folder.

    All processes of a run must call it together, and get the rate of process 0.

    Args:
        run: a run without a checkpoint, whose folder is held.
        asked: `asked(step)`, whether a signal asks to stop after this step.

    Returns:
        The rate; None if a signal asked to stop.

    Raises:
        UserError: The task cannot be tested, or the loss falls at no rate.
    """
    processes.say(f'{FIELD}={AUTO}: {RANGE_TEST_STEPS} steps with rising rates ...')
    losses = measure(run, asked)
    if losses is None:
        return None
    result = choose(losses)
    chosen = processes.of_first(result.chosen)
    processes.say(
        f'{FIELD}={chosen:g}: half of the fall of the loss is done there, see '
        f'figures/{PICTURE}'
    )
    if processes.is_first():
        picture = learning_rates.range_test(
            result.rates, result.losses, result.smooth, result.chosen
        )
        figures.save(run.workdir / 'figures' / PICTURE, picture)
    return chosen
