import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.box_files import EXIF_ORIENTATION, write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import boxes_checks, decode, headers
from jaxvision.data.boxes_dataset import Object, annotated

SIZE = headers.Size(30, 40)
CLASSES = {'a': 0, 'b': 1}


def check(*objects, size=SIZE, says=None, is_relative=False):
    image = annotated(Path('x/one.png'), list(objects), says)
    checked = boxes_checks.checked([image], [size], CLASSES, is_relative)
    return checked.objects[0], checked.notes


def check_file(path, image):
    checked = boxes_checks.checked([image], headers.sizes([path]), CLASSES)
    return checked.objects[0], checked.notes


def test_usable_boxes_stay_as_they_are():
    arrays, notes = check(
        Object('b', (1.5, 2, 10, 20.25), crowd=True, area=7),
        Object('a', (0, 0, 30, 40)),
    )
    assert arrays['boxes'].tolist() == [[1.5, 2, 10, 20.25], [0, 0, 30, 40]]
    assert arrays['box_classes'].tolist() == [1, 0]
    assert arrays['crowd'].tolist() == [True, False]
    assert arrays['area'].tolist() == [7, 1200]
    dtypes = [arrays[key].dtype for key in ('boxes', 'box_classes', 'crowd', 'area')]
    assert dtypes == [np.float32, np.int32, np.bool_, np.float32]
    assert notes == []


@pytest.mark.parametrize(
    'item, kind',
    [
        (Object('a', (5, 5, 5, 9)), 'without area dropped'),
        (Object('a', (5, 5, 4, 9)), 'without area dropped'),
        (Object('a', (5, 9, 9, 5)), 'without area dropped'),
        # A float32 cannot tell these edges apart.
        (Object('a', (5, 5, 5 + 1e-12, 9)), 'without area dropped'),
        (Object('a', (30, 5, 40, 9)), 'outside of the image dropped'),
        (Object('a', (5, -9, 9, 0)), 'outside of the image dropped'),
        (
            Object('a', (5, 5, math.nan, 9)),
            'with a coordinate that is not finite dropped',
        ),
        (
            Object('a', (5, 5, math.inf, 9)),
            'with a coordinate that is not finite dropped',
        ),
        (Object('c', (5, 5, 9, 9)), 'of an unknown class dropped'),
    ],
)
def test_an_unusable_box_is_dropped_counted_and_named(item, kind):
    arrays, notes = check(item, Object('a', (1, 1, 2, 2)), item)
    assert arrays['boxes'].tolist() == [[1, 1, 2, 2]]
    assert notes == [f'2 boxes {kind}, the first in one.png']


def test_a_box_partly_outside_is_clipped_and_counted():
    arrays, notes = check(
        Object('a', (-3, 5, 9, 50)), Object('b', (-0.01, 5, 9, 40.05))
    )
    assert arrays['boxes'].tolist() == [[0, 5, 9, 40], [0, 5, 9, 40]]
    assert notes == [
        '1 box partly outside of the image clipped to it, the first in one.png'
    ]


def test_equal_boxes_of_a_class_are_kept_and_counted():
    box = (1, 2, 3, 4)
    arrays, notes = check(Object('a', box), Object('b', box), *3 * [Object('a', box)])
    assert len(arrays['boxes']) == 5
    assert notes == [
        '3 boxes equal to another one of its class kept, the first in one.png'
    ]


@pytest.mark.parametrize('area', [0, -1, math.inf, 1e39])
def test_an_area_that_is_none_is_replaced_and_counted(area):
    arrays, notes = check(Object('a', (0, 0, 2, 3), area=area))
    assert arrays['area'].tolist() == [6]
    assert len(notes) == 1 and 'with an area that is no positive number' in notes[0]


def test_an_image_without_a_box_is_kept_and_counted():
    arrays, notes = check()
    assert arrays['boxes'].shape == (0, 4) and arrays['area'].shape == (0,)
    assert notes == ['1 image without a box kept, the first in one.png']


def test_an_image_without_a_readable_header_is_counted():
    arrays, notes = check(Object('a', (0, 0, 1, 1)), size=None)
    assert arrays['boxes'].shape == (0, 4)
    assert 'whose header cannot be read' in notes[0]


