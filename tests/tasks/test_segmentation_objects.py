"""Objects by their centres and borders: what is learned, and how it is separated."""

import numpy as np
import pytest
from scipy import ndimage

from jaxvision.metrics import instances
from jaxvision.tasks.segmentation import objects


def disks(seed, count=12, side=96):
    """Discs that touch each other, in the order in which they were laid down."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((side, side), np.int32)
    ys, xs = np.mgrid[:side, :side]
    for _ in range(count):
        y, x = rng.uniform(8, side - 8, 2)
        radius = rng.uniform(5, 9)
        is_inside = (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
        if (instances[is_inside] > 0).mean() < 0.05:
            instances[is_inside & (instances == 0)] = instances.max() + 1
    return instances


def test_perfect_maps_give_the_objects_back():
    """A disc that others cut into lobes may become two objects."""
    records = []
    for seed in range(30):
        truth = disks(seed)
        found = objects.separate(
            (truth > 0).astype(float),
            objects.centrality(truth) / 255,
            objects.borders(truth) / 255,
        )
        np.testing.assert_array_equal(found > 0, truth > 0)
        records.append(instances.record(truth, found))
    metrics = instances.summarize(
        {name: np.stack([item[name] for item in records]) for name in records[0]}
    )
    assert metrics['ap50'] > 0.97
    assert metrics['ap'] > 0.9


def test_centrality_is_the_distance_to_the_border_of_each_object():
    truth = disks(3)
    found = objects.centrality(truth)
    for number in range(1, truth.max() + 1):
        mask = truth == number
        distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        expected = 255 * distance / distance.max()
        # The distance here is to the middle of the nearest pixel outside.
        assert np.abs(found[mask] - expected[mask]).max() < 255 * 0.25
        assert found[mask].max() == 255
    assert not found[truth == 0].any()


def test_an_object_at_the_edge_of_the_image_has_no_border_there():
    instances = np.zeros((9, 9), np.int32)
    instances[:, :5] = 1
    found = objects.centrality(instances)
    assert (found[:, 0] == 255).all()
    assert (found[:, 4] < 255).all()


def test_borders_are_where_two_objects_touch():
    instances = np.zeros((5, 9), np.int32)
    instances[:, 1:4] = 1
    instances[:, 4:7] = 2
    expected = np.zeros((5, 9), np.uint8)
    expected[:, 3:5] = 255
    np.testing.assert_array_equal(objects.borders(instances), expected)
    assert not objects.borders((instances > 0).astype(np.int32)).any()


def test_images_without_objects_have_none():
    nothing = np.zeros((8, 8), np.int32)
    assert not objects.centrality(nothing).any()
    assert not objects.borders(nothing).any()
    zeros = np.zeros((8, 8))
    assert not objects.separate(zeros, zeros, zeros).any()


def test_a_part_without_a_core_is_one_object():
    foreground = np.zeros((12, 12))
    foreground[2:6, 2:6] = 1
    nothing = np.zeros((12, 12))
    found = objects.separate(foreground, nothing, nothing, least_area=16)
    np.testing.assert_array_equal(found, foreground)
    assert not objects.separate(foreground, nothing, nothing, least_area=17).any()


def test_a_part_that_touches_a_higher_one_at_a_corner_stays():
    foreground = np.zeros((24, 24))
    foreground[2:12, 2:12] = 1
    foreground[12:18, 12:18] = 1
    rows, columns = np.mgrid[:24, :24]
    # It falls along the diagonal, so that the small part has no maximum of its own.
    center = foreground * np.maximum(0, 1 - 0.03 * (rows + columns))
    found = objects.separate(foreground, center, np.zeros((24, 24)))
    np.testing.assert_array_equal(found > 0, foreground > 0)
    (small,) = np.unique(found[12:18, 12:18])
    assert small not in found[2:12, 2:12]


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_the_smaller_of_two_masks_lies_on_top(order):
    masks = np.zeros((2, 6, 6), bool)
    masks[order[0]] = True
    masks[order[1], 2:4, 2:4] = True
    instances = objects.instances_of({'masks': masks})
    assert (instances[2:4, 2:4] == order[1] + 1).all()
    assert (instances[0] == order[0] + 1).all()


def test_noise_in_centrality_does_not_split_an_object():
    truth = disks(3)
    noise = np.random.default_rng(0).normal(0, 0.1, truth.shape)
    found = objects.separate(
        (truth > 0).astype(float),
        objects.centrality(truth) / 255 + noise,
        objects.borders(truth) / 255,
    )
    assert len(np.unique(found)) == len(np.unique(truth))


def test_objects_of_low_mean_probability_are_left_out():
    zeros = np.zeros((12, 24))
    foreground = zeros.copy()
    foreground[2:8, 2:8] = objects.LEAST_PROBABILITY - 0.01
    foreground[2:8, 14:20] = objects.LEAST_PROBABILITY + 0.01
    found = objects.separate(foreground, zeros, zeros)
    np.testing.assert_array_equal(found > 0, foreground > objects.LEAST_PROBABILITY)
