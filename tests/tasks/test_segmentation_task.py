"""Segmentation: preparation, void pixels, metrics at the labels' resolution, training."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawing
from helpers.mask_files import write_pair
from PIL import Image

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.types import IGNORED
from jaxvision.tasks.segmentation import (
    augmentation,
    evaluation,
    preparation,
    task,
)
from jaxvision.train import evaluation as train_evaluation
from jaxvision.train import loop, run

CLASSES = ('background', 'disc')
MEASURES = evaluation.Measures(class_names=CLASSES)


def small(*overrides):
    config = configs.default('segmentation')
    base = (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'data.batch_size=8',
        'model.name=segmentation_unet',
        'model.variant=cnn:8x1-16x1-32x1-48x1',
        'model.options.finest=2',
        'optimizer.lr=0.01',
        'optimizer.schedule=constant',
        'optimizer.weight_decay=0',
        'train.log_every=2',
        *overrides,
    )
    for text in base:
        path, _, value = text.partition('=')
        configs.override(config, path, value)
    return config


def small_spec(config, size=(32, 48), with_objects=False):
    return Spec(
        inputs={'image': ArraySpec((*size, 3))},
        targets=preparation.targets(size, with_objects),
        class_names=CLASSES,
        preprocessing=Preprocessing(
            size=size, resize='letterbox', mean=(0.5,) * 3, std=(0.5,) * 3
        ),
    )


def example(size=(20, 40)):
    """A bright rectangle on a dark ground, with a void column."""
    semantic = np.zeros(size, np.uint8)
    semantic[5:15, 10:30] = 1
    semantic[:, -4:] = IGNORED
    image = np.where(semantic == 1, 200, 20).astype(np.uint8)
    return {
        'image': np.repeat(image[..., None], 3, axis=2),
        'semantic': semantic,
        'instances': (semantic == 1).astype(np.int32),
    }


def test_the_canvas_around_an_image_is_void():
    prepare = preparation.make_prepare(small(), small_spec(small()))
    prepared = prepare(example(), None)
    assert prepared['semantic'].shape == (32, 48)
    assert (prepared['semantic'][:4] == IGNORED).all()
    assert (prepared['semantic'][-4:] == IGNORED).all()
    assert set(np.unique(prepared['semantic'][4:-4])) == {0, 1, IGNORED}
    assert prepared['original_size'].tolist() == [20, 40]


@pytest.mark.parametrize('seed', range(6))
def test_random_places_move_image_and_labels_together(seed):
    config = small('task.augment.scale=0.5', 'task.augment.rotate=20')
    prepare = preparation.make_prepare(config, small_spec(config))
    prepared = prepare(example(), np.random.default_rng(seed))
    labels = prepared['semantic']
    bright = prepared['image'][..., 0] > 150
    dark = prepared['image'][..., 0] < 30
    assert (labels == 1).sum() > 50
    assert np.isin(labels[bright], (1, IGNORED)).mean() > 0.97
    assert np.isin(labels[dark], (0, IGNORED)).mean() > 0.97


def test_flips_and_turns_move_every_map_alike():
    config = small('task.augment.turn=True', 'task.augment.flip=True')
    images = jax.random.uniform(jax.random.key(0), (8, 6, 6, 1))
    maps = {'semantic': images[..., 0], 'center': 2 * images[..., 0]}
    moved_images, moved = augmentation.apply(
        config.task.augment, jax.random.key(1), jnp.arange(8), images, maps
    )
    np.testing.assert_array_equal(moved_images[..., 0], moved['semantic'])
    np.testing.assert_array_equal(2 * moved['semantic'], moved['center'])
    turns = set()
    for before, after in zip(images[..., 0], moved['semantic'], strict=True):
        for flip in (False, True):
            start = before[:, ::-1] if flip else before
            for quarters in range(4):
                if np.array_equal(np.rot90(start, quarters), after):
                    turns.add((flip, quarters))
    assert len(turns) >= 4


def test_images_that_are_not_square_are_turned_by_half_turns():
    config = small('task.augment.turn=True')
    images = jax.random.uniform(jax.random.key(0), (8, 4, 6, 1))
    maps = {'semantic': images[..., 0]}
    moved_images, moved = augmentation.apply(
        config.task.augment, jax.random.key(1), jnp.arange(8), images, maps
    )
    np.testing.assert_array_equal(moved_images[..., 0], moved['semantic'])
    turns = set()
    for before, after in zip(images[..., 0], moved['semantic'], strict=True):
        forms = {
            'same': before,
            'half turn': before[::-1, ::-1],
            'mirrored': before[:, ::-1],
            'upside down': before[::-1],
        }
        names = [name for name, form in forms.items() if np.array_equal(form, after)]
        turns.update(names)
        assert names
    assert len(turns) >= 3


@pytest.fixture(scope='module')
def few():
    """A training split of 8 scenes and a test split of the same size."""
    from jaxvision.data import digit_scenes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, 'LENGTHS', (8, 8))
        yield


@pytest.fixture(scope='module')
def heart(few, tmp_path_factory):
    """A run that has learned eight scenes and their objects by heart."""
    workdir = tmp_path_factory.mktemp('heart')
    config = small(
        'task.objects=true',
        'data.image_size=48',
        'train.steps=90',
        'train.eval_every=90',
        'train.checkpoint_every=90',
    )
    with drawing.done():
        result = loop.run(config, workdir)
    return run.reopen(workdir), result


def records_of(this, split):
    """The records of a split, from the last checkpoint."""
    main = this.task.main
    source = this.sources[split]
    examples = [this.task.prepare(source[row], None) for row in range(8)]
    batch = {name: np.stack([item[name] for item in examples]) for name in examples[0]}
    batch['index'] = np.arange(8, dtype=np.int32)
    records = jax.jit(main.evaluate)(this.restore('last'), batch)
    return train_evaluation.compact(main, source, jax.device_get(records))


def test_eight_scenes_are_learned_by_heart(heart):
    this, result = heart
    metrics = this.task.main.summarize(records_of(this, 'train'))
    assert metrics['miou'] > 0.8
    # Classes without a pixel in the split have no IoU.
    names = {f'eval/{name}' for name in this.task.main.metrics}
    assert result.metrics.keys() <= names
    assert {'eval/miou', 'eval/dice', 'eval/ap50'} <= result.metrics.keys()


def test_discs_that_touch_each_other_are_separated(tmp_path, no_pictures):
    folder = tmp_path / 'discs'
    for name in ('images', 'masks'):
        (folder / 'train' / name).mkdir(parents=True)
        (folder / 'test' / name).mkdir(parents=True)
    for seed in range(10):
        instances = touching_discs(seed)
        image = np.where(instances > 0, 180, 40).astype(np.uint8)
        split = 'test' if seed >= 8 else 'train'
        Image.fromarray(image).convert('RGB').save(
            folder / split / 'images' / f'{seed}.png'
        )
        Image.fromarray(instances.astype(np.uint16)).save(
            folder / split / 'masks' / f'{seed}.png'
        )
    config = small(
        f'data.source=masks:{folder}',
        'task.objects=true',
        'task.augment.turn=true',
        'train.steps=40',
        'train.eval_every=40',
        'train.checkpoint_every=40',
    )
    metrics = loop.run(config, tmp_path / 'run').metrics
    assert metrics['eval/dice'] > 0.9
    assert metrics['eval/ap50'] > 0.7


def test_the_recipe_for_cells_trains_on_images_smaller_than_its_part(tmp_path):
    size = (40, 56)
    for seed in range(5):
        instances = touching_discs(seed)[: size[0], : size[1]]
        write_pair(tmp_path / 'cells', str(seed), instances.astype(np.uint16))
    config = configs.load(f'segmentation:masks:{tmp_path}/cells,cells')
    assert config.task.augment.part > max(size)
    config.model.variant = 'cnn:4x1-8x1'
    config.model.options = {'finest': 1}
    this = run.begin(config, tmp_path / 'run')
    source = this.sources['train']
    examples = [
        this.task.prepare(source[row], np.random.default_rng(row)) for row in range(2)
    ]
    batch = {key: np.stack([item[key] for item in examples]) for key in examples[0]}
    side = min(size)
    assert batch['image'].shape == (2, side, side, 3)
    assert batch['semantic'].shape == batch['center'].shape == (2, side, side)
    assert (batch['semantic'] == 1).any()
    batch['index'] = np.arange(2, dtype=np.int32)
    state = this.init()
    _, scalars = jax.eval_shape(this.task.update, state, batch)
    assert {'cross_entropy', 'center', 'border'} <= scalars.keys()


def touching_discs(seed, side=64):
    """Four pairs of discs: the discs of a pair touch each other."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:side, :side]
    instances = np.zeros((side, side), np.int32)
    for top in (2, 34):
        for left in (0, 32):
            radius = rng.integers(5, 7)
            y = top + rng.integers(8, 20)
            for x in (left + 8, left + 8 + 2 * radius - 1):
                is_inside = (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
                instances[is_inside & (instances == 0)] = instances.max() + 1
    return instances


def test_pictures_show_predictions_and_the_confusion_of_classes(heart):
    this, _ = heart
    records = records_of(this, 'train')
    pictures = this.task.figures(
        records, lambda row: this.task.prepare(this.sources['train'][row], None)
    )
    assert pictures.keys() == {'predictions', 'confusion'}
    assert all(picture.dtype == np.uint8 for picture in pictures.values())


def test_a_prediction_is_compared_at_the_labels_own_resolution():
    truth = example((37, 53))
    prepare = preparation.make_prepare(small(), small_spec(small(), (32, 48)))
    prepared = prepare(truth, None)
    labels = np.where(prepared['semantic'] == 1, 1, 0)
    record = {
        'probabilities': np.eye(2, dtype=np.float32)[labels],
        'warp': prepared['warp'],
        'original_size': prepared['original_size'],
        'index': np.int32(0),
    }
    confusion = MEASURES.compact(record, truth)['confusion']
    assert confusion.sum() == (truth['semantic'] != IGNORED).sum()
    assert np.diag(confusion).sum() > 0.97 * confusion.sum()
    # Void pixels and the canvas around the image are free.
    record['probabilities'] = np.where(
        prepared['semantic'][..., None] == IGNORED, [0, 1], record['probabilities']
    ).astype(np.float32)
    again = MEASURES.compact(record, truth)['confusion']
    assert np.abs(again - confusion).sum() <= 2 * 37


def test_void_pixels_teach_nothing(heart):
    this, _ = heart
    source = this.sources['train']
    prepared = this.task.prepare(source[0], np.random.default_rng(0))
    assert prepared.keys() == {'image', *this.spec.targets}
    assert 'center' not in this.task.prepare(source[0], None)
    batch = {name: value[None] for name, value in prepared.items()}
    batch['index'] = np.zeros(1, np.int32)
    batch['semantic'] = np.full_like(batch['semantic'], IGNORED)
    state = this.init()
    new, scalars = jax.jit(this.task.update)(state, batch)
    assert float(scalars['loss']) == 0
    for before, after in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(new.params), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_a_killed_run_continues_equal_to_the_bit(
    few, tmp_path, monkeypatch, no_pictures
):
    @contextlib.contextmanager
    def stop_signal():
        yield lambda step: step >= 2

    config = small(
        'task.objects=true',
        'optimizer.ema=0.9',
        'task.augment.turn=true',
        'task.augment.scale=0.3',
        'task.augment.rotate=5',
        'train.steps=4',
        'train.eval_every=4',
        'train.checkpoint_every=2',
    )
    loop.run(config, tmp_path / 'straight')
    with monkeypatch.context() as patch:
        patch.setattr(loop.processes, 'stop_signal', stop_signal)
        assert not loop.run(config, tmp_path / 'killed').finished
    loop.run(config, tmp_path / 'killed')
    states = [
        run.reopen(tmp_path / name).restore('last') for name in ('straight', 'killed')
    ]
    for a, b in zip(*(jax.tree.leaves((s.params, s.ema)) for s in states), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    'name, variant',
    [('fcn', 'resnet:18'), ('deeplab', 'resnet:18'), ('segformer', 'mit:b0')],
)
def test_coarse_logits_are_resized_to_the_image(few, name, variant):
    """The step and the prediction are traced, not computed."""
    config = small('task.objects=true')
    config.model.name = name
    config.model.variant = variant
    config.model.options = {}
    spec = small_spec(config, (64, 64), with_objects=True)
    built = task.make(config, spec)
    arrays = {**spec.inputs, **spec.targets, 'index': ArraySpec((), 'int32')}
    batch = {
        key: jax.ShapeDtypeStruct((2, *array.shape), array.dtype)
        for key, array in arrays.items()
    }
    state = jax.eval_shape(built.init, jax.random.key(0), batch)
    _, scalars = jax.eval_shape(built.update, state, batch)
    has_auxiliary = name != 'segformer'
    assert {'cross_entropy', 'dice', 'center', 'border'} <= scalars.keys()
    assert ('auxiliary' in scalars) == has_auxiliary
    outputs = jax.eval_shape(built.predict, state.variables, {'image': batch['image']})
    assert outputs['probabilities'].shape == (2, 64, 64, len(CLASSES))
    assert outputs['center'].shape == outputs['border'].shape == (2, 64, 64)


def test_every_loss_is_a_term_and_contours_are_measured(few, tmp_path):
    names = ('cross_entropy', 'focal', 'dice', 'tversky', 'lovasz', 'boundary')
    config = small(
        'model.variant=cnn:4x1-8x1',
        'model.options.finest=1',
        'task.surfaces=true',
        'task.loss.class_weights=1,2,2,2,2,2,2,2,2,2,0',
        *(f'task.loss.{name}=0.5' for name in names),
    )
    this = run.begin(config, tmp_path)
    source = this.sources['train']
    examples = [
        this.task.prepare(source[row], np.random.default_rng(row)) for row in range(8)
    ]
    batch = {key: np.stack([item[key] for item in examples]) for key in examples[0]}
    batch['index'] = np.arange(8, dtype=np.int32)
    _, scalars = jax.jit(this.task.update)(this.init(), batch)
    assert all(np.isfinite(float(scalars[name])) for name in names)
    total = sum(float(scalars[name]) for name in names)
    np.testing.assert_allclose(float(scalars['loss']), total, rtol=1e-5)

    # A perfect prediction has no distance, and fits everywhere.
    truth = source[0]['semantic']
    record = {
        'probabilities': np.eye(11, dtype=np.float32)[truth],
        'warp': np.eye(2, 3, dtype=np.float32),
        'index': np.int32(0),
    }
    records = {
        key: value[None]
        for key, value in this.task.main.compact(record, source[0]).items()
    }
    metrics = this.task.main.summarize(records)
    assert metrics.keys() <= set(this.task.main.metrics)
    assert metrics['hd95'] == metrics['asd'] == 0
    assert metrics['nsd'] == metrics['boundary_f'] == metrics['miou'] == 1


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.loss.class_weights=1,2', 'expected 11 numbers'),
        ('task.loss.class_weights=0,0,0,0,0,0,0,0,0,0,0', 'not all 0'),
        ('task.loss.cross_entropy=0 task.loss.dice=0', 'task.loss: expected a weight'),
        ('data.source=digits', 'this task needs semantic'),
        ('model.name=cnn', 'expected a segmentation network'),
    ],
)
def test_a_wrong_source_or_model_is_refused(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(*override.split()), tmp_path)


def test_class_weights_allow_a_comparison_with_one_more_class():
    """A run finds which pretrained parameters depend on the classes by one more of them."""
    config = small('task.loss.class_weights=1,2')
    spec = small_spec(config)
    for version in (spec, spec.with_another_name()):
        built = task.make(config, version)
        batch = {'image': np.zeros((1, 32, 48, 3), np.uint8)}
        state = jax.eval_shape(built.init, jax.random.key(0), batch)
        outputs = jax.eval_shape(built.predict, state.variables, batch)
        assert outputs['probabilities'].shape[-1] == len(version.class_names)
