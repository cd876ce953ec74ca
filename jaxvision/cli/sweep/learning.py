"""Searches that learn from results, by the samplers of Optuna.

There is no database. A study in memory asks for the points of a batch, is given their scores, and
so on from the first trial. So the points are a function of the seed and the scores, and a sweep
that was stopped asks for the same ones again. A batch does not depend on who ends first.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxvision.cli.sweep import search as searches
from jaxvision.cli.sweep.space import Choice, Dimension, Interval, Point, Space
from jaxvision.core.errors import UserError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    # {field: its values in Optuna's form}.
    Distributions = dict[str, BaseDistribution]

NAMES = ('tpe', 'cmaes', 'gp')
# {field: value} of a trial of Optuna. A choice is the index of its value.
Params = dict[str, Any]
# The name of the class, and the package that it needs beside Optuna.
_SAMPLERS = {
    'tpe': ('TPESampler', ''),
    'cmaes': ('CmaEsSampler', 'cmaes'),
    'gp': ('GPSampler', 'torch'),
}


def points(
    space: Space,
    search: str,
    seed: int,
    batch: int,
    count: int,
    scores: Sequence[float | None],
) -> list[Point]:
    """List the points of all trials whose batch can be known, none of them twice.

    Args:
        space: the search space.
        search: 'tpe' (Bergstra et al. 2011), 'cmaes' (Hansen & Ostermeier 2001) or 'gp', a
            Gaussian process.
        seed: the seed of the sampler.
        batch: trials that are suggested together, at least 1.
        count: number of trials of the sweep.
        scores: the scores of trials 0, 1, ..., more is better; None: it has none. Only
            whole batches are used.

    Returns:
        The points of the trials with scores, and of the batch after them.

    Raises:
        UserError: A package is missing.
    """
    require(search)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction='maximize', sampler=sampler(search, seed))
    values = distributions(space)
    suggested: list[Point] = []
    while len(suggested) < count:
        size = min(batch, count - len(suggested))
        first = len(suggested)
        asked = []
        for _ in range(size):
            trial = _ask(study, values)
            if point_of(space, trial.params) in suggested:
                # Its result is known already. A random point takes its place, and the
                # sampler learns the score of that one.
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                other = untried(space, seed, suggested)
                study.enqueue_trial(params_of(space, other))
                trial = _ask(study, values)
            suggested.append(point_of(space, trial.params))
            asked.append(trial)
        if len(scores) < first + size:
            return suggested
        for trial, score in zip(asked, scores[first : first + size], strict=True):
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, score)
    return suggested


def require(search: str) -> None:
    """Check that the packages of a sampler are installed.

    Raises:
        UserError: A package is missing.
    """
    for package in filter(None, ('optuna', _SAMPLERS[search][1])):
        if importlib.util.find_spec(package):
            continue
        remedy = 'Install torch'
        if package != 'torch':
            remedy = (
                "Install the extra `search`: pip install -e '.[search]' in a checkout of "
                'jaxvision'
            )
        raise UserError(f'--search={search}: expected the package {package}. {remedy}.')


def sampler(search: str, seed: int) -> 'BaseSampler':
    """Make a sampler of Optuna.

    Args:
        search: 'tpe', 'cmaes' or 'gp'.
        seed: of its random numbers.
    """
    from optuna import samplers

    make = getattr(samplers, _SAMPLERS[search][0])
    with warnings.catch_warnings():
        # Some samplers are called experimental.
        warnings.simplefilter('ignore')
        if search == 'cmaes':
            return make(seed=seed, warn_independent_sampling=False)
        return make(seed=seed)


def distributions(space: Space) -> 'Distributions':
    """The values of all fields in Optuna's form."""
    return {field: distribution(dimension) for field, dimension in space.items()}


def distribution(dimension: Dimension) -> 'BaseDistribution':
    """The values of a field in Optuna's form. A choice is the index of its value."""
    from optuna import distributions

    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(tuple(range(dimension.size)))
    if isinstance(dimension, Interval):
        return distributions.FloatDistribution(
            dimension.low, dimension.high, log=dimension.is_log
        )
    return distributions.IntDistribution(dimension.low, dimension.high)


def _ask(study: 'Study', values: 'Distributions') -> 'Trial':
    """The next trial of a study: an enqueued one, or one of the sampler."""
    with warnings.catch_warnings():
        # Some methods are called experimental.
        warnings.simplefilter('ignore')
        return study.ask(fixed_distributions=values)


def point_of(space: Space, params: Params) -> Point:
    """Convert the parameters of a trial of Optuna to the values of the fields."""
    point = {}
    for field, value in params.items():
        dimension = space[field]
        if isinstance(dimension, Choice):
            point[field] = dimension.values[value]
        else:
            point[field] = value
    return point


def params_of(space: Space, point: Point) -> Params:
    """Convert the values of the fields to the parameters of a trial of Optuna."""
    params = {}
    for field, value in point.items():
        dimension = space[field]
        if isinstance(dimension, Choice):
            params[field] = dimension.values.index(value)
        else:
            params[field] = value
    return params


def untried(space: Space, seed: int, tried: Sequence[Point]) -> Point:
    """A random point that has not been tried."""
    return next(point for point in searches.random(space, seed) if point not in tried)
