"""Our attacks give the images of foolbox and torchattacks on one small network.

tests/bench/attack_references.py wrote the arrays.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attacks import balls, minimal, objectives, pgd

pytestmark = pytest.mark.usefixtures('short_blocks')

REFERENCES = Path(__file__).parent / 'references.npz'


@pytest.fixture(scope='module')
def stored():
    with np.load(REFERENCES) as arrays:
        return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.fixture(scope='module')
def arguments(stored):
    """(logits, images, labels, keys)"""

    def logits(weights, images):
        first, second = weights
        return jnp.tanh((images.reshape(len(images), -1) - 0.5) @ first) @ second

    weights = (stored['first'], stored['second'])
    return (
        jax.tree_util.Partial(logits, weights),
        stored['images'],
        stored['labels'],
        jax.random.split(jax.random.key(0), 8),
    )


# A start at the original image, and the last iterate: nothing is left to chance.
STEPS = {'steps': 5, 'start': 'original', 'keep': 'last'}
SAME = {
    'foolbox/fgsm': functools.partial(pgd.fgsm, eps=0.05, keep='last'),
    'foolbox/fgm': functools.partial(pgd.fgsm, eps=0.2, norm='l2', keep='last'),
    'foolbox/pgd': functools.partial(pgd.pgd, eps=0.05, step_size=0.02, **STEPS),
    'foolbox/pgd_l2': functools.partial(
        pgd.pgd, eps=0.2, step_size=0.08, norm='l2', **STEPS
    ),
    'torch/momentum': functools.partial(
        pgd.pgd, eps=0.05, step_size=0.02, momentum=1.0, **STEPS
    ),
}


@pytest.mark.parametrize('name', SAME)
def test_an_attack_without_a_random_start_gives_the_same_pixels(
    name, arguments, stored
):
    images = SAME[name](*arguments).images
    np.testing.assert_allclose(images, stored[name], atol=2e-6)
    assert np.abs(images - stored['images']).max() > 0.04


@pytest.mark.parametrize(
    ('name', 'norm'), [('torch/fab', 'linf'), ('torch/fab_l2', 'l2')]
)
def test_fab_finds_perturbations_as_small_as_torchattacks(
    name, norm, arguments, stored
):
    logits, originals, labels, _ = arguments
    lengths = [
        balls.distance(
            minimal.fab_targeted(*arguments, norm=norm, steps=30, rank=rank).images,
            originals,
            norm,
        )
        for rank in (1, 2, 3, 4)
    ]
    reference = stored[name]
    assert objectives.is_wrong(logits(reference), labels).all()
    expected = np.asarray(balls.distance(reference, originals, norm))
    assert (np.min(lengths, axis=0) <= expected * 1.001).all()


def test_deepfool_ends_where_foolbox_does_but_for_the_overshoot(arguments, stored):
    _, originals, _, _ = arguments
    images = minimal.deepfool(*arguments, classes=4).images
    lengths = balls.distance(images, originals, 'l2')
    expected = np.asarray(balls.distance(stored['foolbox/deepfool'], originals, 'l2'))
    # The search along the line removes the overshoot of 2 % of every step.
    assert (lengths <= expected * (1 + 1e-5)).all()
    assert (lengths >= expected * 0.85).all()
