"""Masks of Mask R-CNN: on the way to the device, as targets, in the loss, and back in the image."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.box_files import opened, write_coco, write_image
from helpers.mask_files import write_pair
from helpers.random_weights import random_leaves
from pycocotools import mask as coco_masks
from scipy import ndimage

from jaxvision.boxes import pasting
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.data.protocol import BOX_KEYS, RowSource, SourceInfo
from jaxvision.image.warp import Warp
from jaxvision.metrics import detection_masks
from jaxvision.models.detectors import mask_rcnn
from jaxvision.tasks.detection import (
    augmentation,
    box_masks,
    composition,
    mask_evaluation,
    preparation,
    task,
)
from jaxvision.train import run

CELLS = 56


def small(*overrides):
    config = configs.default('detection')
    base = (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'data.batch_size=4',
        'model.name=mask_rcnn',
        'model.variant=cnn:4x1-8x1-16x1-16x1',
        'task.region_samples=8',
        'task.positive_fraction=0.5',
        'task.most_detections=6',
        'optimizer.lr=0.004',
        'train.steps=4',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    config.model.options = {
        'strides': '4-8',
        'width': 16,
        'hidden': 32,
        'anchor_scale': 4.0,
        'regions': 12,
        'pooled_size': 3,
        'mask_width': 8,
        'mask_depth': 1,
        'mask_pooled_size': 7,
    }
    return config


def spec_for(size, room=3):
    return task.Spec(
        inputs={'image': ArraySpec((size, size, 3))},
        targets=preparation.targets(room, CELLS),
        class_names=('disk', 'wedge'),
        preprocessing=task.Preprocessing(
            size=(size, size), resize='letterbox', mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        details=task.Details(),
    )


@pytest.fixture(scope='module')
def stage():
    """A small Mask R-CNN and its first variables."""
    detector = task._make_detector(small(), spec_for(32))
    image = jnp.zeros((2, 32, 32, 3))
    variables = random_leaves(
        jax.eval_shape(detector.model.init, jax.random.key(0), image)
    )
    params = variables.pop('params')
    return detector, params, {'model': variables}


# An image whose two objects are shown by the first two channels, where they are visible.


@pytest.fixture
def objects():
    y, x = np.mgrid[0:40, 0:60]
    disk = (y - 12) ** 2 + (x - 24) ** 2 < 64
    wedge = (y >= 22) & (y < 38) & (x >= 36) & (x - 36 < y - 20)
    masks = np.stack([disk, np.zeros_like(disk), wedge])
    image = np.zeros((40, 60, 3), np.uint8)
    image[disk, 0] = 255
    image[wedge, 1] = 255
    boxes = np.zeros((3, 4), np.float32)
    for row in (0, 2):
        ys, xs = np.nonzero(masks[row])
        boxes[row] = (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
    return {
        'image': image,
        'boxes': boxes,
        'box_classes': np.int32([0, 0, 1]),
        'box_mask': np.array([True, False, True]),
        'crowd': np.zeros(3, bool),
        'area': masks.sum((1, 2)).astype(np.float32),
        'masks': masks,
    }


def prepare_for(size, *overrides):
    return preparation.make_prepare(small(*overrides), spec_for(size))


def shown(prepared, row):
    """The mask of an object on the canvas."""
    size = prepared['image'].shape[:2]
    mask = prepared['box_masks'][row] / np.float32(255)
    return pasting.paste(mask, prepared['boxes'][row], size)


def assert_shows(prepared, row):
    """The object's mask is where its channel is bright, up to a pixel; returns the pixels."""
    mask = shown(prepared, row)
    # Grey around an image is 114.
    is_object = prepared['image'][..., prepared['box_classes'][row]] > 127
    # The image's pixels are interpolated when it is enlarged, those of the mask are not.
    pixels = int(np.ceil(np.sqrt(np.linalg.det(prepared['warp'][:, :2])) / 4))
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), bool)
    assert (mask <= ndimage.binary_dilation(is_object, square)).all()
    assert (mask >= ndimage.binary_erosion(is_object, square)).all()
    assert abs(int(mask.sum()) - is_object.sum()) <= 0.15 * max(is_object.sum(), 40)
    return is_object.sum()


