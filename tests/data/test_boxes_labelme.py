import json

import numpy as np
import pytest
from helpers.box_files import objects_by_name, opened, write_image
from helpers.data_config import data_config
from pycocotools import mask

from jaxvision.core.errors import UserError
from jaxvision.data import sources


def shape(label, points, kind='rectangle', **more):
    return {'label': label, 'points': points, 'shape_type': kind, **more}


def write_file(folder, name, shapes, image=None, changes=None):
    """Write a JSON file of LabelMe and, unless `image` names one, its image."""
    if image is None:
        write_image(folder / f'{name}.png')
    fields = {
        'version': '5.4.1',
        'flags': {},
        'shapes': shapes,
        'imagePath': image or f'{name}.png',
        'imageData': None,
        'imageHeight': 30,
        'imageWidth': 40,
    }
    path = folder / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields | (changes or {})))
    return path


CAT = shape('cat', [[3, 4], [1, 2]])


def test_rectangles_and_polygons_are_boxes(tmp_path):
    polygon = shape('dog', [[5, 9], [1.5, 12], [7, 20.25]], 'polygon')
    write_file(tmp_path, 'a', [CAT, polygon, shape('x', [[1, 2]], 'point')])
    write_file(tmp_path, 'b', [])
    source = opened(f'boxes:{tmp_path}')
    assert source.info.class_names == ('cat', 'dog')
    assert objects_by_name(source) == {
        'a.png': [
            ('cat', (2, 1, 4, 3), False, 4),
            ('dog', (9, 1.5, 20.25, 7), False, 5.5 * 11.25),
        ],
        'b.png': [],
    }
    assert source.info.notes == (
        "1 shape of the kind 'point' dropped: expected a rectangle or a polygon",
        'train: 1 image without a box kept, the first in b.png',
        'train: 1 object without an outline: the box is the mask',
    )


def test_polygons_are_masks_and_a_rectangle_is_its_own(tmp_path):
    outline = [[5, 2], [15, 2], [15, 12.4], [5, 9]]
    write_file(tmp_path, 'a', [shape('dog', outline, 'polygon'), CAT])
    source = opened(f'boxes:{tmp_path}')
    assert source.info.semantic_names == ('background', 'cat', 'dog')
    example = source[0]
    reference = mask.decode(mask.frPyObjects([sum(outline, [])], 30, 40))[..., 0]
    rectangle = np.zeros((30, 40), bool)
    rectangle[2:4, 1:3] = True
    np.testing.assert_array_equal(example['masks'], [reference, rectangle])
    np.testing.assert_array_equal(example['semantic'], 2 * reference + rectangle)


def test_rectangles_alone_have_no_masks(tmp_path):
    write_file(tmp_path, 'a', [CAT])
    info = opened(f'boxes:{tmp_path}').info
    assert info.holds == ('image', 'boxes', 'box_classes', 'crowd', 'area')
    assert info.semantic_names == ()


def test_folders_with_names_of_splits_are_the_splits(tmp_path):
    for folder in ('train/x', 'Valid', 'test', 'other'):
        write_file(tmp_path / folder, folder[:2], [CAT])
    parts = sources.Parts(data_config(source=f'boxes:{tmp_path}'))
    for split, name in (('train', 'tr'), ('validation', 'Va'), ('test', 'te')):
        source = parts.open(split)
        assert len(source) == 1 and source.where(0).endswith(f'/{name}.png')
    notes = source.info.notes
    assert '1 JSON file outside of the splits left out, such as other/ot.json' in notes


def test_without_such_folders_all_images_train(tmp_path):
    write_file(tmp_path / 'monday', 'a', [CAT])
    write_file(tmp_path, 'b', [CAT])
    write_image(tmp_path / 'c.png')
    write_file(tmp_path / '.hidden', 'd', [CAT])
    source = opened(f'boxes:{tmp_path}')
    assert len(source) == 2
    assert source.info.notes == ('1 image without a JSON file left out, such as c.png',)


def test_splits_further_down_are_refused(tmp_path):
    """All their images, those of validation too, would be trained on."""
    for name in ('train', 'val'):
        write_file(tmp_path / '2024' / name, name, [CAT])
    with pytest.raises(UserError, match='is in one further down'):
        opened(f'boxes:{tmp_path}')


@pytest.mark.parametrize(
    'image', ['../images/a.png', '..\\images\\a.png', '../labels/../images/a.png']
)
def test_images_may_lie_in_another_folder_of_the_dataset(tmp_path, image):
    write_image(tmp_path / 'images' / 'a.png')
    write_file(tmp_path / 'labels', 'a', [CAT], image)
    assert opened(f'boxes:{tmp_path}').where(0) == str(tmp_path / 'images' / 'a.png')


@pytest.mark.parametrize('image', ['renamed.png', '/home/me/a.png', 'x/a.png'])
def test_an_image_beside_the_file_is_found_by_its_name(tmp_path, image):
    write_image(tmp_path / 'a.png')
    write_file(tmp_path, 'a', [CAT], image)
    assert len(opened(f'boxes:{tmp_path}')) == 1


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'shapes': None}, 'has no list `shapes`'),
        ({'imagePath': 3}, 'no text `imagePath`'),
        (
            {'imagePath': 'none.png', 'imageData': 'AAAA'},
            "there is no image 'none.png'",
        ),
        ({'imagePath': 'nul\0.png'}, 'there is no image'),
        ({'imagePath': '../../secret.png'}, 'does not lie in its folder'),
        ({'imagePath': '/etc/passwd'}, 'there is no image'),
        ({'shapes': [3]}, 'in the shape 3'),
        ({'shapes': [shape(' ', [[1, 2], [3, 4]])]}, 'the label of a shape is empty'),
        ({'shapes': [shape('a', [[1, 2]])]}, 'has 1 points, expected 2'),
        ({'shapes': [shape('a', 'points')]}, 'has 0 points'),
        (
            {'shapes': [shape('a', [[1, 2], [3, 'x']])]},
            r"a point of a shape is \[3, 'x'\]",
        ),
        ({'imageHeight': 40, 'imageWidth': 30}, 'the annotation says 30x40'),
        ({'shapes': []}, 'no training image has a box'),
    ],
)
def test_files_of_another_form(tmp_path, changes, message):
    root = tmp_path / 'in'
    write_image(tmp_path / 'secret.png')
    write_image(root / 'other.png')
    write_file(root, 'a', [CAT], 'other.png', changes)
    with pytest.raises(UserError, match=message):
        opened(f'boxes:{root}')


def test_points_that_are_not_finite_are_counted(tmp_path):
    nan = shape('cat', [[1, 2], [float('nan'), 3], [3, 4], [2, 9]], 'polygon')
    write_file(tmp_path, 'a', [nan, CAT, shape('cat', [[1, 10**400], [2, 3]])])
    source = opened(f'boxes:{tmp_path}')
    assert len(source.boxes_of(0)['boxes']) == 1
    assert source.info.notes == (
        'train: 2 boxes with a coordinate that is not finite dropped, the first in a.png',
    )


def test_a_folder_without_files_of_labelme(tmp_path):
    with pytest.raises(UserError, match='expected JSON files of LabelMe'):
        opened(f'boxes:{tmp_path}')
    write_file(tmp_path, 'a', [CAT])
    with pytest.raises(UserError, match='files of LabelMe name their images'):
        opened(f'boxes:{tmp_path}', images='x')
    (tmp_path / 'b.json').write_text('{')
    with pytest.raises(UserError, match=r'b\.json is no JSON'):
        opened(f'boxes:{tmp_path}')