def test_relative_boxes_become_pixels():
    arrays, notes = check(Object('a', (0.5, 0.25, 1, 0.5)), is_relative=True)
    assert arrays['boxes'].tolist() == [[15, 10, 30, 20]] and not notes


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_boxes_turn_with_the_image_in_every_orientation(tmp_path, suffix, orientation):
    box = (4, 20, 12, 36)
    path = write_image(tmp_path / f'a.{suffix}', orientation=orientation, boxes=[box])
    (size,) = headers.sizes([path])
    assert size.stored == (30, 40)
    pixels = decode.decode(path, 3)
    assert pixels.shape[:2] == size.upright
    turned = boxes_checks.turned(np.array([box], float), 30, 40, orientation)
    ymin, xmin, ymax, xmax = turned[0].astype(int)
    # Lossy formats blur the edges.
    assert pixels[ymin:ymax, xmin:xmax].mean() > 230
    assert pixels[..., 0].astype(float).sum() < 1.1 * 255 * 8 * 16


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_boxes_of_the_stored_image_are_turned_and_counted(tmp_path, orientation):
    path = write_image(tmp_path / 'a.png', orientation=orientation)
    image = annotated(path, [Object('a', (4, 20, 12, 36))], (30, 40))
    arrays, notes = check_file(path, image)
    expected = boxes_checks.turned(image.boxes, 30, 40, orientation)
    assert arrays['boxes'].tolist() == expected.tolist()
    assert '1 image with boxes of the image as stored' in notes[0]
    upright = dataclasses.replace(image, size=(40, 30))
    arrays, notes = check_file(path, upright)
    assert arrays['boxes'].tolist() == [[4, 20, 12, 30]]
    assert len(notes) == 1 and 'clipped' in notes[0]


@pytest.mark.parametrize('orientation, says', [(3, (30, 40)), (3, None), (6, None)])
def test_an_orientation_that_no_size_tells_is_counted(tmp_path, orientation, says):
    path = write_image(tmp_path / 'a.png', orientation=orientation)
    image = annotated(path, [Object('a', (1, 2, 3, 4))], says)
    arrays, notes = check_file(path, image)
    assert arrays['boxes'].tolist() == [[1, 2, 3, 4]]
    assert 'that EXIF turns or mirrors' in notes[0]


@pytest.mark.parametrize('says', [(40, 30), (31, 40), (60, 80)])
def test_a_size_that_the_image_does_not_have_is_an_error(says):
    with pytest.raises(
        UserError, match='1 image of another size .*one.png: it is 40x30'
    ):
        check(Object('a', (1, 1, 2, 2)), says=says)


def test_a_damaged_orientation_is_upright(tmp_path):
    path = tmp_path / 'a.png'
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 9
    Image.new('RGB', (4, 3)).save(path, exif=exif)
    assert headers.sizes([path, tmp_path / 'none.png']) == [headers.Size(3, 4), None]


coordinates = st.floats(-60, 60) | st.sampled_from([math.nan, math.inf, -1e300, 1e300])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from('abc'),
            st.tuples(*4 * [coordinates]),
            st.floats(),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_every_box_is_usable_or_counted(items):
    objects = [Object(label, box, crowd, area) for label, box, area, crowd in items]
    arrays, notes = check(*objects)
    boxes = arrays['boxes']
    assert (boxes >= 0).all() and (boxes <= [30, 40, 30, 40]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.isfinite(arrays['area']).all() and (arrays['area'] > 0).all()
    dropped = sum(int(note.split()[0]) for note in notes if ' dropped' in note)
    assert dropped + len(boxes) == len(objects)
    lengths = {len(value) for value in arrays.values()}
    assert lengths == {len(boxes)}


def test_notes_count_over_images_and_name_the_first():
    images = [
        annotated(Path(f'{name}.png'), number * [Object('a', (1, 1, 1, 1))])
        for name, number in (('one', 0), ('two', 2), ('three', 1))
    ]
    notes = boxes_checks.checked(images, 3 * [SIZE], CLASSES).notes
    assert notes == [
        '3 images without a box kept, the first in one.png',
        '3 boxes without area dropped, the first in two.png',
    ]


def test_a_clipped_box_covers_the_pixels_that_it_shares_with_the_image():
    values = (-5, 0, 7, 29, 30, 31, 45)
    for ymin, xmin, ymax, xmax in itertools.product(values, repeat=4):
        boxes = np.array([[ymin, xmin, ymax, xmax]], float)
        inner = boxes_checks.clipped(boxes, 30, 40)
        (has_area,) = boxes_checks.have_area(inner)
        rows = range(max(ymin, 0), min(ymax, 30))
        columns = range(max(xmin, 0), min(xmax, 40))
        assert has_area == bool(len(rows) and len(columns))
        if has_area:
            last = [rows[-1] + 1, columns[-1] + 1]
            assert inner[0].tolist() == [rows[0], columns[0], *last]
