"""Compares searches on functions whose maximum is known.

    python tests/bench/sweep_searches.py [--searches random,tpe] [--trials 40] [--seeds 10]

Prints the median of the best value after all trials over the seeds, and the distance of the
maximum. tpe and cmaes suggest in batches of 4, as in `jaxvision sweep`.
"""

import argparse
import math

import numpy as np

from jaxvision.cli.sweep import learning, search
from jaxvision.cli.sweep.space import Choice, Interval


def branin(point):
    """Minus Branin's function; the maximum is -0.397887."""
    x, y = point['x'], point['y']
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return -(curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def rates(point):
    """An optimum of a learning rate and two other fields; the maximum is 0."""
    distance = (math.log10(point['lr']) + 2.5) ** 2 + (point['decay'] - 0.02) ** 2 * 400
    return -distance - 0.5 * (point['optimizer'] != 'adamw')


_A = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_P = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)


def hartmann(point):
    """Hartmann's function of three numbers; the maximum is 3.86278."""
    place = np.array([point['a'], point['b'], point['c']])
    exponents = -np.sum(_A * (place - _P) ** 2, axis=1)
    return float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(exponents))


UNIT = Interval(0, 1, False)
FUNCTIONS = {
    'branin': (
        branin,
        {'x': Interval(-5, 10, False), 'y': Interval(0, 15, False)},
        -0.397887,
    ),
    'rates': (
        rates,
        {
            'lr': Interval(1e-5, 1, True),
            'decay': Interval(0, 0.1, False),
            'optimizer': Choice(('sgd', 'adamw', 'lamb')),
        },
        0.0,
    ),
    'hartmann': (hartmann, {'a': UNIT, 'b': UNIT, 'c': UNIT}, 3.86278),
}


def best(name, function, space, seed, trials):
    if name in search.SEARCHES:
        points = search.points(space, name, seed, trials)
        return max(map(function, points))
    scores = []
    while len(scores) < trials:
        points = learning.points(space, name, seed, 4, trials, scores)
        scores += list(map(function, points[len(scores) :]))
    return max(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--searches', default='random,sobol,tpe,cmaes')
    parser.add_argument('--trials', type=int, default=40)
    parser.add_argument('--seeds', type=int, default=10)
    options = parser.parse_args()
    for label, (function, space, maximum) in FUNCTIONS.items():
        for name in options.searches.split(','):
            values = [
                best(name, function, space, seed, options.trials)
                for seed in range(options.seeds)
            ]
            median = float(np.median(values))
            print(
                f'{label}  {name:8} {median:9.4f}  below the maximum by {maximum - median:.4f}'
            )


if __name__ == '__main__':
    main()
