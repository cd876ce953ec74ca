"""Runs that begin with parts of others, and what a run stands on before its first checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.state import create
from jaxvision.train import init_from, saved
from jaxvision.train.run import begin, take_folder

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


def start(found):
    """A captioner's first state, with these leaves."""
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
    return state, init_from.fill(state, found) if found is not None else None


def read(text):
    return init_from.read(
        text, lambda run: init_from.Origin({'runs/cnn': CLASSIFIER}[str(run)])
    )


def test_a_part_goes_where_it_is_told_with_its_statistics():
    text = 'runs/cnn:model/stem -> model/encoder/stem'
    found = init_from.fitting(start(None)[0], read(text), 'model/lstm')
    assert found.keys() == {
        'model/encoder/stem/kernel',
        'model/encoder/stem/mean (batch_stats)',
    }
    old, new = start(found)
    for tree in (new.params, new.ema['params']):
        kernel = tree['model']['encoder']['stem']['kernel']
        assert kernel.dtype == jnp.bfloat16 and (kernel == 1).all()
        assert (tree['model']['lstm'] == 0).all()
    for tree in (new.model_state, new.ema['model_state']):
        assert (tree['model']['batch_stats']['encoder']['stem']['mean'] == 3).all()
    assert jax.tree.structure(new) == jax.tree.structure(old)


def test_all_of_a_run_or_a_renamed_player():
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
    assert read('') == {}


@pytest.mark.parametrize(
    'text, new, said',
    [
        ('runs/cnn:model->model/encoder', '', 'lstm is not there, here'),
        (
            'runs/cnn:model->model/encoder',
            'model/lstm',
            r'head/bias is \[4\], here not there',
        ),
        (
            'runs/cnn:model/head->model/lstm',
            'model/encoder',
            r'bias is \[4\], here not there',
        ),
        ('runs/cnn:model->model/encoder', 'model/lstn', "called 'model/lstn'"),
        ('runs/cnn:mode', '', "no 'mode'"),
        ('runs/cnn, runs/cnn:model/stem', '', 'twice'),
    ],
)
def test_what_has_no_counterpart_is_told(text, new, said):
    with pytest.raises(UserError, match=said):
        init_from.fitting(start(None)[0], read(text), new)


def test_a_run_begins_where_another_ended(tiny, trained, tmp_path, no_pictures):
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


def test_a_run_killed_before_its_first_checkpoint_stands_on_the_same_networks(
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
