"""Runs that are initialised from parts of other runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.state import create
from jaxvision.train import init_from, saved
from jaxvision.train.folder import take_folder
from jaxvision.train.run import begin

CLASSIFIER = {
    'params': {
        'model': {
            'stem': {'kernel': jnp.full((2, 3), 1.0)},
            'head': {'bias': jnp.full(4, 2.0)},
        }
    },
    'model_state': {'model': {'batch_stats': {'stem': {'mean': jnp.full(3, 3.0)}}}},
    'frozen': {'feature_extractor': jnp.ones(5)},
}


def start(leaves):
    """The first state of a captioner, without and with these leaves."""
    params = {
        'model': {
            'encoder': {'stem': {'kernel': jnp.zeros((2, 3), jnp.bfloat16)}},
            'lstm': jnp.zeros(2),
        }
    }
    model_state = {
        'model': {'batch_stats': {'encoder': {'stem': {'mean': jnp.zeros(3)}}}}
    }
    state = create(
        jax.random.key(0), params, {'model': optax.sgd(0.1)}, model_state, ema=0.9
    )
    return state, init_from.fill(state, leaves)


def read(text):
    return init_from.read(
        text, lambda run: init_from.Origin({'runs/cnn': CLASSIFIER}[str(run)])
    )


def test_a_part_is_copied_to_its_new_place_with_its_statistics():
    text = 'runs/cnn:model/stem -> model/encoder/stem'
    leaves = init_from.adapted(start({})[0], read(text), 'model/lstm')
    assert leaves.keys() == {
        'model/encoder/stem/kernel',
        'model/encoder/stem/mean (batch_stats)',
    }
    old, new = start(leaves)
    for tree in (new.params, new.ema['params']):
        kernel = tree['model']['encoder']['stem']['kernel']
        assert kernel.dtype == jnp.bfloat16 and (kernel == 1).all()
        assert (tree['model']['lstm'] == 0).all()
    for tree in (new.model_state, new.ema['model_state']):
        assert (tree['model']['batch_stats']['encoder']['stem']['mean'] == 3).all()
    assert jax.tree.structure(new) == jax.tree.structure(old)


def test_a_whole_run_or_a_renamed_network_is_read():
    assert read('runs/cnn').keys() == {
        'model/stem/kernel',
        'model/head/bias',
        'model/stem/mean (batch_stats)',
    }
    assert read('runs/cnn:model->critic').keys() == {
        'critic/stem/kernel',
        'critic/head/bias',
        'critic/stem/mean (batch_stats)',
    }
    assert read('runs/cnn->all/of').keys() == {
        'all/of/model/stem/kernel',
        'all/of/model/head/bias',
        'all/of/model/stem/mean (batch_stats)',
    }
    assert read('runs/cnn:model/head/bias->model/bias').keys() == {'model/bias'}
    assert read('') == {}


@pytest.mark.parametrize(
    'text, new, message',
    [
        ('runs/cnn:model->model/encoder', '', 'lstm is absent, here'),
        (
            'runs/cnn:model->model/encoder',
            'model/lstm',
            r'head/bias is \[4\], here absent',
        ),
        (
            'runs/cnn:model/head->model/lstm',
            'model/encoder',
            r'bias is \[4\], here absent',
        ),
        ('runs/cnn:model->model/encoder', 'model/lstn', "called 'model/lstn'"),
        ('runs/cnn:mode', '', "train.init_from=runs/cnn:mode: .* no part 'mode'"),
        ('runs/cnn, runs/cnn:model/stem', '', 'set twice'),
        (
            'runs/cnn:model/stem->model/encoder/stem',
            '',
            'in train.init_new, such as train.init_new=model/lstm',
        ),
    ],
)
def test_a_leaf_without_counterpart_is_an_error(text, new, message):
    with pytest.raises(UserError, match=message):
        init_from.adapted(start({})[0], read(text), new)


@pytest.mark.parametrize('source', ['nowhere', 'efficientnet_lite0'])
def test_a_source_that_does_not_exist_names_the_field(
    tiny, tmp_path, monkeypatch, source
):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match=f'^train.init_from={source}: {source}'):
        begin(tiny(f'train.init_from={source}'), tmp_path / 'run')


def test_a_run_is_initialised_from_the_last_checkpoint_of_another(
    tiny, trained, tmp_path, no_pictures
):
    origin = saved.load(trained)[1]
    run = begin(
        tiny(f'train.init_from={trained}', 'optimizer.ema=0.9'), tmp_path / 'same'
    )
    state = jax.device_get(run.init())
    jax.tree.map(np.testing.assert_array_equal, state.params, origin['params'])
    jax.tree.map(
        np.testing.assert_array_equal, state.ema['model_state'], origin['model_state']
    )
    assert run.spec.initial and state.step == 0
    other = begin(
        tiny(f'train.init_from={trained}', 'train.init_new=model/head'),
        tmp_path / 'new',
    )
    state = jax.device_get(other.init())
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()), state.params, origin['params']
    )
    assert not same['model'].pop('head')['kernel'] and jax.tree.all(same)


def test_a_run_killed_before_its_first_checkpoint_keeps_its_required_networks(
    trained, tmp_path, no_pictures
):
    config = configs.default('gan')
    for text in (
        'data.source=digits',
        'data.batch_size=8',
        'model.name=r3gan',
        'model.variant=8-4',
        f'task.feature_extractor={trained}',
        'task.samples=20',
        'train.steps=1',
    ):
        configs.override(config, *text.split('=', 1))
    first = begin(config, tmp_path)
    take_folder(first)
    again = begin(config, tmp_path)
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(again.init().frozen),
        jax.device_get(first.init().frozen),
    )
