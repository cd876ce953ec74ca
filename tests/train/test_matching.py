"""Weights of classes and words are matched by name, for any two lists of names."""

import unicodedata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core import config as configs
from jaxvision.core.state import create
from jaxvision.train import init_from, matching
from jaxvision.train.matching import Partial
from jaxvision.train.run import build, describe
from jaxvision.train.saved import inference_mesh
from jaxvision.train.sources import Sources

NAMES = st.lists(st.sampled_from(['cat', 'dog', 'emu', 'ape', 'bee', 'é', 'e\u0301']))


def by_hand(old, new):
    """{place in new: place in old}, by the documented rule, name by name."""
    old = [unicodedata.normalize('NFC', name) for name in old]
    new = [unicodedata.normalize('NFC', name) for name in new]
    if old == new:
        return {place: place for place in range(len(new))}
    return {
        place: old.index(name)
        for place, name in enumerate(new)
        if old.count(name) == 1 and new.count(name) == 1
    }


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES, st.integers(0, 2), st.integers(0, 3))
def test_any_two_lists_of_classes_are_matched_as_by_hand(old, new, axis, before):
    """Columns of a kernel, rows of a table, and those behind a concatenated latent."""
    rest = [2, 3]
    rest.insert(axis, before + len(old))
    values = np.arange(1.0, 1 + np.prod(rest)).reshape(rest)
    shape = [2, 3]
    shape.insert(axis, before + len(new))
    leaf = matching.matched(values, axis, old, new, shape)
    copied = by_hand(old, new)
    if isinstance(leaf, Partial):
        assert len(copied) < len(new)
        assert leaf.shape == tuple(shape) and leaf.values.dtype == values.dtype
        is_copied = np.broadcast_to(leaf.is_copied, shape)
        moved = np.where(is_copied, leaf.values, -1)
    else:
        assert len(copied) == len(new)
        moved = leaf
    for place in range(before):
        np.testing.assert_array_equal(moved.take(place, axis), values.take(place, axis))
    for place in range(len(new)):
        entry = moved.take(before + place, axis)
        if place in copied:
            expected = values.take(before + copied[place], axis)
            np.testing.assert_array_equal(entry, expected)
        else:
            assert (entry == -1).all()
    line = matching.describe('runs/a', old, new)
    if list(old) == list(new):
        assert line == ''
    elif old:
        assert f': {len(copied)} of {len(new)} classes copied by name' in line
        assert f'{len(new) - len(copied)} initialised' in line
        assert f'{len(old) - len(copied)} of the source left out' in line


def test_a_leaf_of_another_kind_is_left_to_the_check_of_shapes():
    values = np.ones((3, 4))
    assert matching.matched(values, 1, 'abcd', 'xyz', (5, 3)) is values
    assert matching.matched(values, 1, 'abc', 'xyz', (3, 3)) is values


def test_only_the_first_names_are_listed():
    many = [f'c{i}' for i in range(9)]
    assert matching.describe('runs/a', many, many[:7]) == (
        'init_from runs/a: 7 of 7 classes copied by name (c0, c1, c2, c3, c4, ...), '
        '0 initialised; 2 of the source left out (c7, c8)'
    )
    assert 'does not name its words' in matching.describe('a.pth', (), many, 'words')


def test_unmatched_classes_keep_their_initial_values_in_the_averages_too():
    params = {'model': {'head': {'kernel': jnp.full((2, 3), 7.0, jnp.bfloat16)}}}
    state = create(
        jax.random.key(0), params, {'model': optax.sgd(0.1)}, {'model': {}}, ema=0.9
    )
    old = np.float32([[1, 2, 3], [4, 5, 6]])
    copied = {
        'model/head/kernel': init_from.Leaf(old, 'runs/a', ('cat', 'dog', 'emu')),
    }
    names = ('ape', 'bee', 'cat')
    axes = {'model/head/kernel': 1}
    leaves = init_from.adapted(state, copied, '', names, axes)
    filled = jax.jit(init_from.fill)(state, leaves)
    for tree in (filled.params, filled.ema['params']):
        kernel = tree['model']['head']['kernel']
        assert kernel.dtype == jnp.bfloat16
        np.testing.assert_array_equal(kernel, [[7, 7, 1], [7, 7, 4]])
    # A part that is to be new is new as a whole.
    assert init_from.adapted(state, copied, 'model/head', names, axes) == {}


@pytest.mark.parametrize(
    'task, overrides, expected',
    [
        (
            'classification',
            ['model.name=cnn', 'model.variant=4'],
            {'model/head/kernel': (1, 0), 'model/head/bias': (0, 0)},
        ),
        (
            'few_shot',
            ['model.name=cnn', 'model.variant=4', 'task.method=baseline']
            + ['task.ways=2', 'task.evaluations=2x1'],
            {'model/head': (0, 0)},
        ),
        # Behind a latent of 64 numbers, or alone.
        (
            'gan',
            ['model.name=dcgan', 'model.variant=8', 'task.conditional=true'],
            {
                'generator/project/kernel': (0, 64),
                'discriminator/of_class/kernel': (1, 0),
            },
        ),
        (
            'gan',
            ['model.name=r3gan', 'model.variant=8-4', 'task.conditional=true'],
            {
                'generator/of_class/kernel': (0, 0),
                'discriminator/of_class/kernel': (1, 0),
            },
        ),
    ],
)
def test_the_axis_of_the_classes_is_found_by_one_class_more(task, overrides, expected):
    config = configs.default(task)
    for text in ['data.source=digits', *overrides]:
        configs.override(config, *text.split('=', 1))
    sources = Sources(config)
    spec = describe(config, sources)
    mesh = inference_mesh(config)
    shapes, larger = (
        init_from.named_shapes(build(config, Path(), each, sources, mesh).shapes)
        for each in (spec, spec.with_another_name())
    )
    axes = matching.axes(shapes, larger)
    places = {
        name: (axis, shapes[name].shape[axis] - len(spec.class_names))
        for name, axis in axes.items()
    }
    assert places == expected
