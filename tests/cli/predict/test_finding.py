"""Objects of large images in tiles, and in mirrored and smaller views."""

import numpy as np
import pytest
from helpers import blobs

from jaxvision.boxes import merging
from jaxvision.boxes.merging import Detections
from jaxvision.cli.predict import finding
from jaxvision.cli.predict.finding import Finder, Tiles
from jaxvision.core.errors import UserError


def find(image, tiles=None, changes=finding.CHANGES[:1], size=64, batch_size=5):
    finder = Finder(
        model=blobs.model(size), tiles=tiles, changes=changes, batch_size=batch_size
    )
    done = []
    found = finder.find(image, done.append)
    assert done[-1] == finder.count(image)
    order = np.lexsort(found.boxes.T[::-1])
    return found.at(order)


# In tiles of 64 that share 16, the borders are at 48, 64, 96, 112, ...: all but the first object
# are cut by some border, the last two by one that goes through their middle.
SMALL = [
    (20, 20, 32, 32, 0),
    (50, 100, 62, 112, 1),
    (58, 40, 70, 52, 0),
    (90, 58, 102, 70, 1),
]


def test_an_object_at_a_border_is_found_once_and_whole():
    image = blobs.scene(160, 160, SMALL)
    found = find(image, Tiles(64, 16))
    expected = np.array(sorted(SMALL))
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1e-6)
    np.testing.assert_array_equal(found.classes, expected[:, 4])
    # A part, which is surer, does not stand for the object.
    np.testing.assert_allclose(found.scores, 0.6, atol=1e-6)


def test_without_tiles_small_objects_of_a_large_image_are_overlooked():
    assert len(find(blobs.scene(160, 160, SMALL)).boxes) == 0


def test_an_object_larger_than_a_tile_is_found_in_the_whole_image():
    large = (100, 10, 150, 150, 0)
    found = find(blobs.scene(160, 160, [*SMALL[:2], large]), Tiles(64, 16))
    assert len(found.boxes) == 3
    np.testing.assert_allclose(found.boxes[2], large[:4], atol=2.5)


def test_neighbours_of_one_class_remain_two():
    objects = [(20, 40, 40, 56, 0), (20, 58, 40, 74, 0)]
    found = find(blobs.scene(160, 160, objects), Tiles(64, 24))
    np.testing.assert_allclose(found.boxes, np.array(objects)[:, :4], atol=1e-6)


@pytest.mark.parametrize('height, width', [(64, 64), (160, 97), (65, 200), (30, 50)])
def test_tiles_cover_images_of_every_size(height, width):
    corners = [(0, 0), (0, width - 8), (height - 8, 0), (height - 8, width - 8)]
    objects = [(y, x, y + 8, x + 8, i % 2) for i, (y, x) in enumerate(corners)]
    found = find(blobs.scene(height, width, objects), Tiles(64, 16))
    assert len(found.boxes) == 4
    expected = np.array(sorted(objects))[:, :4]
    np.testing.assert_allclose(found.boxes, expected, atol=1.5)


@pytest.mark.parametrize('height, width', [(200, 200), (120, 201)])
def test_mirrored_and_smaller_views_agree_on_the_place(height, width):
    objects = [(20, 30, 80, 90, 0), (60, 110, 110, 180, 1)]
    found = find(blobs.scene(height, width, objects), changes=finding.CHANGES)
    np.testing.assert_allclose(found.boxes, np.array(objects)[:, :4], atol=3.5)
    np.testing.assert_array_equal(found.classes, [0, 1])
    # All four views found each.
    np.testing.assert_allclose(found.scores, 0.6, atol=1e-6)


def test_tiles_and_views_together():
    found = find(blobs.scene(160, 160, SMALL), Tiles(64, 24), finding.CHANGES)
    expected = np.array(sorted(SMALL))
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1.0)


