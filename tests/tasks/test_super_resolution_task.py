"""Super-resolution: training, metrics, degradation, tiles and export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.exporting import assert_exported_alike
from helpers.random_weights import random_leaves
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Tiling
from jaxvision.data.protocol import Unreadable
from jaxvision.image import tiles
from jaxvision.models.generators import edsr
from jaxvision.tasks.super_resolution import metrics
from jaxvision.tasks.super_resolution import task as super_resolution
from jaxvision.train import loop, run

BASE = (
    'data.source=mnist5k',
    'data.test_split=test[:64]',
    'data.image_size=28',
    'data.batch_size=16',
    'data.per_class=20',
    'model.name=edsr',
    'model.variant=1x8',
    'task.patch=8',
    'task.tile=16',
    'optimizer.lr=0.01',
    'train.steps=30',
    'train.eval_every=30',
    'train.checkpoint_every=30',
)


def configured(*overrides):
    config = configs.default('super_resolution')
    for text in (*BASE, *overrides):
        path, _, value = text.partition('=')
        configs.override(config, path, value)
    return config


@pytest.fixture
def opened(tmp_path):
    """A run that has not begun: (task, its first state, a batch of crops, its spec)."""

    def begin(*overrides):
        begun = run.begin(configured(*overrides), tmp_path / 'run')
        source = begun.sources['train']
        patch = begun.config.task.patch * begun.config.task.scale
        truth = source.batch(range(16))['image'][:, 6 : 6 + patch, 6 : 6 + patch]
        batch = {'truth': jnp.asarray(truth), 'index': jnp.arange(16, dtype=jnp.int32)}
        return begun.task, begun.init(), batch, begun.spec

    return begin


def test_a_trained_network_is_better_than_bicubic(tmp_path, drawn):
    result = loop.run(configured(), tmp_path / 'run')
    assert result.metrics['eval/gain_y'] > 1
    assert result.metrics['eval/gain_y'] == pytest.approx(
        result.metrics['eval/psnr_y'] - result.metrics['eval/bicubic_y']
    )
    assert (tmp_path / 'run' / 'figures' / 'strips.png').exists()
    names = run.reopen(tmp_path / 'run').task.main.metrics
    assert result.metrics.keys() == {f'eval/{name}' for name in names}


@pytest.mark.parametrize('pool', ['image', 'label'])
@pytest.mark.parametrize('side, channels', [(18, 1), (14, 3), (14, 1)])
def test_all_metrics_are_declared(pool, side, channels):
    images = np.random.default_rng(0).random((2, 3, side, side, channels), np.float32)
    compare = functools.partial(metrics.compare, border=2)
    records = jax.device_get(jax.jit(jax.vmap(compare))(*images, images[0]))
    records |= {'index': np.arange(3), 'label': np.array([0, 2, 2])}
    names = ('cat', 'dog', 'cup')
    pooled_classes = ()
    without_an_example = set()
    if pool == 'label':
        pooled_classes = names
        without_an_example = {'psnr_y/dog'}
    declared = metrics.names(side, channels, 2, pooled_classes)
    summary = metrics.summarize(pool, names, records)
    assert set(declared) - summary.keys() == without_an_example
    assert summary.keys() <= set(declared) and len(declared) == len(set(declared))
    assert ('ssim_y' in declared) == (side >= 15)
    assert ('psnr_rgb' in declared) == (channels == 3)


def test_the_metrics_equal_scikit_image_on_the_predicted_image(opened):
    task, state, _, spec = opened('task.scale=3', 'task.patch=5', 'data.image_size=27')
    whole = task.prepare({'image': photograph(), 'label': 0}, None)['truth']
    assert whole.shape == (27, 27, 1) and spec.details.crop == 27
    batch = {
        'truth': whole[None],
        'label': np.zeros(1, np.int32),
        'index': np.zeros(1, np.int32),
    }
    low = Image.fromarray(whole[..., 0].astype(np.float32)).resize(
        (9, 9), Image.BICUBIC
    )
    low = np.clip(np.round(low), 0, 255).astype(np.float32)
    tile = jax.jit(task.evaluations['eval'].inputs)(batch)['image']
    assert tile.shape == (1, 20, 20, 1) and tile.dtype == np.uint8
    np.testing.assert_array_equal(tile[0, 5:14, 5:14, 0], low)
    # The padding is a reflection.
    np.testing.assert_array_equal(tile[0, :5, 5:14, 0], low[4::-1])
    state = state.replace(params=jax.tree.map(lambda x: x + 0.02, state.params))
    records = jax.jit(task.evaluations['eval'].evaluate)(state, batch)
    answers = {
        '': task.predict(state.variables, {'image': tile})['image'][0, 15:42, 15:42, 0],
        'bicubic_': Image.fromarray(low).resize((27, 27), Image.BICUBIC),
    }
    for prefix, answer in answers.items():
        pair = [
            np.round(np.clip(image, 0, 255))[3:-3, 3:-3].astype(np.float64)
            for image in (whole[..., 0], answer)
        ]
        psnr = -10 * np.log10(float(records[f'{prefix}error_y'][0]))
        # A pixel in the middle may round the other way.
        assert psnr == pytest.approx(
            peak_signal_noise_ratio(*pair, data_range=255), abs=0.01
        )
        assert float(records[f'{prefix}ssim_y'][0]) == pytest.approx(
            structural_similarity(
                *pair,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            ),
            abs=1e-3,
        )


def photograph(height=30, width=34):
    y, x = np.mgrid[:height, :width]
    return (127 + 60 * np.sin(x / 2) + 60 * np.cos(y * x / 40)).astype(np.uint8)[
        ..., None
    ]


@pytest.mark.parametrize(
    'pool, psnr, names',
    [
        ('label', (20 + 40) / 2, {'psnr_y/cup': 20.0, 'psnr_y/cat': 40.0}),
        ('image', (-10 * np.log10(0.004) - 10 * np.log10(0.016) + 40) / 3, {}),
    ],
)
def test_psnr_is_pooled_over_the_tiles_of_a_photograph(pool, psnr, names):
    records = {
        'index': np.arange(3),
        'label': np.array([2, 2, 0]),
        'error_y': np.array([0.004, 0.016, 1e-4], np.float32),
        'bicubic_error_y': np.array([0.02, 0.02, 0.02], np.float32),
        'ssim_y': np.array([0.1, 0.3, 0.6]),
        'bicubic_ssim_y': np.zeros(3),
    }
    summary = metrics.summarize(pool, ['cat', 'dog', 'cup'], records)
    assert summary['psnr_y'] == pytest.approx(psnr, abs=1e-5)
    assert summary['gain_y'] == pytest.approx(psnr + 10 * np.log10(0.02), abs=1e-5)
    assert summary['ssim_y'] == pytest.approx(0.4 if pool == 'label' else 1 / 3)
    of_classes = {name: value for name, value in summary.items() if '/' in name}
    assert of_classes == pytest.approx(names)


def test_the_psnr_of_an_image_without_error_is_100_db():
    records = {
        'index': np.arange(1),
        'label': np.zeros(1, int),
        'error_y': np.zeros(1),
        'bicubic_error_y': np.zeros(1),
    }
    assert metrics.summarize('image', [], records) == {
        'psnr_y': 100.0,
        'gain_y': 0.0,
        'bicubic_y': 100.0,
    }


def test_crops_are_random_in_training_and_central_in_evaluation():
    spec = Spec(
        inputs={'image': ArraySpec((16, 16, 1))},
        targets={},
        details=super_resolution.Details(crop=12),
    )
    prepare = super_resolution.make_prepare(configured('task.patch=3'), spec)
    image = np.arange(20 * 15, dtype=np.int64).astype(np.uint8).reshape(20, 15, 1)
    example = {'image': image, 'label': np.int32(3)}
    np.testing.assert_array_equal(prepare(example, None)['truth'], image[4:16, 1:13])
    crops = [prepare(example, np.random.default_rng(seed)) for seed in range(300)]
    assert all(
        crop['truth'].shape == (6, 6, 1) and crop['label'] == 3 for crop in crops
    )
    assert len({crop['truth'].tobytes() for crop in crops}) > 100  # of 15 x 10
    rng = np.random.default_rng(0)
    for width, generator, message in (
        (11, None, '11x20 pixels, fewer than a crop of 12x12. Lower data.image_size'),
        (5, rng, '5x20 pixels, fewer than a crop of 6x6. Lower task.patch'),
    ):
        with pytest.raises(Unreadable, match=message):
            prepare({'image': image[:, :width], 'label': 0}, generator)


def test_predictions_of_uint8_and_float_images_are_equal(opened):
    task, state, _, _ = opened()
    image = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    predict = jax.jit(task.predict)
    enlarged = predict(state.variables, {'image': image})['image']
    of_floats = predict(state.variables, {'image': image.astype(np.float32)})['image']
    np.testing.assert_allclose(of_floats, enlarged, atol=1e-4)
    assert enlarged.shape == (2, 32, 32, 1)
    assert enlarged.min() >= 0 and enlarged.max() <= 255


def test_tiles_give_the_pixels_of_the_whole_image_except_at_its_border(opened):
    """Five convolutions in sequence have a reach of five pixels."""
    task, state, _, spec = opened()
    params = random_leaves(state.params['model'])
    params['last'] = jax.tree.map(
        lambda x: 0.01 * x, params['last']
    )  # stays in [0, 255]
    variables = {**state.variables, 'params': {'model': params}}
    answer = jax.jit(lambda image: task.predict(variables, {'image': image})['image'])
    image = photograph(31, 45) // 2 + 64
    size = spec.inputs['image'].shape[:2]
    assert task.tiling == Tiling(scale=2, overlap=10)
    cut, corners = tiles.split(image, size, task.tiling.overlap)
    joined = tiles.join(np.asarray(answer(cut)), corners, (31, 45), overlap=10, scale=2)
    whole = np.asarray(answer(image[None]))[0]
    np.testing.assert_allclose(joined[10:-10, 10:-10], whole[10:-10, 10:-10], atol=1e-3)
    assert np.abs(whole - np.repeat(np.repeat(image, 2, 0), 2, 1)).mean() > 1


def test_an_exported_upscaler_gives_the_same_images(tmp_path):
    begun = run.begin(
        configured('task.scale=3', 'task.patch=5', 'data.image_size=27'), tmp_path
    )
    side = begun.spec.inputs['image'].shape[0]
    images = (
        np.random.default_rng(0).integers(0, 256, (3, side, side, 1)).astype(np.uint8)
    )
    assert_exported_alike(begun, {'image': images}, tmp_path)


def test_the_noise_of_the_evaluation_depends_on_the_row_alone(opened):
    task, _, batch, _ = opened('task.degradation.noise=0.1')
    inputs = jax.jit(task.evaluations['eval'].inputs)
    whole = inputs(batch)['image']
    again = inputs(batch)['image']
    part = inputs(jax.tree.map(lambda x: x[3:5], batch))['image']
    np.testing.assert_array_equal(whole, again)
    np.testing.assert_array_equal(whole[3:5], part)
    other_rows = inputs({**batch, 'index': batch['index'] + 100})['image']
    assert (other_rows != whole).mean() > 0.3


def test_without_an_adversarial_loss_there_is_no_discriminator(opened):
    task, state, batch, _ = opened('optimizer.ema=0.9')
    assert set(state.params) == {'model'} == set(state.ema['params'])
    _, scalars = jax.jit(task.update)(state, batch)

    # Training starts at bicubic interpolation.
    @jax.jit
    def bicubic_error(truth):
        low = super_resolution.degrade_images(
            configured().task, state.key, batch['index'], truth
        )
        return jnp.abs(edsr.bicubic(low, 2) - truth).mean()

    error = float(bicubic_error(batch['truth'] / 255))
    assert scalars['loss'] == pytest.approx(error, rel=0.02)


def test_a_step_of_srgan_changes_both_networks_and_adds_three_losses(opened, trained):
    task, state, batch, spec = opened(
        'task.adversarial_weight=0.01',
        'task.discriminator=4-8',
        'task.perceptual_weight=0.1',
        f'task.feature_extractor={trained}',
        'task.layer=stage1',
        'task.loss=mse',
    )
    assert set(state.params) == {'model', 'discriminator'}
    assert set(spec.networks) == set(state.frozen) == {'feature_extractor'}
    new, scalars = jax.jit(task.update)(state, batch)
    for network in state.params:
        has_changed = jax.tree.map(
            lambda a, b: bool((a != b).any()),
            state.params[network],
            new.params[network],
        )
        assert any(jax.tree.leaves(has_changed))
    terms = [scalars[term] for term in ('mse', 'perceptual', 'adversarial')]
    assert scalars['loss'] == pytest.approx(float(sum(terms)), rel=1e-5)
    assert scalars['perceptual'] > 0
    # An untrained discriminator has a loss of about 2 log 2.
    assert 0.3 < scalars['discriminator/loss'] < 5


@pytest.mark.parametrize(
    'overrides, message',
    [
        (
            ['task.patch=15'],
            'task.patch=15: expected at most 14, because the images have 28x28 pixels',
        ),
        (['task.patch=0'], 'task.patch=0: expected a whole number >= 1'),
        (['task.loss=l3'], "task.loss='l3': expected one of 'l1', 'mse'"),
        (
            ['task.psnr_pool=batch'],
            "task.psnr_pool='batch': expected one of 'image', 'label'",
        ),
        (
            ['task.degradation.jpeg=200'],
            'jpeg=200: expected a whole number >= 0, <= 100',
        ),
        (['task.degradation.noise=-1.0'], 'noise=-1.0: expected a number >= 0'),
        (['task.adversarial_loss=gan'], "'gan'"),
        (['task.tile=0'], 'task.tile=0: expected a whole number >= 1'),
        (
            ['task.adversarial_weight=-1.0'],
            'adversarial_weight=-1.0: expected a number >= 0',
        ),
        (['train.best=psnr'], "did you mean 'psnr_y'"),
    ],
)
def test_a_wrong_setting_is_an_error(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.run(configured(*overrides), tmp_path / 'run')
    assert not (tmp_path / 'run' / 'config.json').exists()
