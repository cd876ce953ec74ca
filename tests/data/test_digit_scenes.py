"""Scenes: what they hold agrees with itself, and is a function of split and row alone."""

import itertools

import numpy as np
import pytest
from helpers.data_config import data_config

from jaxvision.core.errors import UserError
from jaxvision.data import digit_captions, digit_scenes
from jaxvision.data.composed import Digits, read_digits
from jaxvision.data.protocol import annotation_of
from jaxvision.data.sources import open_source
from jaxvision.data.wrappers import Subset


def opened(name, split='train', **fields):
    return open_source(data_config(source=name, **fields), split)


@pytest.fixture(scope='module', params=['digit_scenes/64', 'digit_scenes/128'])
def source(request):
    return opened(request.param)


@pytest.fixture(scope='module')
def scenes(source):
    return source.read(range(300))


def iou(a, b):
    height, width = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = max(height, 0) * max(width, 0)

    def area(box):
        return (box[2] - box[0]) * (box[3] - box[1])

    return common / (area(a) + area(b) - common)


def test_examples_are_what_the_source_says(source, scenes):
    side, most = digit_scenes.CONFIGURATIONS[source.info.name.split('/')[1]]
    assert set(scenes[0]) == set(source.info.holds)
    assert scenes[0]['image'].shape == source.info.image_shape == (side, side, 3)
    counts = np.bincount(
        [scene['box_mask'].sum() for scene in scenes], minlength=most + 1
    )
    assert (
        counts[0] == 0 and counts.sum() == 300 and (counts[1:] > 300 / most * 0.6).all()
    )
    assert len({scene['image'].tobytes() for scene in scenes}) == 300


def test_boxes_are_in_the_canvas_and_hardly_overlap(scenes):
    for scene in scenes:
        boxes, side = scene['boxes'][scene['box_mask']], len(scene['image'])
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= side).all()
        heights = boxes[:, 2] - boxes[:, 0]
        sizes = scene['scene'][scene['box_mask'], 1]
        low, high = np.array(digit_scenes.HEIGHTS)[sizes].T
        assert ((low <= heights) & (heights <= high)).all()
        assert all(iou(a, b) <= 0.2 for a, b in itertools.combinations(boxes, 2))


def test_order_and_relations_are_sure(scenes):
    for scene in scenes:
        boxes = scene['boxes'][scene['box_mask']]
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert (np.diff(centres[:, 1]) >= 3).all()
        dy, dx = np.abs(np.diff(centres, axis=0)).T
        assert (np.abs(dx - dy) >= 4).all()
        assert all(
            digit_captions.is_true(caption, scene['scene'])
            for caption in scene['captions']
        )


def test_masks_are_of_the_ink_and_tell_the_digit(scenes):
    for scene in scenes[:100]:
        assert (scene['masks'].sum(0) <= 1).all()  # each pixel is of one object at most
        assert not scene['masks'][~scene['box_mask']].any()
        wanted = np.zeros_like(scene['semantic'])
        for mask, box, row in zip(
            scene['masks'], scene['boxes'].astype(int), scene['scene'], strict=True
        ):
            ymin, xmin, ymax, xmax = box
            assert mask.sum() == mask[ymin:ymax, xmin:xmax].sum()
            wanted[mask] = row[0] + 1
        np.testing.assert_array_equal(scene['semantic'], wanted)
        alone = scene['masks'].any(0)
        brightest = scene['image'].max(-1)
        assert brightest[alone].mean() > 110 and brightest[~alone].mean() < 60


def test_the_values_of_the_label_map_have_names(source, scenes):
    names = source.info.semantic_names
    assert names == ('background', *source.info.class_names)
    two_rows = Subset(source, np.array([4, 1]), 'two')
    semantic = annotation_of(two_rows, 0)['semantic']
    np.testing.assert_array_equal(semantic, scenes[4]['semantic'])
    for scene in scenes[:100]:
        digits = {names[digit + 1] for digit in scene['scene'][:, 0] if digit >= 0}
        visible = {names[value] for value in np.unique(scene['semantic'])}
        assert visible == {'background', *digits}


def test_a_color_is_seen_in_the_pixels(scenes):
    tints = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 0, 1)])
    for scene in scenes[:100]:
        for mask, row in zip(scene['masks'], scene['scene'], strict=True):
            if row[0] < 0:
                continue
            pixels = scene['image'][mask].astype(float)
            color = pixels[pixels.max(-1) > 180].mean(0)
            alike = tints @ color / np.linalg.norm(tints, axis=1)
            assert alike.argmax() == row[2], (color, row)


def test_the_ground_is_too_dim_to_be_a_digit():
    digits = read_digits('train')
    for seed in range(20):
        ground = digit_scenes.ground(np.random.default_rng(seed), digits, 64)
        assert ground.max() <= 115 and ground.std() > 3


def test_an_example_is_a_function_of_split_and_row(source):
    again, test = opened(source.info.name), opened(source.info.name, 'test')
    assert again.info.fingerprint == source.info.fingerprint != test.info.fingerprint
    np.testing.assert_array_equal(again[17]['image'], source.read([4, 17])[1]['image'])
    assert not np.array_equal(test[17]['image'], source[17]['image'])
    with pytest.raises(IndexError):
        source[len(source)]


def test_the_splits_share_no_digit():
    train, test = (read_digits(split).images for split in ('train', 'test'))
    assert len(train) == 4000 and len(test) == 1000
    assert not {image.tobytes() for image in train} & {
        image.tobytes() for image in test
    }


def test_where_nothing_fits_all_are_small_and_in_a_row():
    aspects = [1.25, 1.25, 1.25]
    placed = digit_scenes.layout(np.random.default_rng(0), aspects, 64, tries=0)
    boxes = placed.boxes
    assert placed.sizes == [0, 0, 0]
    assert all(digit_scenes.apart(a, b) for a, b in itertools.combinations(boxes, 2))
    assert min(map(min, boxes)) >= 0 and max(map(max, boxes)) <= 64


def test_ink_is_found():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 5:9, 7:20] = 200
    digits = Digits.of(image, np.array([3]))
    assert digits.boxes.tolist() == [[5, 7, 9, 20]] and digits.ink(0).shape == (4, 13)


@pytest.mark.parametrize(
    'name, more, said',
    [
        ('digit_scenes', {}, 'name one: digit_scenes/64, digit_scenes/128'),
        ('digit_scenes/256', {}, 'there are digit_scenes/64, digit_scenes/128'),
        ('digit_scenes/64', {'per_class': 3}, 'has no label'),
        ('digit_scenes/64', {'train_split': 'all'}, 'has no split'),
    ],
)
def test_mistakes_are_told(name, more, said):
    with pytest.raises(UserError, match=said):
        opened(name, **more)


def test_a_task_says_what_it_misses(tiny, tmp_path):
    from jaxvision.train import loop

    with pytest.raises(
        UserError, match='digit_scenes/64 holds image, .*: this task needs label'
    ):
        loop.run(tiny('data.source=digit_scenes/64'), tmp_path)
