"""Inpainting: training, holes, metrics, prediction and export on 8x8 digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawing
from helpers.exporting import assert_exported_alike
from helpers.steps import take_step
from helpers.untrained import save_untrained
from PIL import Image

import jaxvision
from jaxvision.cli.predict import command as predict
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Preprocessing
from jaxvision.core.task import Tiling
from jaxvision.data import pipeline
from jaxvision.image import fill
from jaxvision.train import evaluation, loop, run


def small(*overrides):
    config = configs.default('inpainting')
    base = (
        'data.source=digits',
        'data.batch_size=8',
        'model.name=unet',
        'model.variant=4x1-6x1',
        'model.options.convolution=plain',
        'task.box_size=4',
        'task.discriminator=4',
        'optimizer.lr=0.01',
        'optimizer.ema=0.5',
        'train.steps=6',
        'train.log_every=1',
        'train.eval_every=6',
        'train.checkpoint_every=6',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


def first_batch(begun, split='train', size=8):
    source = begun.sources[split]
    rng = np.random.default_rng(0) if split == 'train' else None
    prepared = [begun.task.prepare(source[row], rng) for row in range(size)]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(size, dtype=np.int32)}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('inpainting')
    config = small(
        'train.steps=40', 'train.eval_every=20', 'task.adversarial_weight=0.01'
    )
    with drawing.done():
        result = loop.run(config, workdir)
    return workdir, result


def test_a_run_with_a_discriminator_learns_and_draws_strips(trained):
    workdir, result = trained
    assert result.finished and result.metrics['eval/psnr_hole'] > 0
    names = run.reopen(workdir).task.main.metrics
    assert result.metrics.keys() == {f'eval/{name}' for name in names}
    assert result.metrics['eval/mse_hole'] == pytest.approx(
        10 ** (-result.metrics['eval/psnr_hole'] / 10)
    )
    assert (workdir / 'figures' / 'strips.png').exists()
    scalars = (workdir / 'metrics.jsonl').read_text()
    assert 'train/discriminator/loss' in scalars and 'train/adversarial' in scalars


def test_predict_refuses_a_colour_image_for_a_grey_network(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save('colour.png')
    Image.fromarray(pixels).convert('L').save('grey.png')
    Image.fromarray(np.eye(9, dtype=bool)).save('mask.png')
    exit_code = predict.main(
        ['--workdir', str(trained[0]), 'colour.png', 'grey.png', '--mask', 'mask.png']
    )
    assert exit_code == 1
    out = capsys.readouterr().out
    assert 'it has colours' in out and '1 of 2 files predicted' in out


@pytest.mark.parametrize('convolution', ['gated', 'partial'])
def test_an_exported_inpainter_gives_the_same_images(convolution, tmp_path):
    begun = run.begin(small(f'model.options.convolution={convolution}'), tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    masks = 255 * (rng.random((3, 8, 8, 1)) < 0.3).astype(np.uint8)
    assert_exported_alike(begun, {'image': images, 'mask': masks}, tmp_path)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_pixels_outside_the_hole_are_unchanged_to_the_bit(trained, dtype):
    task, variables, _ = jaxvision.load(trained[0])
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (3, 8, 8, 1)).astype(dtype)
    mask = (rng.random((3, 8, 8, 1)) < 0.3).astype(np.uint8) * rng.integers(
        1, 256, dtype=np.uint8
    )
    answer = np.asarray(
        jax.jit(task.predict)(variables, {'image': image, 'mask': mask})['image']
    )
    assert answer.dtype == np.float32 and answer.min() >= 0 and answer.max() <= 255
    np.testing.assert_array_equal(answer[mask == 0], image[mask == 0])
    assert (answer != image)[mask > 0].any()
    # The pixels under the mask do not matter.
    other = np.where(mask > 0, image.dtype.type(77), image)
    np.testing.assert_array_equal(
        jax.jit(task.predict)(variables, {'image': other, 'mask': mask})['image'],
        answer,
    )


def test_psnr_pools_all_missing_values_of_the_split(trained):
    workdir, result = trained
    begun = run.reopen(workdir)
    state = begun.restore('last')
    batch = evaluation.examples(begun, 'test', 10**6)
    truth = batch['image'].astype(np.float64)
    hole = batch['mask'] > 0
    answer = jax.jit(begun.task.predict)(state.variables, batch)['image']
    mse = np.square((answer - truth) / 255)[hole].mean()
    assert result.metrics['eval/psnr_hole'] == pytest.approx(
        -10 * np.log10(mse), rel=1e-5
    )
    plate = jax.jit(jax.vmap(fill.thin_plate))(
        jnp.asarray(truth / 255, jnp.float32), jnp.asarray(hole)
    )
    mse = np.square(np.clip(plate, 0, 1) - truth / 255)[hole].mean()
    assert result.metrics['eval/plate_psnr_hole'] == pytest.approx(
        -10 * np.log10(mse), rel=1e-4
    )
    assert hole.reshape(len(hole), -1).sum(1).tolist() == [16] * len(hole)


@pytest.mark.parametrize('mask', ['box', 'free_form', 'border'])
def test_the_holes_of_the_evaluation_depend_on_the_row_alone(mask, tmp_path):
    begun = run.begin(small(f'task.mask={mask}', 'task.border_width=2'), tmp_path / 'a')
    other = run.begin(
        small(f'task.mask={mask}', 'task.border_width=2', 'seed=5'), tmp_path / 'b'
    )
    first = first_batch(begun, 'test')['mask']
    np.testing.assert_array_equal(first, first_batch(other, 'test')['mask'])
    assert first.shape == (8, 8, 8, 1) and set(np.unique(first)) == {0, 255}
    assert (len(np.unique(first, axis=0)) > 4) == (mask != 'border')
    # They are the same in a batch of another size and at another place in a batch.
    batches = pipeline.eval_batches(
        begun.sources['test'], begun.task.prepare, batch_size=5
    )
    np.testing.assert_array_equal(next(batches)['mask'], first[:5])
    np.testing.assert_array_equal(next(batches)['mask'][:3], first[5:])


@pytest.mark.parametrize('loss, norm', [('mse', 2), ('l1', 1)])
def test_the_first_loss_is_the_mean_error_of_the_smooth_filling(loss, norm, tmp_path):
    """The network starts at zero, and the border is not random."""
    begun = run.begin(
        small('task.mask=border', 'task.border_width=2', f'task.loss={loss}'),
        tmp_path / 'run',
    )
    batch = first_batch(begun)
    _, scalars = take_step(begun, begun.init(), batch)
    image = batch['image'] / np.float32(255)
    hole = np.ones((8, 8, 1), bool)
    hole[2:-2, 2:-2] = False
    fill_all = jax.jit(jax.vmap(fill.thin_plate, (0, None)))
    smooth = fill_all(jnp.asarray(image), jnp.asarray(hole))
    expected = (np.abs(np.clip(smooth, 0, 1) - image)[:, hole] ** norm).mean()
    assert scalars['loss'] == pytest.approx(expected, rel=1e-5)
    assert scalars[loss] == scalars['loss']


def test_a_step_changes_the_model_and_the_discriminator(tmp_path):
    begun = run.begin(
        small('task.adversarial_weight=1.0', 'task.adversarial_loss=relativistic'),
        tmp_path / 'run',
    )
    first = begun.init()
    params = jax.tree.map(np.array, first.params)
    spectral_norms = jax.tree.map(np.array, first.model_state['discriminator'])
    new, scalars = take_step(begun, first, first_batch(begun))

    def has_changed(old, new):
        return any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), old, new)))

    for network in ('model', 'discriminator'):
        assert has_changed(params[network], new.params[network]), network
    assert has_changed(spectral_norms, new.model_state['discriminator'])
    assert {'loss', 'mse', 'adversarial', 'discriminator/loss', 'lr'} <= scalars.keys()


def test_the_perceptual_loss_is_added_to_the_pixel_loss(tiny, tmp_path):
    extractor = tmp_path / 'feature_extractor'
    save_untrained(tiny(), extractor)
    config = small(
        'task.perceptual_weight=2.0',
        f'task.feature_extractor={extractor}',
        'task.layer=stage1',
    )
    begun = run.begin(config, tmp_path / 'run')
    _, scalars = take_step(begun, begun.init(), first_batch(begun))
    assert scalars['perceptual'] > 0
    np.testing.assert_allclose(
        scalars['loss'], scalars['mse'] + scalars['perceptual'], rtol=1e-6
    )


def test_images_of_unequal_size_are_cropped_at_random_or_to_the_centre(
    photos, tmp_path
):
    begun = run.begin(
        small(f'data.source=folder:{photos}', 'data.image_size=8', 'task.crop=6'),
        tmp_path / 'run',
    )
    assert begun.spec.inputs == {
        'image': ArraySpec((8, 8, 1), 'uint8'),
        'mask': ArraySpec((8, 8, 1), 'uint8'),
    }
    assert begun.spec.preprocessing == Preprocessing(
        size=(8, 8), resize='central_square'
    )
    assert begun.task.tiling == Tiling(scale=1, overlap=2, blend=2)
    batch = first_batch(begun)
    tested = first_batch(begun, 'test')
    assert batch['image'].shape == (8, 6, 6, 1) and 'mask' not in batch
    assert tested['image'].shape == tested['mask'].shape == (8, 8, 8, 1)
    _, scalars = take_step(begun, begun.init(), batch)
    assert np.isfinite(scalars['loss'])


def test_the_mask_of_a_user_is_kept(tmp_path):
    begun = run.begin(small(), tmp_path / 'run')
    image = np.zeros((8, 8, 1), np.uint8)
    mask = np.ones((8, 8, 1), np.uint8)
    prepared = begun.task.prepare({'image': image, 'mask': mask}, None)
    np.testing.assert_array_equal(prepared['mask'], mask)
    assert 'mask' not in begun.task.prepare({'image': image}, None)


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.mask=circle', "task.mask='circle': expected one of 'box', 'free_form'"),
        ('task.box_size=9', 'task.box_size=9: expected at most 8'),
        ('task.box_size=0', 'task.box_size=0: expected a whole number >= 1'),
        (
            'task.free_form_fraction=1.5',
            'task.free_form_fraction=1.5: expected a number > 0, <= 1',
        ),
        ('task.loss=l2', "task.loss='l2': expected one of 'l1', 'mse'"),
        ('task.crop=9', 'task.crop=9: expected at most 8'),
        ('task.adversarial_loss=hing', "Did you mean 'hinge'"),
        (
            'task.adversarial_weight=-1',
            'adversarial_weight=-1.0: expected a number >= 0',
        ),
        ('task.augment.translate=2', 'translate=2.0: expected a number >= 0, <= 1'),
        ('train.best=psnr', "did you mean 'psnr_hole'"),
    ],
)
def test_a_wrong_setting_is_an_error(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.run(small(override), tmp_path / 'run')
    assert not (tmp_path / 'run' / 'config.json').exists()
