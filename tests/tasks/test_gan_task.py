"""The GAN task on 8x8 digits: training, evaluation, metrics and export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.exporting import assert_exported_alike
from helpers.steps import take_step

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Preprocessing
from jaxvision.metrics import generative
from jaxvision.tasks.gan import metrics, samples, task
from jaxvision.tasks.shared import feature_extractor as features
from jaxvision.train import auxiliary, loop, saved
from jaxvision.train import run as runs
from jaxvision.train.sources import Sources

# A model that compiles quickly.
QUICK = 'model.name=dcgan', 'model.variant=4', 'task.r1=0.0'


@pytest.fixture(scope='module')
def gan(trained):
    """`gan('task.r1=1', ...)` returns a config of three steps."""

    def make(*overrides):
        config = configs.default('gan')
        base = (
            'data.source=digits',
            'data.batch_size=8',
            'model.name=r3gan',
            'model.variant=8-4',
            'optimizer.lr=0.001',
            'optimizer.ema=0.5',
            'optimizer.options.b1=0.0',
            f'task.feature_extractor={trained}',
            'task.latent=6',
            'task.samples=60',
            'task.r1=0.1',
            'train.steps=3',
            'train.log_every=1',
            'train.eval_every=2',
            'train.checkpoint_every=2',
        )
        for text in (*base, *overrides):
            configs.override(config, *text.split('=', 1))
        return config

    return make


def test_it_trains_and_measures_generated_images(gan, tmp_path, drawn):
    result = loop.run(gan(), tmp_path)
    measured = {
        name.removeprefix('eval/'): value for name, value in result.metrics.items()
    }
    assert result.finished and measured.keys() == {
        'fid_cnn',
        'kid_cnn',
        'precision',
        'recall',
        'conditional_accuracy',
        'floor_fid_cnn',
        'floor_kid_cnn',
        'floor_precision',
        'floor_recall',
        'feature_extractor_hash',
    }
    assert all(np.isfinite(value) for value in measured.values())
    # Real images are nearer to real images than the images of an untrained generator.
    assert measured['floor_fid_cnn'] < measured['fid_cnn']
    assert measured['floor_recall'] > 0.5
    assert measured.keys() == set(loop.reopen(tmp_path).task.main.metrics)
    assert {path.name for path in (tmp_path / 'figures').glob('samples*')} == {
        'samples.png',
        'samples-000002.png',
        'samples-000003.png',
    }
    state = loop.reopen(tmp_path).restore('last')
    assert state.frozen.keys() == {'feature_extractor'}
    assert state.ema['params'].keys() == {'generator'}


def test_a_killed_and_resumed_run_is_equal_to_the_bit(
    gan, tmp_path, monkeypatch, no_pictures
):
    def weights(folder):
        state = loop.reopen(folder).restore('last')
        trees = (state.params, state.opt_state, state.model_state, state.ema)
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trees)]

    config = gan('train.eval_every=3', *QUICK)
    loop.run(config, tmp_path / 'straight')
    with monkeypatch.context() as patch:
        patch.setattr(loop.processes, 'stop_signal', _signal_after(2))
        assert not loop.run(config, tmp_path / 'killed').finished
    assert loop.run(config, tmp_path / 'killed').finished
    assert weights(tmp_path / 'straight') == weights(tmp_path / 'killed')


def noise(spec, size):
    batch = jax.tree.map(jnp.asarray, saved.blank_batch(spec, size))
    image = jax.random.randint(jax.random.key(0), batch['image'].shape, 0, 256)
    return {**batch, 'image': image.astype(jnp.uint8)}


def _signal_after(steps):
    import contextlib

    @contextlib.contextmanager
    def stop_signal():
        yield lambda step: step >= steps

    return stop_signal


def assert_both_changed(before, after):
    for network in ('generator', 'discriminator'):
        has_changed = jax.tree.map(
            lambda a, b: bool(np.any(a != b)), before[network], after[network]
        )
        assert any(jax.tree.leaves(has_changed))


@pytest.mark.parametrize(
    'overrides',
    [
        ('task.loss=hinge', 'model.name=sngan', 'model.variant=4-4'),
        (
            'task.loss=non_saturating',
            'task.conditional=false',
            'task.diffaugment=color,translation,cutout',
            *QUICK,
        ),
    ],
    ids=lambda x: x[0],
)
def test_a_step_changes_both_networks_with_every_loss_model_and_option(
    gan, overrides, tmp_path
):
    """test_critic_steps_... has the Wasserstein loss, and other tests train R3GAN."""
    run = runs.begin(gan(*overrides), tmp_path)
    batch = noise(run.spec, 8)
    first = run.init()
    before = jax.tree.map(np.array, first.params)
    state, scalars = take_step(run, first, batch)
    assert (
        int(state.bad_step) == -1
        and {'loss', 'lr', 'discriminator/loss'} <= scalars.keys()
    )
    assert_both_changed(before, state.params)
    if 'task.conditional=false' in overrides:
        assert list(run.spec.inputs) == ['latent'] and not run.spec.class_names
        assert 'conditional_accuracy' not in run.task.main.metrics


def test_a_generated_image_depends_on_its_latent_and_class_alone(gan, tmp_path):
    run = runs.begin(gan(), tmp_path)
    variables = run.init().variables
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + 0.05 * rng.standard_normal(x.shape, np.float32),
        jax.device_get(variables['params']),
    )
    variables = {**variables, 'params': params}
    latent = jax.random.normal(jax.random.key(1), (4, 6))
    label = jnp.arange(4)
    predict = jax.jit(run.task.predict)
    whole = predict(variables, {'latent': latent, 'label': label})['image']
    alone = predict(variables, {'latent': latent[2:3], 'label': label[2:3]})['image']
    assert whole.shape == (4, 8, 8, 1) and whole.min() >= 0 and whole.max() <= 255
    np.testing.assert_allclose(whole[2:3], alone, atol=1e-3)
    assert not np.allclose(whole[0], whole[1])


def test_the_network_is_the_discriminator_in_inference(gan, tmp_path):
    """The score of an image does not depend on other images or on averaged weights."""
    run = runs.begin(gan(*QUICK), tmp_path)
    batch = noise(run.spec, 8)
    state, _ = take_step(run, run.init(), batch)
    variables = state.variables
    images = run.task.network.normalize(batch['image'] / jnp.float32(255))
    assert images.min() == -1 and images.max() == 1
    score = jax.jit(run.task.network.apply)
    label = jnp.arange(8)
    scores, intermediates = score(variables, images, label)
    assert scores.shape == (8,) and 'pooled' in intermediates
    alone, _ = score(variables, images[3:4], label[3:4])
    np.testing.assert_allclose(alone, scores[3:4], rtol=1e-4, atol=1e-5)
    others, _ = score(variables, images, label + 1)
    assert not np.allclose(scores, others)


@pytest.mark.parametrize(
    'overrides, original_side, resize, side',
    [
        (('data.image_size=32',), 8, 'pad', 8),
        (('data.source=mnist5k', 'data.image_size=32'), 28, 'pad', 32),
        (('data.source=mnist5k', 'data.image_size=16'), 28, 'stretch', 16),
    ],
)
def test_images_are_padded_or_resized_to_a_power_of_two(
    gan, overrides, original_side, resize, side
):
    config = gan(*overrides)
    source = Sources(config)['train']
    spec = task.describe(config, source)
    assert spec.preprocessing == Preprocessing(
        size=(side, side), resize=resize, mean=(0.5,), std=(0.5,)
    )
    assert spec.targets == {'image': ArraySpec((side, side, 1), 'uint8')}
    original = source[0]['image']
    image = task.make_prepare(spec)(source[0], None)['image']
    assert image.shape == (side, side, 1) and image.dtype == np.uint8
    if resize == 'pad':
        inside = slice((side - original_side) // 2, (side + original_side) // 2)
        inner = image[inside, inside]
        np.testing.assert_array_equal(inner, original)
        assert image.sum() == original.sum()


def test_the_evaluation_rows_are_deterministic_and_cover_the_real_images(gan):
    from jaxvision.data.sources import open_source

    config = gan()
    real = open_source(config.data, 'test')
    rows = samples.SampleRows(real, config.data, 500, 6)
    assert len(rows) == 500 + samples.WALKS * samples.WALK_STEPS
    again = samples.SampleRows(real, config.data, 500, 6)
    np.testing.assert_array_equal(rows[7]['latent'], again[7]['latent'])
    np.testing.assert_array_equal(
        rows.labels(), [rows[i]['label'] for i in range(len(rows))]
    )
    assert {rows[i]['label'].item() for i in range(10)} == set(range(10))
    assert {rows[i]['real_row'].item() for i in range(500)} == set(range(len(real)))
    walk = np.stack([rows[500 + i]['latent'] for i in range(samples.WALK_STEPS)])
    steps = np.linalg.norm(np.diff(walk, axis=0), axis=1)
    assert steps.max() < 0.5 * np.linalg.norm(walk[0] - walk[-1])


def test_the_summary_has_the_values_of_the_metric_functions():
    rng = np.random.default_rng(0)
    records = {
        **{
            f'{name}{network}': rng.normal(size=(60, 4))
            for network in ('', '_cnn')
            for name in ('fake', 'real', 'trained')
        },
        'real_row': np.arange(60) % 40,
        'train_row': np.arange(60),
        'prediction': np.arange(60) % 3,
        'label': np.arange(60) % 2,
        'index': np.arange(60),
    }
    summary = metrics.summarize(
        records, samples=50, has_class_accuracy=True, extractor_hash='ff0000ab'
    )
    declared = metrics.names(has_class_accuracy=True, has_inception=True)
    assert len(declared) == len(set(declared)) and summary.keys() == set(declared)
    for network in ('', '_cnn'):
        assert summary[f'fid{network}'] == generative.frechet_distance(
            records[f'real{network}'][:40], records[f'fake{network}'][:50]
        )
    right = sum(i % 3 == i % 2 for i in range(50))
    assert summary['conditional_accuracy'] == right / 50
    assert summary['feature_extractor_hash'] == 0xFF0000


def test_precision_and_recall_cover_every_class():
    """1,000 of 2,000 rows are compared, and classes repeat in order."""
    rng = np.random.default_rng(0)
    label = np.arange(2000) % 10
    features = {
        name: 9 * np.eye(10)[label] + rng.normal(size=(2000, 10))
        for name in ('fake_cnn', 'real_cnn', 'trained_cnn')
    }
    summary = metrics.summarize(
        {
            **features,
            **{name: np.arange(2000) for name in ('real_row', 'train_row', 'index')},
            'prediction': label,
            'label': label,
        },
        samples=2000,
        has_class_accuracy=True,
        extractor_hash='',
    )
    for name in ('precision', 'recall', 'floor_recall'):
        assert summary[name] > 0.8


def test_the_small_classifier_is_trained_once_into_the_cache(
    gan, tmp_path, monkeypatch, no_pictures
):
    small_classifier = features.small_classifier

    def quick(data):
        config = small_classifier(data)
        config.model.variant = '4'
        config.train.steps = '2'
        return config

    monkeypatch.setattr(features, 'small_classifier', quick)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    config = gan('task.feature_extractor=small_cnn', 'train.steps=1', *QUICK)
    first = loop.run(config, tmp_path / 'a').metrics['eval/feature_extractor_hash']
    networks = list((tmp_path / 'cache' / 'jaxvision' / 'runs').iterdir())
    assert [path.name.startswith('feature_extractor-') for path in networks] == [True]
    saved = {
        path: path.stat().st_mtime_ns
        for path in networks[0].rglob('*')
        if path.is_file()
    }
    again = gan('task.feature_extractor=small_cnn', 'seed=1', *QUICK)
    assert loop.train_auxiliary(again, tmp_path / 'b')
    descriptions, _ = auxiliary.load(again, tmp_path / 'b')
    assert int(descriptions['feature_extractor'].hash[:6], 16) == first > 0
    checkpoints = {
        path: time for path, time in saved.items() if 'checkpoints' in str(path)
    }
    assert checkpoints == {path: path.stat().st_mtime_ns for path in checkpoints}


def test_inception_weights_are_read_once_and_kept_in_the_run(
    gan, tmp_path, monkeypatch
):
    read = jax.tree.map(
        lambda x: np.full(x.shape, 0.5, x.dtype),
        jax.eval_shape(features.inception('x').weights.init),
    )
    monkeypatch.setattr(features.tensor_file, 'read', lambda file: {})
    monkeypatch.setattr(features.flax_variables, 'fit', lambda leaves, shapes: read)
    run = runs.begin(gan('task.inception=weights.pth', *QUICK), tmp_path)
    inception = run.init().frozen['inception']
    assert all(bool((leaf == 0.5).all()) for leaf in jax.tree.leaves(inception))
    row = dict(run.task.prepare(run.sources['test'][0], None))
    rows = jax.tree.map(lambda x: jnp.asarray(x)[None].repeat(2, 0), row)
    batch = {**noise(run.spec, 2), **rows}
    shapes = jax.eval_shape(
        run.task.evaluations['eval'].evaluate, run.abstract(), batch
    )
    assert shapes['fake'].shape == shapes['real'].shape == (2, 2048)
    network = run.spec.networks['inception']
    assert network.hash and network.spec is None and not network.config
    assert {'fid', 'floor_kid'} <= set(run.task.main.metrics)


def test_critic_steps_repeat_the_update_of_the_discriminator_alone(gan, tmp_path):
    """Its learning rate follows the steps, not the number of its updates."""
    run = runs.begin(
        gan(
            'task.loss=wasserstein',
            'task.gradient_penalty=10',
            'task.r1=0.0',
            'task.r2=0.1',
            'task.critic_steps=2',
            'train.steps=2',
            'optimizer.schedule=linear',
        ),
        tmp_path,
    )
    first = run.init()
    before = jax.tree.map(np.array, first.params)
    state, _ = take_step(run, first, noise(run.spec, 8))
    assert int(state.bad_step) == -1
    assert_both_changed(before, state.params)
    # The first leaf is Adam's count of updates.
    updates = {
        network: int(jax.tree.leaves(opt_state)[0])
        for network, opt_state in state.opt_state.items()
    }
    assert updates == {'generator': 1, 'discriminator': 2}
    _, scalars = take_step(run, state, noise(run.spec, 8))
    assert scalars['discriminator/update_norm'] > 0 and scalars['lr'] == 0.0005


def test_accumulated_gradients_equal_those_of_the_whole_batch(gan, tmp_path):

    def scalars(microbatches):
        config = gan(f'optimizer.accumulate={microbatches}')
        run = runs.begin(config, tmp_path / str(microbatches))
        return take_step(run, run.init(), noise(run.spec, 8))[1]

    whole = scalars(1)
    parts = scalars(2)
    for name in (
        'discriminator/gradient_norm',
        'generator/gradient_norm',
        'discriminator/r1',
    ):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4)


@pytest.mark.parametrize(
    'overrides',
    [
        ('model.options.norm=batch',),
        ('model.name=dcgan', 'model.variant=4', 'task.r1=0.0'),
    ],
)
def test_a_generator_is_exported(gan, overrides, tmp_path):
    run = runs.begin(gan(*overrides), tmp_path)
    latent = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)
    assert_exported_alike(
        run, {'latent': latent, 'label': np.arange(7, dtype=np.int32)}, tmp_path
    )


@pytest.mark.parametrize(
    'override, message',
    [
        ('model.name=dcgan', 'task.r1=0.1: expected 0 .* batch norm'),
        ('task.inception=nowhere.pth', 'nowhere.pth'),
        ('task.loss=hing', 'hinge'),
        ('task.feature_extractor=nowhere', 'nowhere: expected the run folder'),
        ('task.r1=-1', 'task.r1=-1.0: expected a number >= 0'),
        ('data.test_split=test[:3]', 'at least 4 images .* the evaluated split 3'),
        ('task.critic_steps=3', 'multiple of .* = 3'),
        ('task.layer=poled', 'pooled'),
        ('task.diffaugment=colour', 'color'),
        ('data.image_size=7', 'data.image_size=7: expected 8, 16'),
        ('task.latent=0', 'task.latent=0: expected a whole number >= 1'),
        ('task.samples=9', '>= 10'),
    ],
)
def test_a_wrong_setting_is_an_error(gan, override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.run(gan(override), tmp_path)
    assert not (tmp_path / 'config.json').exists()
