import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.exporting import assert_exported_alike
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
from jaxvision.train.update import guarded


def small(*overrides):
    config = configs.default('inpainting')
    base = (
        'data.source=digits',
        'data.batch_size=16',
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


def first_batch(this, split='train', size=8):
    source = this.sources[split]
    rng = np.random.default_rng(0) if split == 'train' else None
    prepared = [this.task.prepare(source[row], rng) for row in range(size)]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(size, dtype=np.int32)}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('inpainting')
    result = loop.run(
        small('train.steps=40', 'train.eval_every=20', 'task.adversarial_weight=0.01'),
        workdir,
    )
    return workdir, result


def test_a_run_with_two_players_learns_and_draws_strips(trained):
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


def test_a_photograph_in_colour_is_not_made_grey(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save('colour.png')
    Image.fromarray(pixels).convert('L').save('grey.png')
    Image.fromarray(np.eye(9, dtype=bool)).save('mask.png')
    said = predict.main(
        ['--workdir', str(trained[0]), 'colour.png', 'grey.png', '--mask', 'mask.png']
    )
    assert said == 1
    out = capsys.readouterr().out
    assert 'it has colours' in out and '1 of 2 files predicted' in out


@pytest.mark.parametrize('convolution', ['gated', 'partial'])
def test_the_inpainter_is_exported(convolution, tmp_path):
    this = run.begin(small(f'model.options.convolution={convolution}'), tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    masks = 255 * (rng.random((3, 8, 8, 1)) < 0.3).astype(np.uint8)
    assert_exported_alike(this, {'image': images, 'mask': masks}, tmp_path)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_outside_the_hole_the_given_pixels_come_back_to_the_bit(trained, dtype):
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
    # What is under the mask is not seen.
    other = np.where(mask > 0, image.dtype.type(77), image)
    np.testing.assert_array_equal(
        jax.jit(task.predict)(variables, {'image': other, 'mask': mask})['image'],
        answer,
    )


def test_psnr_is_of_all_missing_values_together(trained):
    workdir, result = trained
    this = run.reopen(workdir)
    state = this.restore('last')
    batch = evaluation.examples(this, 'test', 10**6)
    truth, hole = batch['image'].astype(np.float64), batch['mask'] > 0
    answer = jax.jit(this.task.predict)(state.variables, batch)['image']
    mse = np.square((answer - truth) / 255)[hole].mean()
    assert result.metrics['eval/psnr_hole'] == pytest.approx(
        -10 * np.log10(mse), rel=1e-5
    )
    plate = jax.vmap(fill.thin_plate)(
        jnp.asarray(truth / 255, jnp.float32), jnp.asarray(hole)
    )
    mse = np.square(np.clip(plate, 0, 1) - truth / 255)[hole].mean()
    assert result.metrics['eval/plate_psnr_hole'] == pytest.approx(
        -10 * np.log10(mse), rel=1e-4
    )
    assert hole.reshape(len(hole), -1).sum(1).tolist() == [16] * len(hole)


@pytest.mark.parametrize('mask', ['box', 'free_form', 'border'])
def test_evaluations_holes_are_a_function_of_the_row_alone(mask, tmp_path):
    this = run.begin(small(f'task.mask={mask}', 'task.border_width=2'), tmp_path / 'a')
    other = run.begin(
        small(f'task.mask={mask}', 'task.border_width=2', 'seed=5'), tmp_path / 'b'
    )
    first, second = (first_batch(one, 'test')['mask'] for one in (this, other))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (8, 8, 8, 1) and set(np.unique(first)) == {0, 255}
    assert (len(np.unique(first, axis=0)) > 4) == (mask != 'border')
    # In a batch of another size, and at another place in it, they are the same.
    batches = pipeline.eval_batches(
        this.sources['test'], this.task.prepare, batch_size=5
    )
    np.testing.assert_array_equal(next(batches)['mask'], first[:5])
    np.testing.assert_array_equal(next(batches)['mask'][:3], first[5:])


@pytest.mark.parametrize('loss, norm', [('mse', 2), ('l1', 1)])
def test_the_loss_is_the_mean_over_all_missing_values_of_the_smooth_filling_at_first(
    loss, norm, tmp_path
):
    """Whose network begins at zero; and the border leaves no chance."""
    this = run.begin(
        small('task.mask=border', 'task.border_width=2', f'task.loss={loss}'),
        tmp_path / 'run',
    )
    batch = first_batch(this)
    _, scalars = jax.jit(guarded(this.task.update))(this.init(), batch)
    image, hole = batch['image'] / np.float32(255), np.ones((8, 8, 1), bool)
    hole[2:-2, 2:-2] = False
    smooth = jax.vmap(fill.thin_plate, (0, None))(jnp.asarray(image), jnp.asarray(hole))
    wanted = (np.abs(np.clip(smooth, 0, 1) - image)[:, hole] ** norm).mean()
    assert scalars['loss'] == pytest.approx(wanted, rel=1e-5)
    assert scalars[loss] == scalars['loss']


def test_each_player_moves_in_its_turn(tmp_path):
    this = run.begin(
        small('task.adversarial_weight=1.0', 'task.adversarial_loss=relativistic'),
        tmp_path / 'run',
    )
    state = this.init()
    new, scalars = jax.jit(guarded(this.task.update))(state, first_batch(this))
    for player in ('model', 'discriminator'):
        moved = jax.tree.map(
            lambda a, b: (a != b).any(), state.params[player], new.params[player]
        )
        assert any(jax.tree.leaves(moved)), player
    u = jax.tree.leaves(state.model_state['discriminator'])
    assert any(
        (a != b).any()
        for a, b in zip(
            u, jax.tree.leaves(new.model_state['discriminator']), strict=True
        )
    )
    assert {'loss', 'mse', 'adversarial', 'discriminator/loss', 'lr'} <= scalars.keys()


def test_the_perceptual_term_is_the_distance_in_a_classifiers_eyes(
    tiny, tmp_path, no_pictures
):
    judge = tmp_path / 'feature_extractor'
    loop.run(
        tiny('train.steps=2', 'train.eval_every=2', 'train.checkpoint_every=2'), judge
    )
    config = small(
        'task.perceptual_weight=2.0',
        f'task.feature_extractor={judge}',
        'task.layer=stage1',
    )
    this = run.begin(config, tmp_path / 'run')
    _, scalars = jax.jit(guarded(this.task.update))(this.init(), first_batch(this))
    assert scalars['perceptual'] > 0
    np.testing.assert_allclose(
        scalars['loss'], scalars['mse'] + scalars['perceptual'], rtol=1e-6
    )


def test_images_of_unequal_size_are_cropped_to_train_and_central_to_evaluate(
    photos, tmp_path
):
    this = run.begin(
        small(f'data.source=folder:{photos}', 'data.image_size=8', 'task.crop=6'),
        tmp_path / 'run',
    )
    assert this.spec.inputs == {
        'image': ArraySpec((8, 8, 1), 'uint8'),
        'mask': ArraySpec((8, 8, 1), 'uint8'),
    }
    assert this.spec.preprocessing == Preprocessing(
        size=(8, 8), resize='central_square'
    )
    assert this.task.tiling == Tiling(scale=1, overlap=2, blend=2)
    batch, tested = first_batch(this), first_batch(this, 'test')
    assert batch['image'].shape == (8, 6, 6, 1) and 'mask' not in batch
    assert tested['image'].shape == tested['mask'].shape == (8, 8, 8, 1)
    _, scalars = jax.jit(guarded(this.task.update))(this.init(), batch)
    assert np.isfinite(scalars['loss'])


def test_a_persons_own_mask_is_not_drawn_over(tmp_path):
    this = run.begin(small(), tmp_path / 'run')
    image, mask = np.zeros((8, 8, 1), np.uint8), np.ones((8, 8, 1), np.uint8)
    prepared = this.task.prepare({'image': image, 'mask': mask}, None)
    np.testing.assert_array_equal(prepared['mask'], mask)
    assert 'mask' not in this.task.prepare({'image': image}, None)


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
def test_a_mistake_in_the_config_is_named(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(override), tmp_path / 'run')
