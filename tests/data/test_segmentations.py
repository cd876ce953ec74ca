"""Masks of objects are those of pycocotools, and a label map shows the smallest object."""

import contextlib
import io
import json

import numpy as np
import pytest
from helpers.box_files import opened, write_coco, write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from jaxvision.data import decode, segmentations, wrappers
from jaxvision.data.protocol import annotation_of, without
from jaxvision.data.segmentations import Segmentation, Shapes

SIZE = (30, 40)


def polygon(rng, points=8, scale=1.0):
    """A star around a place in the image, partly outside of it, with two decimals."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    radii = rng.uniform(2, 14, points) * scale
    x = rng.uniform(0, 40) + radii * np.cos(angles)
    y = rng.uniform(0, 30) + radii * np.sin(angles)
    return np.stack([x, y], axis=1).round(2).reshape(-1).tolist()


def around(coordinates):
    x = np.clip(coordinates[::2], 0, 40).tolist()
    y = np.clip(coordinates[1::2], 0, 30).tolist()
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def write_objects(tmp_path, outlines, **fields):
    """Write a file of COCO with one image and an object for each outline."""
    write_image(tmp_path / 'a.png')
    objects = []
    for number, outline in enumerate(outlines):
        more = {'segmentation': outline, 'area': 1.0 + number}
        more |= {key: values[number] for key, values in fields.items()}
        box = [1, 2, 10, 8]
        if isinstance(outline, list) and outline:
            box = around(sum(outline, []))
        objects.append((1, 1 + number % 2, box, more))
    return write_coco(tmp_path / 'c.json', [(1, 'a.png', 40, 30)], objects)


def masks_of_reference(path):
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(path)
    return [
        reference.annToMask(entry).astype(bool) for entry in reference.anns.values()
    ]


def test_two_hundred_random_polygons_are_those_of_pycocotools(tmp_path):
    rng = np.random.default_rng(0)
    outlines = []
    for number in range(200):
        parts = [polygon(rng, int(rng.integers(3, 12))) for _ in range(1 + number % 2)]
        outlines.append(parts)
    path = write_objects(tmp_path, outlines)
    example = opened(f'coco:{path}')[0]
    assert example['masks'].shape == (200, *SIZE) and example['masks'].dtype == bool
    np.testing.assert_array_equal(example['masks'], masks_of_reference(path))


def test_run_lengths_compressed_or_not(tmp_path):
    rng = np.random.default_rng(1)
    pixels = np.asfortranarray(rng.random((*SIZE, 3)) < 0.3)
    encoded = coco_mask.encode(pixels.astype(np.uint8))
    outlines = []
    for runs in encoded:
        outlines.append({'size': [30, 40], 'counts': runs['counts'].decode()})
    flat = pixels[..., 0].T.reshape(-1)
    starts = np.flatnonzero(np.diff(flat.astype(int), prepend=0, append=2))
    plain = {'size': [30, 40], 'counts': np.diff(starts, prepend=0).tolist()}
    path = write_objects(tmp_path, [*outlines, plain], iscrowd=[1, 0, 0, 0])
    masks = opened(f'coco:{path}')[0]['masks']
    np.testing.assert_array_equal(masks[:3], np.moveaxis(pixels, -1, 0))
    np.testing.assert_array_equal(masks[3], pixels[..., 0])


def test_boxes_need_no_masks_and_masks_can_be_left_out(tmp_path, monkeypatch):
    path = write_objects(tmp_path, [[polygon(np.random.default_rng(0))]])
    source = opened(f'coco:{path}')
    keys = ('image', 'boxes', 'box_classes', 'crowd', 'area', 'masks', 'semantic')
    assert source.info.holds == keys == (*source[0],)[:5] + keys[5:]
    assert set(annotation_of(source, 0)) == set(keys) - {'image'}
    subset = wrappers.Subset(source, np.array([0]), 'one')
    for whole in (source, subset):
        few = without(whole, ('masks', 'boxes'))
        assert few.info.holds == keys[:5] + ('semantic',)
        assert set(few[0]) == set(few.info.holds) == set(few.read([0])[0])
        assert few.info.semantic_names == ('background', 'cat', 'dog')
        assert few.info.fingerprint == whole.info.fingerprint
    monkeypatch.setattr(segmentations, 'masks', None)
    bare = without(subset, ('masks', 'semantic'))
    assert set(bare[0]) == set(keys[:5]) and bare.info.semantic_names == ()
    assert set(source.boxes_of(0)) == set(keys[1:5])


# From the upright image to the one that EXIF with this orientation turns upright.
BACKWARDS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(
    'orientation, is_upright',
    [*((number, True) for number in BACKWARDS), *((n, False) for n in range(5, 9))],
)
def test_masks_are_of_the_upright_image(tmp_path, orientation, is_upright):
    """The image is white where the mask is, and annotated upright or as it is stored."""
    outline = [5, 4, 25, 4, 25, 9, 11, 9, 11, 22, 5, 22]  # an L
    reference = coco_mask.decode(coco_mask.frPyObjects([outline], *SIZE))[..., 0]
    picture = Image.fromarray(255 * reference)
    if is_upright:
        picture = picture.transpose(BACKWARDS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / 'a.png', exif=exif)
    entry = (1, 1, around(outline), {'segmentation': [outline]})
    path = write_coco(tmp_path / 'c.json', [(1, 'a.png', 40, 30)], [entry])
    example = opened(f'coco:{path}')[0]
    upright = decode.decode(example['image'], 1)[..., 0] > 0
    np.testing.assert_array_equal(example['masks'][0], upright)
    ys, xs = np.nonzero(upright)
    edges = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
    assert example['boxes'][0].tolist() == edges


def test_the_smallest_object_is_on_top_and_crowds_are_ignored():
    rng = np.random.default_rng(3)
    masks = rng.random((9, 12, 13)) < rng.uniform(0.05, 0.6, (9, 1, 1))
    classes = rng.integers(0, 5, 9).astype(np.int32)
    crowd = rng.random(9) < 0.3
    label_map = segmentations.semantic(masks, classes, crowd)
    areas = masks.sum((1, 2))
    for y, x in np.ndindex(12, 13):
        objects = [row for row in range(9) if masks[row, y, x] and not crowd[row]]
        expected = 255 if masks[crowd, y, x].any() else 0
        if objects:
            smallest = min(objects, key=lambda row: (areas[row], -row))
            expected = 1 + classes[smallest]
        assert label_map[y, x] == expected


def test_objects_without_an_outline_have_the_mask_of_their_box(tmp_path):
    damaged = [
        [],
        None,
        [[1, 2, 3, 4]],
        [[1, 2, 3, 'x', 5, 6]],
        [[1, 2, 3, 4, 5]],
        [1, 2, 3, 4, 5, 6],
        [[1, 2, 3, float('nan'), 5, 6]],
        [[1, 2, 1e30, 4, 5, 6]],
        [[0, 0, 99000, 0] * 50],
        {'size': [30, 40]},
        {'size': [30, 40], 'counts': [1, 2]},
        {'size': [30, 40], 'counts': [-1, 1201]},
        {'size': [30, 40], 'counts': 'zzzz'},
        {'size': [0, 40], 'counts': [0]},
        {'size': [30], 'counts': [30]},
        'text',
        3,
    ]
    write_image(tmp_path / 'a.png')
    outline = [[1, 1, 9, 1, 9, 9]]
    objects = [
        (1, 1, [10, 20, 5.4, 6.5], {'segmentation': value})
        for value in [outline, *damaged]
    ]
    path = write_coco(tmp_path / 'c.json', [(1, 'a.png', 40, 30)], objects)
    source = opened(f'coco:{path}')
    masks = source[0]['masks']
    box = np.zeros(SIZE, bool)
    box[20:26, 10:15] = True
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, box)
    note = f'train: {len(damaged)} objects without an outline: the box is the mask'
    assert note in source.info.notes


def test_run_lengths_of_another_size_are_counted(tmp_path):
    """Decoded, they would be pixels elsewhere."""
    outlines = [[[1, 1, 9, 1, 9, 9]], {'size': [40, 30], 'counts': [600, 600]}]
    source = opened(f'coco:{write_objects(tmp_path, outlines)}')
    assert any('1 box with run lengths of another size' in n for n in source.info.notes)
    assert source[0]['masks'][1].sum() == 10 * 8


def test_the_outlines_of_dropped_boxes_are_dropped(tmp_path):
    rng = np.random.default_rng(0)
    outlines = [[polygon(rng)] for _ in range(4)]
    path = write_objects(tmp_path, outlines)
    fields = json.loads(path.read_text())
    fields['annotations'][1]['bbox'] = [5, 5, 0, 3]
    path.write_text(json.dumps(fields))
    masks = opened(f'coco:{path}')[0]['masks']
    expected = masks_of_reference(path)
    np.testing.assert_array_equal(masks, [expected[row] for row in (0, 2, 3)])


def test_the_fingerprint_is_of_the_outlines(tmp_path):
    first = [[1, 1, 9, 1, 9, 9]]
    prints = set()
    for outline in (first, [[1, 1, 9, 1, 8, 9]], [[1, 1, 9, 1, 9, 9]], []):
        path = write_objects(tmp_path, [outline, first])
        fields = json.loads(path.read_text())
        fields['annotations'][0]['bbox'] = [1, 1, 8, 8]
        path.write_text(json.dumps(fields))
        prints.add(opened(f'coco:{path}').info.fingerprint)
    assert len(prints) == 3


def test_boxes_alone_hold_no_masks(tmp_path):
    path = write_objects(tmp_path, [[], []])
    assert 'masks' not in opened(f'coco:{path}').info.holds


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=12))
def test_the_pixels_of_damaged_run_lengths(data):
    """Where the text is whole, pycocotools finds the same runs and writes them alike."""
    total = segmentations.sum_of_runs(data)
    if total <= 0 or total > 10**6:
        return
    runs = {'size': [total, 1], 'counts': data}
    mask = coco_mask.decode(runs)
    assert mask.shape == (total, 1) and mask.sum() == coco_mask.area(runs)


def test_run_lengths_of_random_masks_are_summed():
    rng = np.random.default_rng(0)
    for fraction in (0, 0.01, 0.5, 1):
        pixels = np.asfortranarray(rng.random((70, 90)) < fraction, np.uint8)
        counts = coco_mask.encode(pixels)['counts']
        assert segmentations.sum_of_runs(counts) == 70 * 90
        assert segmentations.sum_of_runs(counts[:-1] + b'\xff') == -1


def test_a_box_of_part_of_a_pixel_has_the_pixels_whose_centres_it_holds():
    boxes = np.array([[0.4, 0.6, 2.5, 1.6], [0.6, 0.6, 0.9, 0.9]], np.float32)
    masks = segmentations.masks(Shapes((None, None), (3, 3)), boxes)
    assert masks[0].astype(int).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert not masks[1].any()


def test_an_image_without_objects_has_no_masks():
    masks = segmentations.masks(Shapes((), (3, 4)), np.zeros((0, 4), np.float32))
    assert masks.shape == (0, 3, 4)
    none = np.zeros(0, np.int32)
    label_map = segmentations.semantic(masks, none, none.astype(bool))
    assert not label_map.any() and label_map.shape == (3, 4)
    assert Segmentation().digest() == Segmentation().digest()
