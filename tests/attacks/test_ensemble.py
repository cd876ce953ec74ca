"""Ensembles: the minimum over attacks, packing, stored batches, and signs of masking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.linear import Linear
from hypothesis import given
from hypothesis import strategies as st

from jaxvision.attacks import ensemble, masking, objectives, pgd
from jaxvision.attacks.ensemble import Stage
from jaxvision.attacks.types import Attacked

pytestmark = pytest.mark.usefixtures('short_blocks')


def breaks(*marks):
    """An attack that succeeds on the images whose first pixel is one of the marks."""

    def attack(logits, images, labels, keys):
        is_broken = jnp.isin(images[:, 0, 0, 0], jnp.asarray(marks))
        return Attacked(images.at[:, 1].set(0.75), is_broken)

    return attack


def marked(count=7):
    """(logits, images, labels, keys): image i has the first pixel i / 8; the first is wrong."""
    images = np.full((count, 2, 2, 1), 0.5, np.float32)
    images[:, 0, 0, 0] = np.arange(count) / 8
    labels = np.zeros(count, np.int32)
    labels[0] = 1
    keys = jax.vmap(jax.random.key)(jnp.arange(count))
    return _first_class, images, labels, keys


def _first_class(images):
    return jnp.tile(jnp.array([1.0, 0.0]), (len(images), 1))


def test_an_image_is_broken_by_the_first_attack_that_succeeds():
    stages = [Stage('a', breaks(1 / 8, 3 / 8)), Stage('b', breaks(3 / 8, 5 / 8))]
    logits, images, labels, keys = marked()
    outcome = ensemble.run(stages, logits, images, labels, keys, batch_size=3)
    np.testing.assert_array_equal(outcome.broken_by, [-2, 0, -1, 0, -1, 1, -1])
    assert outcome.accuracy == 6 / 7
    assert outcome.after(0) == 4 / 7
    assert outcome.after(1) == outcome.robust_accuracy == 3 / 7
    changed = np.any(outcome.images != images, axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, outcome.broken_by >= 0)


def test_stored_batches_are_not_computed_again():
    calls = []

    def counting(logits, images, labels, keys):
        calls.append(len(images))
        return breaks(1 / 8)(logits, images, labels, keys)

    arguments = marked()
    store = {}
    run = functools.partial(
        ensemble.run, [Stage('a', counting)], *arguments, batch_size=4, store=store
    )
    whole = run()
    assert calls == [4, 4]
    del store['a-1']
    again = run()
    assert calls == [4, 4, 4]
    np.testing.assert_array_equal(again.broken_by, whole.broken_by)
    np.testing.assert_array_equal(again.images, whole.images)


def test_the_next_batch_begins_before_the_last_one_is_read():
    events = []

    class Recording(dict):
        def __setitem__(self, name, batch):
            events.append(name)
            super().__setitem__(name, batch)

    def attack(logits, images, labels, keys):
        events.append('begin')
        return breaks(1 / 8)(logits, images, labels, keys)

    logits, images, labels, keys = marked()
    ensemble.run(
        [Stage('a', attack)],
        logits,
        images[1:],
        labels[1:],
        keys[1:],
        batch_size=2,
        store=Recording(),
    )
    assert events[3:] == ['begin', 'begin', 'a-0', 'begin', 'a-1', 'a-2']


@given(st.integers(0, 5000), st.integers(1, 200))
def test_batches_are_about_equal(count, most):
    size = ensemble._batch_size(count, most)
    batches = -(-count // most)
    assert 1 <= size <= most
    assert -(-count // size) <= max(batches, 0)
    # Each batch has less than 8 rows of padding, and the last one those of all.
    assert size * batches - count < 8 * max(batches, 1)


def test_the_outcome_does_not_depend_on_the_batch_size():
    linear = Linear(classes=4, seed=1)
    logits, images, labels, keys = linear.arguments()
    attack = functools.partial(pgd.pgd, eps=linear.middle_eps('linf'), steps=4)
    stages = ensemble.restarted('pgd', attack, 2)
    outcomes = [
        ensemble.run(
            stages,
            logits,
            np.asarray(images),
            np.asarray(labels),
            keys,
            batch_size=size,
        )
        for size in (5, 12)
    ]
    np.testing.assert_array_equal(outcomes[0].broken_by, outcomes[1].broken_by)
    np.testing.assert_allclose(outcomes[0].images, outcomes[1].images, atol=1e-6)


def test_auto_finds_every_fragile_image_of_a_linear_model():
    with jax.enable_x64(True):
        linear = Linear(classes=4, seed=3)
        eps = linear.middle_eps('linf')
        stages = ensemble.auto(4, eps=eps, steps=20, queries=20)
        assert [stage.name for stage in stages] == [
            'apgd-ce',
            *(f'apgd-t-{rank}' for rank in (1, 2, 3)),
            *(f'fab-t-{rank}' for rank in (1, 2, 3)),
            'square',
        ]
        logits, images, labels, keys = linear.arguments()
        outcome = ensemble.run(
            stages, logits, np.asarray(images), np.asarray(labels), keys, batch_size=6
        )
        np.testing.assert_array_equal(outcome.stands, linear.critical('linf') > eps)
        wrong = objectives.is_wrong(logits(jnp.asarray(outcome.images)), labels)
        np.testing.assert_array_equal(wrong, ~outcome.stands)


def test_a_transferred_attack_is_judged_by_the_attacked_classifier():
    victim = Linear(classes=2)
    logits, images, labels, keys = victim.arguments()
    other = Linear(classes=2, seed=9)
    attack = functools.partial(pgd.pgd, eps=0.05, steps=4)
    source = attack(other.logits, images, labels, keys).images
    attacked = ensemble.transferred(attack, other.logits)(logits, images, labels, keys)
    np.testing.assert_array_equal(attacked.images, source)
    wrong = objectives.is_wrong(logits(source), labels)
    np.testing.assert_array_equal(attacked.success, wrong)


def test_pixels_outside_of_the_range_are_refused():
    logits, images, labels, keys = marked()
    with pytest.raises(ValueError, match=r'pixels in \[0, 1\]'):
        ensemble.run([], logits, images * 255, labels, keys, batch_size=2)


def masked(images):
    """Class 0 with the confidence 1, so that float32 has no gradient."""
    score = 1000 * (images.mean((1, 2, 3)) + 1)
    return jnp.stack([score, jnp.zeros_like(score)], -1)


def test_a_classifier_without_gradients_shows_signs_of_masking():
    _, images, _, keys = marked()
    labels = jnp.zeros(len(images), jnp.int32)
    images = jnp.asarray(images)
    signs = masking.measure(masked, images, labels, keys)
    assert signs.zero_gradients == 1
    assert signs.accuracy_without_limit == 1
    assert not signs.random_outputs
    outcome = ensemble.Outcome(
        images=np.asarray(images),
        broken_by=np.array([-1, 1, -1, 0, 0, -2, -1]),
        stages=('pgd', 'square'),
    )
    lines = masking.warnings(signs, outcome)
    assert len(lines) == 3
    assert 'gradient of exactly 0' in lines[0]
    assert 'instead of 0' in lines[1]
    assert 'Square' in lines[2] and '14.3%' in lines[2]


def test_a_linear_classifier_shows_no_sign_of_masking():
    linear = Linear(classes=2)
    logits, images, labels, keys = linear.arguments()
    signs = masking.measure(logits, images, labels, keys)
    assert signs == (0, False, 0)
    outcome = ensemble.run(
        [], logits, np.asarray(images), np.asarray(labels), keys, batch_size=12
    )
    assert masking.warnings(signs, outcome) == []
