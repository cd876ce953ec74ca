"""The learning rate that `optimizer.lr=auto` chooses."""

import json
import re

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.data import pipeline
from jaxvision.train import loop, range_test
from jaxvision.train.folder import held
from jaxvision.train.run import begin, reopen

STEPS = 100


def softmax(*overrides):
    config = configs.default('helpers.fakes.softmax')
    base = (
        'data.source=digits',
        'data.batch_size=32',
        'data.threads=0',
        'optimizer.name=sgd',
        'train.steps=4',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


def valley(least, depth=1.0, height=2.0, jump=3.0):
    """A loss that falls to its least value at a step, and then rises."""
    steps = np.arange(STEPS)
    fall = depth / (1 + np.exp((least - 15 - steps) / 3))
    return height - fall + jump * np.maximum(0, (steps - least) / 10)


def test_the_rates_rise_by_equal_factors_over_seven_decades():
    rates = range_test.rates(STEPS)
    np.testing.assert_allclose(rates, 10 ** (-6 + 7 * np.arange(STEPS) / 99))
    np.testing.assert_array_equal(range_test.rates(7), rates[:7])


@hypothesis.given(
    strategies.integers(25, 90),
    strategies.floats(0.01, 100),
    strategies.floats(-50, 50),
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_the_choice_moves_with_the_valley_and_ignores_units_of_the_loss(
    least, factor, offset
):
    chosen = range_test.choose(valley(least)).chosen
    scaled = range_test.choose(factor * valley(least) + offset).chosen
    assert scaled == chosen
    # Half of this fall is done 15 steps before the least loss.
    step = 10 ** (7 / 99)
    assert 0.95 / step <= chosen / range_test.rates(STEPS)[least - 15] <= 1.05 * step


@pytest.mark.parametrize(
    'losses, message',
    [
        ([], 'not finite at the first step'),
        ([2.3], 'It is 2.3 at first, then at least 2.3'),
        (np.linspace(1, 4, 30), 'It is 1 at first, then at least 1'),
        (np.full(STEPS, 0.7), 'changes by 0 from batch to batch'),
        (np.random.default_rng(0).normal(3, 0.5, STEPS), 'from batch to batch'),
    ],
)
def test_a_loss_that_falls_at_no_rate_is_an_error(losses, message):
    with pytest.raises(UserError, match='optimizer.lr=auto: expected a loss') as error:
        range_test.choose(np.array(losses, float))
    assert message in str(error.value)


def reference(images, labels, batches):
    """Descend the mean cross-entropy with rising rates, by hand in float64."""
    kernel = np.zeros((64, 10))
    losses = []
    for rows, rate in zip(batches, np.geomspace(1e-6, 10, STEPS), strict=True):
        pixels = images[rows].reshape(-1, 64) / 255
        logits = pixels @ kernel
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        truth = np.eye(10)[labels[rows]]
        losses.append(-np.log((probabilities * truth).sum(1)).mean())
        kernel -= rate * pixels.T @ (probabilities - truth) / len(rows)
    return np.array(losses)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """A run of plain gradient descent before its first step."""
    options = ('optimizer.options.momentum=0.0', 'optimizer.options.nesterov=false')
    return begin(softmax(*options), tmp_path_factory.mktemp('plain') / 'run')


def test_the_test_is_the_runs_training_with_rising_rates(plain):
    before = jax.device_get(plain.init().params)
    losses = range_test.measure(plain, lambda step: False)
    source = plain.sources['train']
    examples = [source[row] for row in range(len(source))]
    images = np.array([example['image'] for example in examples])
    labels = np.array([example['label'] for example in examples])
    batches = [pipeline.rows(0, len(source), 32, step) for step in range(STEPS)]
    expected = reference(images, labels, batches)
    # The last steps diverge, and amplify rounding.
    np.testing.assert_allclose(losses[:85], expected[:85], rtol=1e-4)
    after = jax.device_get(plain.init().params)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not plain.workdir.exists()


def test_a_signal_ends_the_test(plain):
    assert range_test.find(plain, lambda step: step == 3) is None
    assert not (plain.workdir / 'config.json').exists()


def test_a_run_gets_the_number_and_is_the_run_with_that_number(tmp_path, capsys):
    automatic_run = tmp_path / 'auto'
    loop.run(softmax('optimizer.lr=auto'), automatic_run)
    printed = capsys.readouterr().out
    chosen = json.loads((automatic_run / 'config.json').read_text())['optimizer']['lr']
    assert float(re.search(r'optimizer\.lr=([\d.e-]+):', printed)[1]) == chosen
    assert (automatic_run / 'figures' / 'learning_rate.png').exists()

    stated = tmp_path / 'stated'
    stated_metrics = loop.run(softmax(f'optimizer.lr={chosen!r}'), stated).metrics
    found_weights = reopen(automatic_run).restore().params
    stated_weights = reopen(stated).restore().params
    jax.tree.map(np.testing.assert_array_equal, found_weights, stated_weights)

    # The same command resumes without a test.
    loop.run(softmax('optimizer.lr=auto'), automatic_run)
    printed = capsys.readouterr().out
    assert 'rising rates' not in printed
    assert f'optimizer.lr=auto: {chosen!r}, as in {automatic_run}' in printed

    # So does an evaluation of it.
    _, metrics = loop.evaluate(automatic_run, config=softmax('optimizer.lr=auto'))
    assert metrics == stated_metrics


def test_a_folder_that_cannot_be_held_is_an_error_before_the_test(tmp_path, capsys):
    config = softmax('optimizer.lr=auto')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='the folder cannot be made'):
        loop.run(config, tmp_path / 'file' / 'run')
    # A lock taken through another open file stands for another process's.
    with (
        held(tmp_path / 'run'),
        pytest.raises(UserError, match='another process is training'),
    ):
        loop.run(config, tmp_path / 'run')
    assert 'rising rates' not in capsys.readouterr().out


@pytest.mark.parametrize(
    'override, message',
    [
        (
            'task.networks=2',
            'since the task trains critic and model against each other',
        ),
        ('task.has_loss=false', 'reports no loss'),
        ('task.scale=1e39', 'not finite at the first step'),
        ('optimizer.clip=auto', 'config.optimizer.clip=auto: expected a number'),
    ],
)
def test_a_run_that_cannot_be_tested_is_one_line(tmp_path, override, message):
    with pytest.raises(UserError) as error:
        config = softmax('optimizer.lr=auto', override)
        loop.run(config, tmp_path / 'run')
    assert message in str(error.value)
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_only_training_finds_a_number(tmp_path):
    with pytest.raises(UserError, match='optimizer.lr=auto: expected a number'):
        begin(softmax('optimizer.lr=auto'), tmp_path)