@pytest.mark.parametrize('change', finding.CHANGES)
def test_a_view_maps_its_pixels(change):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (23, 31, 3)).astype(np.uint8)
    view = change(finding.whole(image))
    for y, x in ((0, 0), (22, 30), (7, 19)):
        place = view.map_.points(np.array([y + 0.5, x + 0.5]))
        row, column = np.floor(place).astype(int)
        np.testing.assert_array_equal(view.pixels[row, column], image[y, x])
    assert view.pixels.shape[:2] == view.map_.size


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_the_batch_size_changes_nothing(batch_size):
    image = blobs.scene(160, 160, SMALL)
    expected = find(image, Tiles(64, 16), finding.CHANGES)
    found = find(image, Tiles(64, 16), finding.CHANGES, batch_size=batch_size)
    np.testing.assert_array_equal(found.boxes, expected.boxes)


@pytest.mark.parametrize(
    'text, side, overlap', [('640', 640, 128), ('640:0', 640, 0), ('9:8', 9, 8)]
)
def test_tiles_are_read(text, side, overlap):
    assert Tiles.parse(text) == Tiles(side, overlap)


@pytest.mark.parametrize('text', ['', '0', '64:64', '64:', 'a', '-3', '64:-1', '6.4'])
def test_other_tiles_are_refused(text):
    with pytest.raises(UserError, match=f'--tiles={text}: expected N or N:OVERLAP'):
        Tiles.parse(text)


def across(boxes, scores, views, is_cut, classes=None):
    count = len(boxes)
    detections = Detections(
        boxes=np.array(boxes, float).reshape(-1, 4),
        scores=np.array(scores, float),
        classes=np.zeros(count, np.int32) if classes is None else np.int32(classes),
    )
    merged = merging.across_borders(
        detections, np.array(views, int), np.array(is_cut, bool)
    )
    return merged.boxes[:, 3].tolist()


def test_the_whole_box_wins_against_a_surer_part():
    boxes = [(0, 0, 10, 6), (0, 0, 10, 10)]
    assert across(boxes, [0.9, 0.5], [1, 2], [True, False]) == [10]
    # But not a hardly visible one.
    assert across(boxes, [0.9, 0.4], [1, 2], [True, False]) == [6]


def test_a_small_whole_object_inside_a_large_one_remains():
    boxes = [(0, 0, 40, 40), (10, 10, 20, 20)]
    assert across(boxes, [0.9, 0.5], [1, 2], [False, False]) == [40, 20]


def test_one_view_and_other_classes_suppress_nothing():
    boxes = [(0, 0, 10, 10), (0, 0, 10, 9)]
    assert across(boxes, [0.9, 0.5], [1, 1], [False, False]) == [10, 9]
    assert across(boxes, [0.9, 0.5], [1, 2], [False, False], [0, 1]) == [10, 9]
    assert across(boxes, [0.9, 0.5], [1, 2], [False, False]) == [10]
    assert across([], [], [], []) == []


def test_boxes_come_back_from_letterboxes_of_every_size():
    prepare = blobs.model(64).prepare
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 300, (200, 2)).tolist():
        low = rng.uniform(0, 1, (5, 2)) * (height, width)
        high = low + rng.uniform(0, 1, (5, 2)) * ((height, width) - low)
        boxes = np.concatenate([low, high], axis=1)
        example = prepare(np.zeros((height, width, 3), np.uint8))
        matrix = example['warp']
        scale = np.tile(np.diag(matrix), 2)
        outputs = {
            'boxes': (boxes * scale + np.tile(matrix[:, 2], 2)).astype(np.float32),
            'scores': np.float32([0.9, 0.8, 0.7, 0.6, 0.5]),
            'classes': np.int32([0, 1, 0, 1, 0]),
            'valid': np.array([True, True, False, True, False]),
        }
        found = finding.in_view(example, outputs)
        np.testing.assert_allclose(found.boxes, boxes[[0, 1, 3]], atol=2e-3)
        np.testing.assert_array_equal(found.classes, [0, 1, 1])
