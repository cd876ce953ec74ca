"""The points that a sweep tries: functions of the space, the seed and the number of a trial.

Grid, random and Sobol' searches ignore the results. So trial k is the same on one machine and on
many, and needs no coordinator.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from jaxvision.cli.sweep.space import Interval, Point, Space
from jaxvision.core import keys
from jaxvision.core.errors import UserError, not_a_choice

# `(space, seed) -> points`, without end unless the search knows its last point.
Points = Callable[[Space, int], Iterator[Point]]


def grid(space: Space, seed: int) -> Iterator[Point]:
    """Yield every combination of values. The last field changes first.

    Args:
        space: the search space, without intervals.
        seed: not used.

    Raises:
        UserError: A field has an interval, which a grid cannot exhaust.
    """
    del seed
    for field, dimension in space.items():
        if isinstance(dimension, Interval):
            raise UserError(
                f'--sweep.{field}: expected values with --search grid. Give a,b,c, int(a,b) or '
                'range(a,b,step), or search at random.'
            )
    counts = [range(dimension.size or 0) for dimension in space.values()]
    for places in itertools.product(*counts):
        pairs = zip(space.items(), places, strict=True)
        yield {
            field: dimension.at((place + 0.5) / (dimension.size or 1))
            for (field, dimension), place in pairs
        }


def random(space: Space, seed: int) -> Iterator[Point]:
    """Yield independent random points (Bergstra & Bengio 2012), without end."""
    generator = keys.host(seed, 'sweep')
    while True:
        yield _at(space, generator.random(len(space)).tolist())


def sobol(space: Space, seed: int) -> Iterator[Point]:
    """Yield the points of a scrambled Sobol' sequence, which cover a space evenly.

    Sobol' 1967, with the scrambling of Owen 1998. The sequence ends after 2**20 points.
    """
    from scipy.stats import qmc

    first = 0
    for exponent in range(4, 21):
        # The same scrambling every time, so that a longer sequence continues a shorter one.
        sequence = qmc.Sobol(len(space), rng=keys.host(seed, 'sweep'))
        rows = sequence.random_base2(exponent)
        for row in rows[first:]:
            yield _at(space, row.tolist())
        first = len(rows)


SEARCHES: Mapping[str, Points] = {'grid': grid, 'random': random, 'sobol': sobol}


def points(space: Space, search: str, seed: int, count: int) -> list[Point]:
    """List the first points of a search, none of them twice.

    Point k is the same for every `count`.

    Args:
        space: the search space.
        search: 'grid', 'random' or 'sobol'.
        seed: the seed of the search.
        count: number of points, at least 1.

    Returns:
        The points. There are fewer than `count` only if the space has no more.

    Raises:
        UserError: There is no such search, or the space does not fit it.
    """
    if search not in SEARCHES:
        raise not_a_choice('--search', search, SEARCHES)
    count = min(count, size(space) or count)
    distinct: dict[tuple, Point] = {}
    for point in SEARCHES[search](space, seed):
        distinct.setdefault(tuple(map(repr, point.values())), point)
        if len(distinct) == count:
            break
    return list(distinct.values())


def size(space: Space) -> int | None:
    """Number of points of a space; None: a field has an interval."""
    sizes = [dimension.size for dimension in space.values()]
    if None in sizes:
        return None
    return math.prod(size for size in sizes if size is not None)


def _at(space: Space, fractions: list[float]) -> Point:
    """The point at fractions in [0, 1) of the fields."""
    return {
        field: dimension.at(fraction)
        for (field, dimension), fraction in zip(space.items(), fractions, strict=True)
    }
