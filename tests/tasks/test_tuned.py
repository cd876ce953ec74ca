"""Fine-tuning of parts of a classifier, layer decay, LoRA and linear probes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.untrained import save_untrained
from sklearn.linear_model import LogisticRegression

import jaxvision
from jaxvision.core.errors import UserError
from jaxvision.train import evaluation, loop, saved
from jaxvision.train.run import begin

NEW = 'train.init_new=model/head'


@pytest.fixture
def opened(tiny, trained, tmp_path):
    """A run that begins with the weights of another run: (run, its first state, a batch)."""

    def begin_with(*overrides):
        run = begin(
            tiny(f'train.init_from={trained}', NEW, *overrides), tmp_path / 'run'
        )
        batch = run.sources['train'].batch(range(16)) | {
            'index': np.arange(16, dtype=np.int32)
        }
        return (
            run,
            run.init(),
            {name: jnp.asarray(array) for name, array in batch.items()},
        )

    return begin_with


def names(tree):
    return {
        '/'.join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(tree)
    }


def test_a_frozen_part_costs_no_optimizer_and_no_gradient(opened):
    run, state, batch = opened('task.trained=head')
    assert names(state.params) == {'model/head/kernel', 'model/head/bias'}
    assert 'model/head/kernel' not in names(state.frozen['params'])
    whole = jax.tree.leaves(state.whole(state.params))
    assert len(whole) == len(jax.tree.leaves((state.params, state.frozen['params'])))
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * sum(
        leaf.size for leaf in jax.tree.leaves(state.params)
    )

    # A gradient through the convolutions would be more of them than the forward pass has.
    def count(f, *x):
        return str(jax.make_jaxpr(f)(*x)).count('conv_general_dilated')

    forward = count(run.task.predict, state.variables, {'image': batch['image']})
    assert count(run.task.update, state, batch) <= forward


@pytest.mark.parametrize('part', ['head', 'last 1'])
def test_frozen_parts_are_unchanged_by_training_and_in_the_checkpoint(
    part, tiny, trained, tmp_path, no_pictures
):
    loop.run(tiny(f'train.init_from={trained}', NEW, f'task.trained={part}'), tmp_path)
    before = saved.load(trained)[1]
    after = saved.load(tmp_path)[1]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), before, after)
    changed = {
        name
        for name, equal in same['params']['model'].items()
        if not jax.tree.all(equal)
    }
    assert changed and changed < set(same['params']['model'])
    statistics = same['model_state']['model']['batch_stats']
    assert {
        name for name, equal in statistics.items() if not jax.tree.all(equal)
    } <= changed
    assert 'head' in changed and (len(changed) > 1) == (part != 'head')


def test_running_statistics_stay_where_all_is_trained(opened):
    run, state, batch = opened('task.statistics=running')
    new, _ = jax.jit(run.task.update)(state, batch)
    assert jax.tree.all(
        jax.tree.map(jnp.array_equal, new.model_state, state.model_state)
    )
    changed = jax.tree.map(
        lambda a, b: not bool(jnp.array_equal(a, b)), new.params, state.params
    )
    assert jax.tree.all(changed)


def test_layer_decay_lowers_the_learning_rate_of_earlier_blocks(opened):
    options = 'optimizer.name=sgd', 'optimizer.schedule=constant'
    moves = {}
    for decay in (1.0, 0.5):
        run, state, batch = opened(f'task.layer_decay={decay}', *options)
        new, _ = jax.jit(run.task.update)(state, batch)
        moves[decay] = jax.tree.map(jnp.subtract, new.params, state.params)['model']

    def length(tree):
        return np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree)))

    ratios = {
        name: length(moves[0.5][name]) / length(moves[1.0][name]) for name in moves[1.0]
    }
    assert ratios == pytest.approx(
        {
            'head': 1,
            'stage1_conv2': 0.5,
            'stage1_norm2': 0.5,
            'stage1_conv1': 0.25,
            'stage1_norm1': 0.25,
        },
        rel=0.01,
    )


def test_lora_changes_only_the_head_and_the_low_rank_updates(
    tiny, tmp_path, no_pictures
):
    model = 'model.name=vit', 'model.variant=Ti/4', 'data.image_size=8'
    options = [text for text in (*model, 'train.steps=2', 'train.eval_every=2')]
    config = tiny(*options, 'model.options.depth=1')
    save_untrained(config, tmp_path / 'first')
    config = tiny(
        *options,
        'model.options.depth=1',
        f'train.init_from={tmp_path / "first"}',
        'train.init_new=model/head,model/lora',
        'task.trained=lora 2',
    )
    result = loop.run(config, tmp_path / 'second')
    _, before, _ = jaxvision.load(tmp_path / 'first')
    task, after, _ = jaxvision.load(tmp_path / 'second')
    before, after = before['params']['model'], after['params']['model']
    assert set(after) - set(before) == {'lora'} and result.finished
    for name in set(before) - {'head'}:
        assert jax.tree.all(jax.tree.map(jnp.array_equal, before[name], after[name])), (
            name
        )
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(after['lora']))


def test_a_probe_equals_logistic_regression_of_scikit_learn(
    tiny, trained, tmp_path, no_pictures, capsys
):
    options = f'train.init_from={trained}', NEW, 'task.probe=0.01', 'train.steps=0'
    result = loop.run(tiny(*options), tmp_path / 'probe')
    assert result.finished and result.trained and result.step == 0
    features, labels = {}, {}
    run = begin(tiny(f'train.init_from={trained}', NEW), tmp_path / 'none')
    _, variables, _ = jaxvision.load(trained)
    probing = begin(tiny(*options), tmp_path / 'features')
    for split in ('train', 'test'):
        records = evaluation.gather(
            run,
            jax.jit(
                lambda state, batch: {
                    **probing.task.fit.record(state, batch),
                    'label': batch['label'],
                    'index': batch['index'],
                    'present': batch['present'],
                }
            ),
            split,
            probing.init(),
        )
        features[split], labels[split] = records['features'], records['label']
    mean = features['train'].mean(0)
    scale = np.sqrt(features['train'].var(0).mean())
    reference = LogisticRegression(
        C=1 / (0.01 * len(labels['train'])), tol=1e-8, max_iter=10_000
    )
    reference.fit((features['train'] - mean) / scale, labels['train'])
    predictions = reference.predict((features['test'] - mean) / scale)
    expected = (predictions == labels['test']).mean()
    assert abs(result.metrics['eval/accuracy'] - expected) < 2 / len(labels['test'])
    assert expected > 0.5
    row = json.loads(
        (tmp_path / 'probe' / 'metrics.jsonl').read_text().splitlines()[-1]
    )
    assert row['eval/accuracy'] == result.metrics['eval/accuracy']
    capsys.readouterr()

    # The same command trains no more. Another penalty uses the cached features.
    assert not loop.run(tiny(*options), tmp_path / 'probe').trained
    assert 'features' not in capsys.readouterr().out
    loop.run(tiny(*options, 'task.probe=0.1'), tmp_path / 'other')
    lines = capsys.readouterr().out.splitlines()
    cache_file = next(line.split(', from ')[1] for line in lines if ', from ' in line)
    # A damaged cache file, as after a crash, is replaced.
    with open(cache_file, 'r+b') as file:
        file.truncate(100)
    again = loop.run(tiny(*options), tmp_path / 'again')
    assert ', from ' not in capsys.readouterr().out
    assert again.metrics == result.metrics


def test_training_goes_on_from_a_fitted_head(opened):
    from jaxvision.train import fitting

    run, state, batch = opened(
        'task.probe=0.01', 'optimizer.ema=0.9', 'task.statistics=running'
    )
    fitted = fitting.solve(run, state)

    def loss(state):
        return float(jax.jit(run.task.update)(state, batch)[1]['loss'])

    assert loss(fitted) < 0.7 * loss(state)
    for params in (fitted.params, fitted.ema['params']):
        assert np.abs(params['model']['head']['kernel']).max() > 0
        np.testing.assert_array_equal(
            params['model']['head']['kernel'], fitted.params['model']['head']['kernel']
        )


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.trained=las 2', "expected 'all', 'head', 'last N' or 'lora N'"),
        ('task.trained=last 9', 'below the head'),
        ('task.trained=last 0', "expected 'all'"),
        ('task.statistics=mean', "expected one of 'batch', 'running'"),
        ('task.layer_decay=0', 'task.layer_decay=0.0: expected a number .*> 0'),
        ('task.probe=-1', 'task.probe=-1.0: expected a number >= 0'),
        ('train.steps=0', 'expected at least one step'),
        ('task.trained=lora 2', 'linear layers'),
    ],
)
def test_a_wrong_setting_is_an_error(override, message, tiny, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.run(tiny(override), tmp_path)
    assert not (tmp_path / 'config.json').exists()
