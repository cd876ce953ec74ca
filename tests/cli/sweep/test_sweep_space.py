"""The search space and the points of a sweep."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.cli.sweep import halving, search, space
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError


@pytest.fixture(scope='module')
def config():
    return configs.default('classification')


@pytest.mark.parametrize(
    'field, text, values',
    [
        ('optimizer.lr', '1, 1e-3', (1.0, 1e-3)),
        ('optimizer.lr', 'auto,0.1', ('auto', 0.1)),
        ('data.batch_size', 'range(32,128,48)', (32, 80, 128)),
        ('optimizer.ema', 'range(0,0.3,0.1)', (0.0, 0.1, 0.2, 0.3)),
        ('model.variant', '8-16,16', ('8-16', '16')),
        ('train.frozen', '["a,b", "c"]', ('a,b', 'c')),
        ('parallel.mode', ['jit'], ('jit',)),
        ('task.augment.flip', 'true,false', (True, False)),
        ('model.options.width', '[4, "wide", [1, 2]]', (4, 'wide', [1, 2])),
    ],
)
def test_choices_have_the_type_of_their_field(config, field, text, values):
    dimension = space.read(config, {field: text})[field]
    assert dimension.values == values
    assert list(map(type, dimension.values)) == list(map(type, values))


@pytest.mark.parametrize(
    'field, text, message',
    [
        ('lr', '1,2', "did you mean 'optimizer.lr'"),
        ('optimizer.lrr', '1,2', "did you mean 'lr'"),
        ('optimizer', '1,2', 'is a group'),
        ('optimizer.lr', '1,x', 'a number'),
        ('optimizer.lr', '1,1.0', 'stands twice'),
        ('optimizer.lr', 'log(0,1)', 'a > 0'),
        ('optimizer.lr', 'log(1,0)', 'a < b'),
        ('optimizer.lr', 'log(1)', r'expected log\(a,b\)'),
        ('optimizer.lr', 'uniform(nan,1)', 'finite'),
        ('optimizer.lr', 'uniform(-1,1)', '-1.0: expected a number >= 0'),
        ('optimizer.ema', 'uniform(0,1)', '1.0: expected a number >= 0, < 1'),
        ('optimizer.ema', 'range(0,1,-1)', 'step > 0'),
        ('data.batch_size', 'uniform(1,9)', 'whole number'),
        ('data.batch_size', 'int(0,9)', '0: expected a whole number >= 1'),
        ('data.batch_size', 'int(1.5,9)', 'whole numbers'),
        ('optimizer.name', 'sgd,adam', "Did you mean 'adamw'"),
        ('train.steps', '2 epochs,soon', 'soon'),
        ('model.variant', '["a"', 'JSON'),
        ('model.variant', 3, 'expected a,b,c'),
        ('data.source', 'digits,mnist5k', 'leaves the data'),
        ('data.validation', '5%,10%', 'leaves the data'),
        ('data.threads', '1,2', 'changes the result'),
    ],
)
def test_a_wrong_value_is_found_before_the_first_trial(config, field, text, message):
    with pytest.raises(UserError, match=message) as caught:
        space.read(config, {field: text})
    assert '\n' not in str(caught.value) and f'--sweep.{field}' in str(caught.value)


def test_an_empty_space_is_refused(config):
    with pytest.raises(UserError, match='the search space is empty'):
        space.read(config, {})


@given(st.floats(0, 1e300), st.sampled_from(['optimizer.lr', 'optimizer.clip']))
@settings(max_examples=50, deadline=None)
def test_a_float_goes_through_text_without_loss(value, field):
    config = configs.default('classification')
    changed = space.with_point(config, {field: value})
    assert space.value_at(changed, field) == value
    assert json.loads(json.dumps(value)) == value


WIDE = {'optimizer.lr': 'log(1e-4,1e-1)', 'optimizer.ema': 'uniform(0,0.9)'}
FEW = {'optimizer.name': 'sgd,adamw,lamb', 'data.batch_size': 'int(4,6)'}


@pytest.mark.parametrize('name', search.SEARCHES)
def test_no_point_of_choices_comes_twice_and_all_come(config, name):
    read = space.read(config, FEW)
    points = search.points(read, name, 3, 100)
    assert len(points) == search.size(read) == 9
    assert len({tuple(point.values()) for point in points}) == 9


@pytest.mark.parametrize('texts', [WIDE, WIDE | FEW], ids=['wide', 'mixed'])
@pytest.mark.parametrize('name', ['random', 'sobol'])
def test_a_point_depends_on_seed_and_number_alone(config, name, texts):
    read = space.read(config, texts)
    points = search.points(read, name, 5, 40)
    assert search.points(read, name, 5, 17) == points[:17]
    assert search.points(read, name, 6, 17) != points[:17]


def test_sobol_covers_the_space_more_evenly_than_chance(config):
    from scipy.stats import qmc

    read = space.read(config, WIDE)
    rows = [
        (
            math.log(point['optimizer.lr'] / 1e-4) / math.log(1e3),
            point['optimizer.ema'] / 0.9,
        )
        for point in search.points(read, 'sobol', 0, 64)
    ]
    # One point in each of 64 equal parts of either axis: a (0, 6, 2)-net.
    for column in np.array(rows).T:
        assert sorted((column * 64).astype(int)) == list(range(64))
    assert qmc.discrepancy(np.array(rows)) < 0.005


def test_random_numbers_are_spread_evenly_on_their_scale(config):
    from scipy import stats

    read = space.read(config, WIDE)
    points = search.points(read, 'random', 0, 500)
    logs = [math.log(point['optimizer.lr'] / 1e-4) / math.log(1e3) for point in points]
    # One draw with a fixed seed.
    assert stats.kstest(logs, 'uniform').pvalue > 0.01


def test_a_grid_refuses_an_interval_and_changes_the_last_field_first(config):
    with pytest.raises(UserError, match=r'--sweep.optimizer.lr: expected values'):
        search.points(space.read(config, WIDE), 'grid', 0, 4)
    points = search.points(space.read(config, FEW), 'grid', 0, 4)
    assert [tuple(point.values()) for point in points] == [
        ('sgd', 4),
        ('sgd', 5),
        ('sgd', 6),
        ('adamw', 4),
    ]


@pytest.mark.parametrize(
    'trials, factor, most, examples, kept',
    [
        (27, 3, 9, (100, 300, 900), [27, 9, 3, 1]),
        (20, 3, 3, (300, 900), [20, 6, 2]),
        (5, 3, 3, (900,), [5, 1]),
        (2, 3, 3, (), [2]),
        (16, 2, 9, (169, 338, 675, 1350), [16, 8, 4, 2, 1]),
    ],
)
def test_rungs(trials, factor, most, examples, kept):
    rungs = halving.rungs(2700, trials, factor, most)
    assert rungs.examples == examples
    assert rungs.kept(trials) == kept
