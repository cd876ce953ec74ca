"""Overlays of label maps paint what they should and nothing else."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from jaxvision.viz import segmentation as viz

NAMES = ('background', 'cell', 'wall')
# Severity 1 of Machado et al. 2009, on linear RGB.
BLINDNESS = {
    'none': np.eye(3),
    'protanopia': [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    'deuteranopia': [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    'tritanopia': [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def scene(size=(400, 500)):
    """A grey image, and labels with two squares and a row of IGNORED pixels."""
    image = np.full((*size, 3), 100, np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[50:100, 50:150] = 1
    labels[50:100, 150:250] = 2
    labels[-20:] = viz.IGNORED
    return image, labels


def test_a_palette_of_more_classes_begins_with_the_same_colours():
    whole = viz.palette(255)
    assert whole.shape == (255, 3)
    for number in (0, 1, 9, 10, 11, 40):
        np.testing.assert_array_equal(viz.palette(number), whole[:number])
    assert len(np.unique(whole, axis=0)) == 255


@pytest.mark.parametrize('kind', BLINDNESS)
def test_the_first_ten_colours_differ_for_people_who_are_colour_blind(kind):
    linear = (viz.palette(10) / 255) ** 2.2
    seen = np.clip(linear @ np.transpose(BLINDNESS[kind]), 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen)
    distances = deltaE_ciede2000(lab[:, None], lab[None])
    assert distances[~np.eye(10, dtype=bool)].min() > 6


def test_hidden_and_ignored_pixels_keep_their_image():
    image, labels = scene()
    picture = viz.overlay(image, labels, NAMES, hidden=[0])[:400]
    is_painted = (labels > 0) & (labels < viz.IGNORED)
    np.testing.assert_array_equal(picture[~is_painted], image[~is_painted])
    assert (picture[is_painted] != 100).any(axis=-1).all()
    middle = np.round(0.5 * 100 + 0.5 * viz.palette(2)[1])
    np.testing.assert_array_equal(picture[75, 100], middle)
    # Both sides of the edge between two classes, and no pixel of the hidden class.
    np.testing.assert_array_equal(picture[75, 149], viz.palette(2)[1])
    np.testing.assert_array_equal(picture[75, 150], viz.palette(3)[2])
    np.testing.assert_array_equal(picture[50, 60], viz.palette(2)[1])


def test_an_opacity_of_0_draws_contours_alone():
    image, labels = scene()
    picture = viz.overlay(image, labels, NAMES, hidden=[0], opacity=0.0)[:400]
    changed = (picture != image).any(axis=-1)
    assert not changed[60:90, 60:140].any()
    assert changed[50, 50:250].all()


def test_the_legend_stands_below_and_has_the_painted_classes():
    image, labels = scene()
    legend = viz.overlay(image, labels, NAMES, hidden=[0])[400:]
    assert legend.shape[1] == 500
    for number, is_shown in enumerate((False, True, True)):
        is_color = (legend == viz.palette(3)[number]).all(axis=-1)
        assert is_color.any() == is_shown
    nothing = viz.overlay(image, np.full_like(labels, viz.IGNORED), NAMES)
    np.testing.assert_array_equal(nothing, image)


def test_a_legend_of_many_long_names_fits_into_the_width():
    labels = np.arange(400 * 60).reshape(400, 60) % 100
    names = [f'a rather long name of the class {number}' for number in range(100)]
    picture = viz.overlay(np.zeros((400, 60, 1), np.uint8), labels, names)
    assert picture.shape[1] == 60
    swatches = (picture[400:, 10] != 255).any(axis=-1)
    # Lines of squares, divided by white.
    assert np.count_nonzero(np.diff(swatches.astype(int)) == 1) == 40


def test_small_images_are_enlarged_with_their_labels():
    image = np.zeros((4, 8, 3), np.uint8)
    labels = np.zeros((4, 8), np.int32)
    labels[:, 4:] = 1
    picture = viz.overlay(image, labels, NAMES, hidden=[0])
    assert picture[:160].any(axis=-1)[:, 160:].all()
    assert not picture[:160, :160].any()


def test_objects_with_large_numbers_have_colours_and_contours():
    image = np.full((320, 400, 1), 50, np.uint8)
    instances = np.zeros((320, 400), np.int32)
    instances[100:200, 100:200] = 2**30
    instances[100:200, 200:300] = 7
    picture = viz.overlay_instances(image, instances)
    assert picture.shape == (320, 400, 3)
    assert (picture[instances == 0] == 50).all()
    assert len(np.unique(picture[instances == 7], axis=0)) == 2
    assert (picture[150, 199] != picture[150, 200]).any()
    assert (picture[150, 200] != picture[150, 250]).any()


def test_the_first_mask_is_on_top():
    image = np.full((60, 80, 3), 90, np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:30, 10:30] = True
    masks[1, 20:50, 0:60] = True
    both = viz.overlay_masks(image, masks, np.array([0, 1]))
    np.testing.assert_array_equal(both[~masks.any(0)], image[~masks.any(0)])
    alone = viz.overlay_masks(image, masks[:1], np.array([0]))
    edge = masks[0] & ~np.pad(masks[0], 1)[2:, 1:-1]
    np.testing.assert_array_equal(both[edge], alone[edge])
    # A contour along the edge of the image, which does not wrap.
    assert (both[35, 0] != both[35, 2]).any()
    assert (both[35, 79] == 90).all()


def test_label_colours_are_those_of_the_palette_but_for_ignored_pixels():
    colors = viz.label_colors()
    assert colors.shape == (256, 3)
    np.testing.assert_array_equal(colors[: viz.IGNORED], viz.palette(255))
    assert tuple(colors[viz.IGNORED]) == viz.IGNORED_COLOR
    assert len(np.unique(colors, axis=0)) == 256


@pytest.mark.parametrize(
    ('first', 'expected'), [('Background', (0,)), ('void', (0,)), ('road', ())]
)
def test_only_a_first_class_that_is_called_a_background_is_hidden(first, expected):
    assert viz.hidden_classes((first, 'background')) == expected
