"""`task.adversarial`: the perturbed images, the losses, the evaluation and resuming."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.image import color
from jaxvision.tasks.classification.adversarial import Adversarial
from jaxvision.tasks.shared import image_input
from jaxvision.tasks.shared.classifier import Classifier
from jaxvision.train import loop, run

LENET = ('model.name=lenet', 'model.variant=4-16')
PGD = (
    'task.adversarial.kind=pgd',
    'task.adversarial.eps=0.1',
    'task.adversarial.steps=1',
)


@pytest.fixture
def opened(tiny, tmp_path):
    """opened(override, ...) -> (run, its first state, a batch)."""

    def begin(*overrides):
        begun = run.begin(tiny(*overrides), tmp_path / 'run')
        source = begun.sources['train']
        batch = source.batch(range(8)) | {'index': np.arange(8, dtype=np.int32)}
        batch = {name: jnp.asarray(array) for name, array in batch.items()}
        return begun, begun.init(), batch

    return begin


def perturbing(begun):
    """(state, batch, key) -> (pixels, perturbed pixels), compiled once."""
    adversarial = Adversarial.build(begun.config, begun.spec)
    augment = functools.partial(image_input.augment_images, begun.config.task.augment)

    def to_pixels(inputs):
        return (color.to_float(inputs['image']),)

    network = Classifier.build(begun.config, begun.spec, to_pixels, augment)
    perturb = jax.jit(functools.partial(adversarial.perturb, network))

    def perturbed(state, batch, key=0):
        (pixels,) = to_pixels(batch)
        key = jax.random.key(key)
        return pixels, perturb(state.params['model'], state, pixels, batch, key)

    return perturbed


def test_training_images_are_attacked_alone_as_in_a_batch(opened):
    """With batch norm and dropout: the attack sees the model in inference mode."""
    begun, state, batch = opened(*PGD, 'model.options.dropout=0.5')
    perturbed = perturbing(begun)
    pixels, images = perturbed(state, batch)
    largest = np.abs(images - pixels).max()
    assert 0.09 < largest <= 0.1 + 1e-6
    assert images.min() >= 0 and images.max() <= 1
    row = {name: array[5:6] for name, array in batch.items()}
    _, alone = perturbed(state, row)
    # The sign of a gradient near 0 may differ by rounding.
    assert np.mean(np.abs(alone[0] - images[5]) > 1e-5) < 0.05
    _, other = perturbed(state, batch, key=1)
    assert np.mean(np.abs(other - images) > 1e-3) > 0.05


def test_the_ramp_begins_with_a_small_perturbation(opened):
    begun, state, batch = opened(*PGD, *LENET, 'task.adversarial.ramp=10')
    perturbed = perturbing(begun)
    pixels, images = perturbed(state, batch)
    assert 0.009 < np.abs(images - pixels).max() <= 0.01 + 1e-6
    pixels, images = perturbed(state.replace(step=jnp.int32(30)), batch)
    assert 0.09 < np.abs(images - pixels).max() <= 0.1 + 1e-6


def test_noise_has_its_std_and_is_not_clipped(opened):
    """Fault 13: a certificate holds for the noise itself."""
    begun, state, batch = opened(
        'task.adversarial.kind=noise', 'task.adversarial.std=0.5', *LENET
    )
    pixels, images = perturbing(begun)(state, batch)
    noise = np.asarray(images - pixels)
    assert noise.std() == pytest.approx(0.5, rel=0.1)
    assert images.min() < 0 and images.max() > 1
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_the_evaluation_noisy_is_the_accuracy_on_noisy_images(opened):
    """Noise far above the contrast of the images leaves nothing to see."""
    begun, state, batch = opened(
        'task.adversarial.kind=noise', 'task.adversarial.std=1000.0', *LENET
    )
    assert set(begun.task.evaluations) == {'eval', 'noisy'}
    noisy = begun.task.evaluations['noisy']
    evaluate = jax.jit(noisy.evaluate)
    records = evaluate(state, batch)
    values = noisy.summarize({name: np.asarray(x) for name, x in records.items()})
    assert set(values) == set(noisy.metrics) == {'accuracy', 'nll'}
    # Each example has noise of its own, at any place of the batch.
    row = {name: array[5:6] for name, array in batch.items()}
    assert evaluate(state, row)['nll'][0] == pytest.approx(
        float(records['nll'][5]), rel=1e-3
    )
    same = {name: jnp.stack([array[0]] * 8) for name, array in batch.items()}
    same['index'] = batch['index']
    assert len(np.unique(np.round(evaluate(state, same)['nll'], 2))) > 4


@pytest.mark.parametrize('kind', ['fgsm', 'trades', 'mart'])
def test_a_step_of_every_kind_is_finite_and_reports_its_terms(opened, kind):
    begun, state, batch = opened(*PGD, *LENET, f'task.adversarial.kind={kind}')
    new, scalars = jax.jit(begun.task.update)(state, batch)
    terms = {'cross_entropy'}
    if kind in ('trades', 'mart'):
        terms.add('divergence')
    assert terms <= scalars.keys()
    assert scalars['loss'] == pytest.approx(float(sum(scalars[name] for name in terms)))
    assert 0 <= scalars['perturbed_accuracy'] <= 1
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), new.params, state.params
    )
    assert max(jax.tree.leaves(moved)) > 1e-4
    assert all(np.isfinite(value) for value in scalars.values())


def test_microbatches_are_attacked_as_the_whole_batch(opened):
    begun, state, batch = opened(*PGD, *LENET)
    whole, scalars = jax.jit(begun.task.update)(state, batch)
    config = begun.config.copy_and_resolve_references().unlock()
    config.optimizer.accumulate = 2
    task = run.build_task(config.lock(), begun.spec)
    parts, scalars_of_parts = jax.jit(task.update)(state, batch)
    assert scalars_of_parts['loss'] == pytest.approx(float(scalars['loss']), rel=1e-4)
    norm = float(scalars['gradient_norm'])
    assert scalars_of_parts['gradient_norm'] == pytest.approx(norm, rel=1e-3)


def test_a_resumed_run_ends_bit_equal_and_selects_by_the_attack(
    tiny, tmp_path, no_pictures
):
    config = tiny(
        *PGD,
        *LENET,
        'data.validation=10%',
        'train.best=robust/accuracy',
        'train.steps=4',
        'train.eval_every=2',
        'train.checkpoint_every=2',
        'task.adversarial.eval_steps=1',
    )
    whole = loop.run(config, tmp_path / 'whole')
    assert whole.metrics['eval/robust/accuracy'] <= whole.metrics['eval/accuracy']
    assert set(whole.metrics) >= {'eval/robust/nll', 'eval/nll'}

    def crash(step, *_):
        if step == 2:
            raise RuntimeError('pulled')

    with pytest.raises(RuntimeError, match='pulled'):
        loop.run(config, tmp_path / 'parts', crash)
    resumed = loop.run(config, tmp_path / 'parts')
    assert resumed.metrics == whole.metrics
    states = [
        run.reopen(tmp_path / name).restore('last') for name in ('whole', 'parts')
    ]
    params = [jax.tree.leaves(state.params) for state in states]
    for straight, resumed in zip(*params, strict=True):
        np.testing.assert_array_equal(straight, resumed)
    rows = [
        json.loads(line)
        for line in (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()
    ]
    scores = {
        row['step']: row['validation/robust/accuracy']
        for row in rows
        if 'validation/robust/accuracy' in row
    }
    best = run.reopen(tmp_path / 'whole').restore('best')
    assert scores[int(best.step)] == max(scores[2], scores[4])


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (['task.adversarial.eps=8'], 'Write 8/255'),
        (['task.adversarial.eps=0'], 'expected a number above 0'),
        (['task.adversarial.step_size=x'], 'task.adversarial.step_size=x: expected'),
        (['task.augment.mixup=1.0'], 'expected no mixup'),
        (['task.adversarial.kind=pdg'], "Did you mean 'pgd'"),
    ],
)
def test_a_wrong_field_is_refused(tiny, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run.begin(tiny(*PGD, *LENET, *overrides), tmp_path / 'run')