@pytest.mark.parametrize(
    'overrides',
    [
        (),
        ('task.augment.scale=0.5',),
        ('task.augment.crop=1', 'task.augment.scale=0.5'),
        ('task.augment.rotate=40', 'task.augment.translate=0.2'),
        ('task.augment.crop=0.5', 'task.augment.scale=0.5', 'task.augment.rotate=180'),
    ],
    ids=['fixed', 'scaled', 'cropped', 'rotated', 'all'],
)
def test_masks_move_with_their_pixels(objects, overrides):
    prepare = prepare_for(96, *overrides)
    pixels = 0
    for seed in range(15):
        prepared = prepare(objects, np.random.default_rng(seed))
        for row in np.flatnonzero(prepared['box_mask']):
            pixels += assert_shows(prepared, row)
    assert pixels > 2000


def test_a_small_canvas_keeps_the_covered_part_of_each_cell(objects):
    """The mean of a box mask is the object's area over that of its box, whatever the size."""
    for size in (12, 40, 300):
        prepared = prepare_for(size)(objects, None)
        for row, source in ((0, 0), (1, 2)):
            box = objects['boxes'][source]
            expected = objects['area'][source] / np.prod(box[2:] - box[:2])
            fraction = prepared['box_masks'][row].mean() / 255
            assert fraction == pytest.approx(expected, abs=0.02)
        assert not prepared['box_masks'][2].any()


def test_large_objects_are_averaged_within_cells():
    """Stripes one pixel wide are grey in cells of several pixels, not black or white."""
    mask = np.zeros((448, 448), bool)
    mask[::2] = True
    box = np.float32([[0, 0, 448, 448]])
    (cells,) = box_masks.of_objects(mask[None], box, [Warp.identity((448, 448))], 56)
    assert (np.abs(cells / 255 - 0.5) < 0.01).all()


def test_masks_of_a_mosaic_are_around_the_pixels_of_their_objects(objects):
    prepare = prepare_for(96, 'task.augment.scale=0.3')
    count = 0
    for seed in range(0, 20, 4):
        rngs = [np.random.default_rng(seed + number) for number in range(4)]
        examples = [prepare(objects, rng) for rng in rngs]
        for name in preparation.targets(3, CELLS).keys() - {'warp', 'original_size'}:
            room = [(0, 9)] + [(0, 0)] * (examples[0][name].ndim - 1)
            examples[0][name] = np.pad(examples[0][name], room)
        center = rngs[0].integers(30, 66, size=2)
        whole = composition.mosaic(examples, center)
        for row in np.flatnonzero(whole['box_mask']):
            ymin, xmin, ymax, xmax = np.round(whole['boxes'][row]).astype(int)
            part = (slice(ymin, ymax), slice(xmin, xmax))
            mask = shown(whole, row)[part]
            is_object = whole['image'][..., whole['box_classes'][row]][part] > 127
            common = (mask & is_object).sum()
            assert common >= 0.8 * (mask | is_object).sum()
            count += 1
    assert count >= 12


def test_a_flip_mirrors_masks_with_their_image():
    options = configs.default('detection').task.augment
    with options.unlocked():
        options.flip = True
    masks = np.zeros((8, 1, 6, 6), np.uint8)
    masks[:, 0, :, :2] = 255
    image = np.zeros((8, 6, 6, 3), np.float32)
    image[:, :, :2] = 1
    boxes = np.tile(np.float32([0, 0, 6, 6]), (8, 1, 1))
    key = jax.random.key(0)
    index = jnp.arange(8)
    images, _ = augmentation.apply(
        options, key, index, jnp.asarray(image), jnp.asarray(boxes)
    )
    moved = augmentation.apply_to_masks(options, key, index, jnp.asarray(masks))
    np.testing.assert_array_equal(moved[:, 0] / 255, images[..., 0])
    assert 0 < np.asarray(images[:, 0, 0, 0]).sum() < 8


