"""Detection over the engine, on generated scenes of digits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.boxes import overlap
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.image.warp import Warp
from jaxvision.tasks.detection import (
    augmentation,
    evaluation,
    preparation,
    task,
)
from jaxvision.tasks.shared import placement
from jaxvision.train import automatic, checks, largest_batch, loop, run, saved, training
from jaxvision.train.sources import Sources


def small(*overrides):
    config = configs.default('detection')
    base = (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'data.batch_size=8',
        'model.name=dense_detector',
        'model.variant=cnn:4x1-8x1-16x1-16x1',
        'optimizer.lr=0.004',
        'train.steps=4',
        'train.log_every=1',
        'train.eval_every=4',
        'train.checkpoint_every=2',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    if config.model.name == 'dense_detector':
        config.model.options = {'strides': '4-8', 'width': 16, 'depth': 1}
    else:
        config.model.options = {
            'strides': '4-8',
            'width': 16,
            'hidden': 32,
            'anchor_scale': 4.0,
            'regions': 12,
            'pooled_size': 3,
        }
    return config


@pytest.fixture(scope='module')
def few():
    """A training split of 8 scenes and a test split of the same size."""
    from jaxvision.data import digit_scenes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, 'LENGTHS', (8, 8))
        yield


@pytest.fixture(scope='module', params=['dense_detector', 'faster_rcnn'])
def begun(request, few, tmp_path_factory):
    """A run before its first step, its state, and a batch of its scenes."""
    config = small(f'model.name={request.param}')
    this = run.begin(config, tmp_path_factory.mktemp('begun'))
    with training.train_batches(this, 0) as batches:
        batch = next(iter(batches))
    return this, this.init(), batch


def loss_of(this, state, batch):
    """The sums of the loss terms before the division, by name."""
    detector = this.task
    new, scalars = jax.jit(detector.update)(state, batch)
    return new, {name: float(value) for name, value in scalars.items()}


@pytest.mark.parametrize('name, steps', [('dense_detector', 60), ('faster_rcnn', 110)])
def test_eight_scenes_are_learned_by_heart(few, tmp_path, no_pictures, name, steps):
    config = small(
        f'model.name={name}',
        f'train.steps={steps}',
        f'train.eval_every={steps}',
        f'train.checkpoint_every={steps}',
        'optimizer.lr=0.008',
    )
    result = loop.run(config, tmp_path)
    this = run.reopen(tmp_path)
    state = this.restore('last')
    source = this.sources['train']
    batch = {
        name: np.stack([this.task.prepare(source[row], None)[name] for row in range(8)])
        for name in ('image', *this.spec.targets)
    }
    batch['index'] = np.arange(8, dtype=np.int32)
    outputs = jax.jit(this.task.predict)(state.variables, {'image': batch['image']})
    records = jax.tree.map(
        np.asarray, evaluation.record(outputs, jax.tree.map(jnp.asarray, batch))
    )
    found = this.task.main.summarize(records)
    assert found['ap50'] > 0.9
    assert result.metrics.keys() == {f'eval/{name}' for name in this.task.main.metrics}


def test_a_scene_without_objects_has_a_finite_loss_and_teaches_silence(begun):
    this, state, batch = begun
    empty = {**batch, 'box_mask': jnp.zeros_like(batch['box_mask'])}
    _, scalars = loss_of(this, state, empty)
    assert np.isfinite(scalars['loss'])
    assert scalars['class'] > 0
    assert scalars['box'] == 0
    assert scalars.get('anchor_box', 0) == 0


def test_room_for_more_boxes_changes_nothing(begun):
    this, state, batch = begun
    wide = dict(batch)
    for name in ('boxes', 'truth_boxes', 'box_classes', 'box_mask', 'crowd', 'area'):
        room = [(0, 0)] * batch[name].ndim
        room[1] = (0, 20)
        wide[name] = jnp.pad(batch[name], room)
    _, narrow = loss_of(this, state, batch)
    _, wider = loss_of(this, state, wide)
    names = {'loss', 'class', 'box', 'objectness', 'anchor_box'} & narrow.keys()
    assert len(names) in (3, 5)
    for name in names:
        assert narrow[name] == pytest.approx(wider[name], rel=1e-5)


def test_a_crowd_is_neither_learned_nor_held_against_the_model(begun):
    """Cells inside a crowd region get no loss, whatever they predict."""
    this, state, batch = begun
    everywhere = jnp.zeros_like(batch['boxes']).at[:, :, 2:].set(64.0)
    crowds = {
        **batch,
        'boxes': everywhere,
        'box_mask': jnp.ones_like(batch['box_mask']),
        'crowd': jnp.ones_like(batch['crowd']),
    }
    _, scalars = loss_of(this, state, crowds)
    assert scalars['class'] == scalars['box'] == 0
    assert scalars.get('objectness', 0) == 0


def test_detections_are_of_their_own_image_alone(begun):
    this, state, batch = begun
    predict = jax.jit(this.task.predict)
    variables = state.variables
    images = np.asarray(batch['image'])
    together = predict(variables, {'image': images})
    alone = predict(variables, {'image': images[2:3]})
    assert together['boxes'].shape == (8, 100, 4)
    np.testing.assert_allclose(together['scores'][2], alone['scores'][0], atol=1e-5)
    boxes = np.asarray(together['boxes'])
    assert (boxes >= 0).all()
    assert (boxes <= 64).all()


def test_evaluation_is_of_the_averaged_weights_and_statistics(few, tmp_path):
    this = run.begin(small('optimizer.ema=0.9'), tmp_path)
    batch = saved.blank_batch(this.spec, 2)
    state = this.init()
    broken = state.replace(
        params=jax.tree.map(lambda x: jnp.nan * x, state.params),
        model_state=jax.tree.map(lambda x: jnp.nan * x, state.model_state),
    )
    evaluate = jax.jit(this.task.main.evaluate)
    expected = evaluate(state, batch)
    assert expected['valid'].any()
    jax.tree.map(np.testing.assert_array_equal, evaluate(broken, batch), expected)


def test_exports_are_traced_for_batches_of_any_size(begun):
    this, state, _ = begun
    (size,) = jax.export.symbolic_shape('b')
    images = jax.ShapeDtypeStruct((size, 64, 64, 3), np.uint8)
    predict = jax.jit(this.task.predict)
    traced = jax.export.export(predict)(state.variables, {'image': images})
    shapes = {aval.shape for aval in traced.out_avals}
    assert shapes == {(size, 100, 4), (size, 100)}


def test_mosaics_end_by_the_batch_size_that_a_run_finds(few, tmp_path, monkeypatch):
    monkeypatch.setattr(largest_batch, 'find', lambda this: 8)
    # The networks do not matter here.
    monkeypatch.setattr(checks, 'check_training', lambda this: None)
    options = (
        'train.steps=100 epochs',
        'task.augment.mosaic=1.0',
        'task.augment.compose_until=0.5',
    )
    config = small('data.batch_size=auto', *options)
    with automatic.held_run(config, tmp_path, lambda step: False) as found:
        assert found is not None and found.total_steps == 100
    stated = Sources(small('data.batch_size=8', *options))
    for source in (found.sources['train'], stated['train']):
        assert 'others' in source.at_step(49)[0]
        assert 'others' not in source.at_step(50)[0]


def test_a_killed_run_continues_equal_to_the_bit(
    few, tmp_path, monkeypatch, no_pictures
):
    import contextlib

    @contextlib.contextmanager
    def stop_signal():
        yield lambda step: step >= 2

    config = small(
        'optimizer.ema=0.9',
        'task.augment.flip=true',
        'task.augment.scale=0.3',
        'task.augment.crop=0.5',
        'task.augment.rotate=5',
        # Of the four steps, the last one has neither.
        'task.augment.mosaic=0.5',
        'task.augment.mixup=0.5',
        'task.augment.compose_until=0.75',
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


# Pixels whose two channels are their own coordinates show where a box went.


@pytest.fixture
def coordinates():
    y, x = np.mgrid[0:40, 0:60]
    image = np.stack([4 * y, 4 * x, 0 * y], -1).astype(np.uint8)
    boxes = np.float32([[4, 8, 20, 40], [30, 50, 39, 59]])
    return {
        'image': image,
        'boxes': boxes,
        'box_classes': np.int32([3, 5]),
        'crowd': np.array([False, True]),
        'area': np.float32([500, 80]),
    }


def prepare_for(size, *overrides, room=4):
    config = small(*overrides)
    config.data.image_size = size
    preprocessing = task.Preprocessing(size=(size, size), resize='letterbox')
    spec = task.Spec(
        inputs={'image': ArraySpec((size, size, 3))},
        targets=preparation.targets(room),
        class_names=tuple('0123456789'),
        preprocessing=preprocessing,
    )
    return preparation.make_prepare(config, spec)


@pytest.mark.parametrize('size', [32, 64, 100])
@pytest.mark.parametrize(
    'overrides',
    [
        (),
        ('task.augment.scale=0.5',),
        ('task.augment.crop=1',),
        ('task.augment.crop=1', 'task.augment.scale=0.5'),
        ('task.augment.rotate=40', 'task.augment.translate=0.2'),
        (
            'task.augment.crop=0.5',
            'task.augment.scale=0.5',
            'task.augment.rotate=180',
            'task.augment.translate=0.1',
        ),
    ],
    ids=['fixed', 'scaled', 'cropped', 'cropped and scaled', 'rotated', 'all'],
)
def test_boxes_move_with_their_pixels(coordinates, size, overrides):
    prepare = prepare_for(size, *overrides)
    count = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        prepared = prepare(coordinates, rng)
        assert prepared['image'].shape == (size, size, 3)
        map_ = Warp(prepared['warp'].astype(np.float64), (size, size))
        factor = np.sqrt(np.linalg.det(map_.matrix[:, :2]))
        for box in prepared['boxes'][prepared['box_mask']]:
            center = np.floor((box[:2] + box[2:]) / 2).astype(int)
            back = map_.inverse((40, 60)).points(center + 0.5)
            pixel = prepared['image'][tuple(center)]
            if pixel[2]:
                # Only the hull of a rotated box has corners on the grey canvas.
                assert any('rotate' in text for text in overrides)
                continue
            shown = pixel[:2] / 4 + 0.5
            # A pixel's value is an integer coordinate, resized bilinearly.
            np.testing.assert_allclose(shown, back, atol=0.6 + 0.6 / factor)
            count += 1
    assert count >= 8


@pytest.mark.parametrize('least_iou', placement._LEAST_IOUS)
def test_a_random_crop_shows_an_object(coordinates, monkeypatch, least_iou):
    monkeypatch.setattr(placement, '_LEAST_IOUS', (least_iou,))
    boxes = coordinates['boxes'].astype(np.float64)
    parts = 0
    for seed in range(30):
        map_ = placement.random_crop(np.random.default_rng(seed), (40, 60), boxes)
        top, left = -map_.matrix[:, 2]
        height, width = map_.size
        part = np.array([top, left, top + height, left + width])
        assert (part[:2] >= 0).all() and (part[2:] <= (40, 60)).all()
        if map_.size == (40, 60):
            continue
        parts += 1
        assert max(height, width) <= 2 * min(height, width)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        is_inside = ((part[:2] < centers) & (centers < part[2:])).all(1)
        ious = overlap.iou_on_host(part, boxes)
        assert ious[is_inside].max() >= least_iou - 1e-6
    # The larger object covers a quarter of the image: no part has an IoU of 0.9.
    assert parts >= (20 if least_iou <= 0.3 else 0)


def test_evaluation_keeps_every_object_and_its_original_box(coordinates):
    prepared = prepare_for(16, 'task.augment.scale=0.5')(coordinates, None)
    assert prepared['box_mask'].tolist() == [True, True, False, False]
    np.testing.assert_array_equal(prepared['truth_boxes'][:2], coordinates['boxes'])
    np.testing.assert_array_equal(prepared['crowd'][:2], [False, True])
    # As annotated, not the area of the boxes, and not at the size of the canvas.
    np.testing.assert_array_equal(prepared['area'][:2], [500, 80])
    np.testing.assert_array_equal(prepared['original_size'], [40, 60])
    found = evaluation.to_original(
        jnp.asarray(prepared['boxes'])[None],
        jnp.asarray(prepared['warp'])[None],
        jnp.asarray(prepared['original_size'])[None],
    )
    np.testing.assert_allclose(found[0, :2], coordinates['boxes'], atol=1e-4)


def test_the_canvas_depends_on_the_image_alone(coordinates):
    """Not on its neighbours: neither larger nor smaller ones before or after it."""
    prepare = prepare_for(32, 'task.augment.scale=0.5')
    small_one = {**coordinates, 'image': coordinates['image'][:20, :20]}
    large_one = {**coordinates, 'image': coordinates['image'].repeat(3, axis=1)}
    alone = prepare(coordinates, None)
    for neighbour in (small_one, large_one, small_one):
        prepare(neighbour, None)
        again = prepare(coordinates, None)
        for name, values in alone.items():
            np.testing.assert_array_equal(values, again[name])


def test_a_flip_mirrors_boxes_with_the_image():
    image = jnp.zeros((1, 8, 10, 3)).at[0, 2:4, 1:4].set(1.0)
    boxes = jnp.array([[[2.0, 1.0, 4.0, 4.0]]])
    options = configs.default('detection').task.augment
    with options.unlocked():
        options.flip = True
    seen = set()
    for seed in range(12):
        images, moved = augmentation.apply(
            options, jax.random.key(seed), jnp.arange(1), image, boxes
        )
        ymin, xmin, ymax, xmax = np.asarray(moved[0, 0]).astype(int)
        assert float(images[0, ymin:ymax, xmin:xmax].min()) == 1
        assert float(images.sum()) == 18
        seen.add(int(xmin))
    assert seen == {1, 6}


@pytest.mark.parametrize(
    'overrides, message',
    [
        (('data.source=digits',), 'this task needs boxes'),
        (('model.variant=cnn',), 'expected NAME:VARIANT of a backbone'),
        (('model.options.strides=4-9',), 'expected strides that double'),
        (('model.options.strides=4-8-16',), 'expected strides of the backbone'),
        (('task.nms_iou=1.5',), 'task.nms_iou=1.5: expected'),
    ],
)
def test_mistakes_are_one_clear_line(few, tmp_path, overrides, message):
    config = small()
    with pytest.raises(UserError, match=message):
        for text in overrides:
            configs.override(config, *text.split('=', 1))
        configs.check(config)
        loop.run(config, tmp_path)
    assert not (tmp_path / 'config.json').exists()


def test_details_come_back_from_json(begun):
    this, _, _ = begun
    spec = dataclasses.replace(
        this.spec, details=task.Details(category_ids=(7, 30, 91))
    )
    from jaxvision.core import registry

    again = registry.read_spec(spec.to_json(), small())
    assert again.details.category_ids == (7, 30, 91)
    assert saved.blank_batch(this.spec)['boxes'].shape[1:] == (3, 4)