def test_a_target_is_the_mask_at_the_place_of_the_region():
    """Of a half-covered box, in regions that are the box, a quarter of it, and around it."""
    masks = np.zeros((1, CELLS, CELLS), np.uint8)
    masks[0, : CELLS // 2] = 255
    boxes = jnp.array([[10.0, 20.0, 30.0, 60.0]])
    regions = jnp.array(
        [
            [10.0, 20.0, 30.0, 60.0],
            [15.0, 30.0, 25.0, 50.0],
            [0.0, 0.0, 40.0, 80.0],
            [10.0, 60.0, 30.0, 90.0],
        ]
    )
    rows = jnp.zeros(4, jnp.int32)
    found = box_masks.targets(jnp.asarray(masks), boxes, rows, regions, 8)
    expected = np.zeros((4, 8, 8), bool)
    expected[0, :4] = True
    expected[1, :4] = True
    expected[2, 2:4, 2:6] = True
    np.testing.assert_array_equal(found, expected)


def test_masks_of_other_classes_and_padding_do_not_count(stage):
    detector, _, _ = stage
    logits = jax.random.normal(jax.random.key(0), (3, 14, 14, 3))
    truth = jnp.array([[10.0, 10, 30, 30], [0, 0, 0, 0]])
    regions = jnp.array([[10.0, 10, 30, 30], [8, 8, 28, 32], [0, 0, 0, 0]])
    arrays = {
        'objects': jnp.array([0, 0, 1]),
        'truth': truth,
        'classes': jnp.array([1, 0]),
        'masks': jnp.full((2, CELLS, CELLS), 255, jnp.uint8),
    }
    valid = jnp.array([True, True, False])

    def term(logits):
        return detector._mask_term(
            logits,
            regions,
            arrays['objects'],
            valid,
            arrays['truth'],
            arrays['classes'],
            arrays['masks'],
        )

    derive = jax.jit(jax.value_and_grad(term, has_aux=True))
    (value, count), gradient = derive(logits)
    assert float(count) == 2
    targets = np.ones((2, 14, 14))
    # The second region is larger than the object.
    rows = 8 + (np.arange(14) + 0.5) * 20 / 14
    columns = 8 + (np.arange(14) + 0.5) * 24 / 14
    inside_rows = (rows >= 10) & (rows <= 30)
    inside_columns = (columns >= 10) & (columns <= 30)
    targets[1] = inside_rows[:, None] & inside_columns
    chosen = np.asarray(logits[:2, ..., 2], np.float64)
    entropy = np.log1p(np.exp(chosen)) - targets * chosen
    assert float(value) == pytest.approx(entropy.mean((1, 2)).sum(), rel=1e-5)
    gradient = np.array(gradient)
    assert np.abs(gradient[:2, ..., 2]).min() > 0
    gradient[:2, ..., 2] = 0
    assert not gradient.any()


def test_the_loss_of_masks_is_that_of_regions_that_show_objects(stage, objects):
    detector, params, model_state = stage
    example = prepare_for(32)(objects, None)
    batch = {name: np.stack([values] * 2) for name, values in example.items()}
    # The second scene has no objects.
    batch['box_mask'][1] = False
    batch['index'] = np.arange(2)
    state = types.SimpleNamespace(model_state={'model': model_state['model']})

    @jax.jit
    def terms(params, batch):
        found, _ = detector.loss(params, state, batch, jax.random.key(1))
        return found

    found = terms(params, batch)
    assert set(found) == {'objectness', 'anchor_box', 'class', 'box', 'mask'}
    values, counts = (np.asarray(array) for array in found['mask'])
    # Both true boxes are among the regions; at most half of the 8 are positive.
    assert 2 <= counts[0] <= 4
    assert counts[1] == values[1] == 0
    assert 0.1 < values[0] / counts[0] < 30
    assert all(np.isfinite(np.asarray(array)).all() for array in found['class'])


def test_predictions_have_a_mask_for_each_detection(stage, objects):
    detector, params, model_state = stage
    variables = {'params': {'model': params}, 'model_state': model_state}
    image = prepare_for(32)(objects, None)['image'][None]
    outputs = jax.jit(detector.predict)(variables, {'image': image})
    masks = np.asarray(outputs['masks'])
    assert masks.shape == (1, 6, 14, 14)
    valid = np.asarray(outputs['valid'])
    assert valid.any()
    assert not masks[~valid].any()
    assert (masks[valid] >= 0).all() and (masks[valid] <= 1).all()
    assert masks[valid].std() > 0.01


def test_the_masks_of_the_right_objects_have_an_average_precision_of_one(objects):
    """From box masks of the objects to run lengths, and an independent count of pixels."""
    prepared = prepare_for(96)(objects, None)
    boxes = objects['boxes'][[0, 2, 0]]
    masks = prepared['box_masks'][[0, 1, 1]] / np.float32(255)
    record = {
        'boxes': boxes,
        'mask_boxes': boxes,
        'masks': masks,
        'scores': np.float32([0.9, 0.8, 0.7]),
        'classes': np.int32([0, 1, 0]),
        'valid': np.array([True, True, False]),
        'truth_boxes': objects['boxes'][[0, 2]],
        'truth_classes': np.int32([0, 1]),
        'truth_mask': np.ones(2, bool),
        'crowd': np.zeros(2, bool),
        'area': objects['area'][[0, 2]],
        'original_size': np.int32([40, 60]),
    }
    compact = mask_evaluation.compact(pasting.paste, record, objects)
    assert 'masks' not in compact and 'mask_boxes' not in compact
    truth = pasting.split(compact['truth_mask_runs'])
    found = pasting.split(compact['mask_runs'])
    assert len(truth) == len(found) == 2
    for run_lengths, source in zip(truth, (0, 2), strict=True):
        decoded = coco_masks.decode({'size': [40, 60], 'counts': run_lengths})
        np.testing.assert_array_equal(decoded, objects['masks'][source])
    records = {name: values[None] for name, values in compact.items()}
    for name in ('mask_runs', 'truth_mask_runs'):
        records[name] = np.empty(1, object)
        records[name][0] = compact[name]
    records['index'] = np.array([5])
    values = detection_masks.summarize(('disk', 'wedge'), records)
    assert values['mask_ap'] == values['ap'] == pytest.approx(1)
    # The masks change places: their boxes are still right.
    records['mask_runs'][0] = pasting.join(found[::-1])
    values = detection_masks.summarize(('disk', 'wedge'), records)
    assert values['mask_ap'] == 0 and values['ap'] == pytest.approx(1)
    assert set(values) == set(detection_masks.names(('disk', 'wedge')))


def test_masks_are_painted_where_their_image_is_on_the_canvas():
    """Only shown detections are painted, and the picture is twice as large as the image."""
    masks = np.zeros((3, 8, 6), bool)
    masks[0, 1:4, 2:5] = True
    masks[1, 5:7, :] = True
    masks[2, :, 0] = True
    records = {
        'original_size': np.array([[8, 6]], np.int32),
        'valid': np.array([[True, True, True, False]]),
        'classes': np.array([[0, 1, 2, 0]], np.int32),
        'mask_runs': np.array([pasting.join([*map(pasting.run_lengths, masks)])]),
    }
    warp = np.array([[2, 0, 0], [0, 2, 4]], np.float32)
    blank = np.full((16, 20, 3), 128, np.uint8)
    shown = np.array([True, True, False, False])
    picture = mask_evaluation.paint(blank, records, 0, shown, warp)
    expected = np.zeros((16, 20), bool)
    enlarged = (masks[0] | masks[1]).repeat(2, axis=0).repeat(2, axis=1)
    expected[:, 4:16] = enlarged
    np.testing.assert_array_equal((picture != 128).any(axis=-1), expected)
    np.testing.assert_array_equal(
        pasting.decode(pasting.run_lengths(masks[1]), (8, 6)), masks[1]
    )


def test_a_map_of_objects_gives_the_targets_and_the_truth_of_its_masks(objects):
    """The disk and the wedge do not overlap: as masks or as numbers they are the same."""
    as_masks = {key: values for key, values in objects.items() if key != 'box_mask'}
    for key in ('boxes', 'box_classes', 'crowd', 'area', 'masks'):
        as_masks[key] = objects[key][[0, 2]]
    as_numbers = {key: value for key, value in as_masks.items() if key != 'masks'}
    disk, wedge = as_masks['masks']
    as_numbers['instances'] = np.where(wedge, 2, disk).astype(np.int32)
    prepare = prepare_for(48, 'task.augment.crop=1', 'task.augment.rotate=40')
    record = {
        'valid': np.zeros(3, bool),
        'masks': np.zeros((3, 28, 28), np.float32),
        'mask_boxes': np.zeros((3, 4), np.float32),
    }
    for seed in range(4):
        prepared, expected = (
            prepare(example, np.random.default_rng(seed))
            for example in (as_numbers, as_masks)
        )
        np.testing.assert_equal(prepared, expected)
        assert prepared['box_masks'].any()
    compacted, expected = (
        mask_evaluation.compact(pasting.paste, record, example)
        for example in (as_numbers, as_masks)
    )
    np.testing.assert_equal(compacted, expected)
    assert len(pasting.split(compacted['truth_mask_runs'])) == 2


def test_mask_rcnn_learns_masks_from_a_folder_of_instance_maps(tmp_path):
    for seed in range(6):
        instances = np.zeros((40, 64), np.uint16)
        instances[4 : 12 + seed, 5:25] = 1
        instances[20:36, 30 : 50 + seed] = 40_000
        write_pair(tmp_path / 'cells', str(seed), instances)
    source = f'data.source=masks:{tmp_path}/cells'
    this = run.begin(small(source), tmp_path / 'run')
    assert this.spec.class_names == ('object',)
    assert 'instances' in this.sources['train'].info.holds
    assert 'semantic' not in this.sources['train'].info.holds
    prepared = this.task.prepare(this.sources['train'][0], None)
    # Rectangles fill their boxes; those of padding are empty.
    full = prepared['box_masks'][prepared['box_mask']]
    assert full.shape == (2, CELLS, CELLS) and (full == 255).all()
    _, scalars = jax.eval_shape(this.update, this.abstract(), this.abstract_batch())
    assert 'mask' in scalars
    # Detectors without masks read no masks after the first time.
    boxes_alone = task.source(
        small(source, 'model.name=faster_rcnn'), this.sources['train'], 'test', None
    )
    first = boxes_alone[0]
    for path in (tmp_path / 'cells' / 'masks').iterdir():
        path.unlink()
    assert boxes_alone[0].keys() == first.keys() == {'image', *BOX_KEYS}


def test_a_pasted_mask_is_where_its_box_is():
    """Whatever the fraction of a pixel at which the box begins, and beyond the image."""
    half = np.zeros((28, 28), np.float32)
    half[:, :14] = 1
    for low in (3.0, 3.2, 3.49, 3.51, 3.8, -6.0):
        box = np.array([low, low, low + 20, low + 20])
        mask = pasting.paste(half, box, (24, 18))
        ys, xs = np.nonzero(mask)
        first = max(round(low), 0)
        assert (ys.min(), xs.min()) == (first, first)
        assert ys.max() == min(round(low + 20), 24) - 1
        assert xs.max() == min(round(low + 10), 18) - 1
    outside = pasting.paste(half, np.array([30.0, 30, 40, 40]), (24, 18))
    assert not outside.any()


def test_a_source_without_masks_is_refused():
    source = BoxesAlone()
    with pytest.raises(
        UserError, match='with masks or instances, but boxes holds image, boxes'
    ):
        task.describe(small(), source)
    with pytest.raises(UserError, match='Only Faster R-CNN has this variant'):
        mask_rcnn.make('resnet50_fpn_v2', num_classes=2)


class BoxesAlone(RowSource):
    info = SourceInfo(
        'boxes',
        'train',
        ('disk',),
        (32, 32, 3),
        False,
        '',
        holds=('image', 'boxes', 'box_classes'),
    )

    def __len__(self):
        return 1

    def __getitem__(self, row):
        raise AssertionError('no example is read')


@pytest.mark.parametrize(
    ('model', 'expected'), [('mask_rcnn', {'masks'}), ('faster_rcnn', set())]
)
def test_examples_hold_masks_only_for_models_with_masks(tmp_path, model, expected):
    write_image(tmp_path / 'a.png')
    outline = {'segmentation': [[1, 2, 9, 2, 9, 8]], 'area': 24.0}
    objects = [(1, 1, [1, 2, 8, 6], outline)]
    images = [(1, 'a.png', 40, 30)]
    source = opened(f'coco:{write_coco(tmp_path / "c.json", images, objects)}')
    assert {'masks', 'semantic'} <= set(source[0])
    seen = task.source(small(f'model.name={model}'), source, 'test', None)
    assert set(seen[0]) & {'masks', 'semantic'} == expected
