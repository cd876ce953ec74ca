import contextlib
import io

import numpy as np
import pytest
from helpers.box_files import objects_by_name, opened, write_coco, write_image
from helpers.data_config import data_config
from pycocotools.coco import COCO

from jaxvision.core.errors import UserError
from jaxvision.data import sources


def write_split(root, name, ids, categories=((1, 'cat'), (2, 'dog'))):
    """Write COCO's folders of one split, with a random number of objects in each image."""
    rng = np.random.default_rng(len(name))
    images = []
    objects = []
    for key in ids:
        width, height = (int(side) for side in rng.integers(20, 60, 2))
        file = f'{"part/" if key % 2 else ""}{key:012}.png'
        write_image(root / name / file, width, height)
        images.append((key, file, width, height))
        for _ in range(key % 4):
            x, y = (round(float(value), 2) for value in rng.uniform(0, 10, 2))
            box = [x, y, 5.25, 7.5]
            category = int(rng.choice([key for key, _ in categories]))
            more = {'iscrowd': int(rng.integers(2)), 'area': float(rng.uniform(1, 30))}
            objects.append((key, category, box, more))
    order = rng.permutation(len(objects))
    path = root / 'annotations' / f'instances_{name}.json'
    return write_coco(path, images, [objects[i] for i in order], categories)


@pytest.mark.parametrize('categories', [((7, 'a'), (91, 'b'), (30, 'c'))])
def test_the_boxes_are_those_that_pycocotools_reads(tmp_path, categories):
    write_split(tmp_path, 'train2017', range(10, 30), categories)
    path = write_split(tmp_path, 'val2017', range(40, 60), categories)
    source = opened(f'coco:{tmp_path}', 'val')
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(path)
    assert source.info.class_names == ('a', 'c', 'b')
    assert source.info.category_ids == (7, 30, 91)
    assert sorted(reference.getCatIds()) == [7, 30, 91]
    assert len(source) == len(reference.imgs) == 20
    for row, (key, image) in enumerate(reference.imgs.items()):
        assert source.where(row).endswith(f'/val2017/{image["file_name"]}')
        example = source.boxes_of(row)
        entries = reference.loadAnns(reference.getAnnIds(key))
        assert len(example['boxes']) == len(entries)
        for i, entry in enumerate(entries):
            x, y, width, height = entry['bbox']
            np.testing.assert_allclose(
                example['boxes'][i], [y, x, y + height, x + width], rtol=1e-6
            )
            label = example['box_classes'][i]
            assert source.info.category_ids[label] == entry['category_id']
            assert example['crowd'][i] == entry['iscrowd']
            assert example['area'][i] == np.float32(entry['area'])


def test_the_folders_of_coco_are_the_splits(tmp_path):
    write_split(tmp_path, 'train2017', range(10, 20))
    write_split(tmp_path, 'val2017', range(20, 25))
    parts = sources.Parts(data_config(source=f'coco:{tmp_path}'))
    assert not parts.has_validation
    assert len(parts.open('train')) == 10 and len(parts.open('test')) == 5
    write_split(tmp_path, 'test2017', range(30, 32 + 2))
    parts = sources.Parts(data_config(source=f'coco:{tmp_path}'))
    names = ('train', 'validation', 'test')
    assert [len(parts.open(name)) for name in names] == [10, 5, 4]


def test_the_folders_of_roboflow_are_the_splits(tmp_path):
    categories = ((0, 'cells'), (1, 'cells'), (2, 'b'))
    for split, number in (('train', 1), ('valid', 2), ('test', 3)):
        write_image(tmp_path / split / f'{number}.png')
        write_coco(
            tmp_path / split / '_annotations.coco.json',
            [(0, f'{number}.png', 40, 30)],
            [(0, 1, [1, 2, 3, 4]), (0, 2, [1, 2, 3, 4])],
            categories,
        )
    for split, number in (('train', 1), ('validation', 2), ('test', 3)):
        source = opened(f'coco:{tmp_path}', split)
        box = (2, 1, 6, 4)
        objects = [('cells', box, False, 12), ('b', box, False, 12)]
        assert objects_by_name(source) == {f'{number}.png': objects}
    assert source.info.category_ids == (1, 2)
    assert any('the category 0 is left out' in note for note in source.info.notes)


def test_one_file_and_the_folder_of_the_images(tmp_path):
    for number in range(10):
        write_image(tmp_path / 'pictures' / f'{number}.png')
    path = write_coco(
        tmp_path / 'my, file.json',
        [(n, f'{n}.png', 40, 30) for n in range(10)],
        [(n, 2, [0, 0, 5, 5]) for n in range(10)],
    )
    source = opened(f'coco:{path}', images=str(tmp_path / 'pictures'))
    assert len(source) == 10
    message = r"10 of 10 images are not in .*'0.png'. Name their folder as data.images"
    with pytest.raises(UserError, match=message):
        opened(f'coco:{path}')
    data = data_config(source=f'coco:{path}', images=str(tmp_path / 'pictures'))
    assert len(sources.open_source(data, 'test')) == 2


def one_file(tmp_path, objects, **changes):
    write_image(tmp_path / 'a.png')
    return write_coco(tmp_path / 'c.json', [(1, 'a.png', 40, 30)], objects, **changes)


def test_objects_that_cannot_be_used_are_counted(tmp_path):
    path = one_file(
        tmp_path,
        [
            (1, 1, [1, 2, 3, 4], {'area': None}),
            (1, 1, [1, 2, 0, 4]),
            (1, 5, [1, 2, 3, 4]),
            (9, 1, [1, 2, 3, 4]),
            (1, 1, [1, 2, 1e999, 4]),
            (1, 1, [1, 2, 10**400, 4], {'area': 3}),
        ],
    )
    source = opened(f'coco:{path}')
    assert objects_by_name(source) == {'a.png': [('cat', (2, 1, 6, 4), False, 12)]}
    assert list(source.info.notes) == [
        'c.json: 1 annotation of images that it does not list dropped, the first of the '
        'image 9',
        'classes without a training box (1): dog',
        'train: 2 boxes with a coordinate that is not finite dropped, the first in a.png',
        'train: 1 box of an unknown class dropped, the first in a.png',
        'train: 1 box without area dropped, the first in a.png',
    ]


def test_a_category_has_one_name_in_all_files(tmp_path):
    write_split(tmp_path, 'train2017', range(10, 14))
    write_split(tmp_path, 'val2017', range(20, 24), ((1, 'dog'), (2, 'cat')))
    with pytest.raises(UserError, match="category 1 is 'cat' in one file and 'dog'"):
        opened(f'coco:{tmp_path}')


def test_two_categories_of_one_name_with_boxes_are_refused(tmp_path):
    objects = [(1, 1, [1, 2, 3, 4]), (1, 2, [1, 2, 3, 4])]
    path = one_file(tmp_path, objects, categories=((1, 'cat'), (2, 'cat')))
    with pytest.raises(UserError, match="categories 1 and 2 are both called 'cat'"):
        opened(f'coco:{path}')


def test_an_image_in_two_splits_is_refused(tmp_path):
    write_split(tmp_path, 'train2017', range(10, 14))
    write_split(tmp_path, 'val2017', range(20, 24))
    file = 'part/000000000021.png'
    (tmp_path / 'val2017' / file).unlink()
    write_image(tmp_path / 'train2017' / 'part' / 'x.png')
    (tmp_path / 'val2017' / file).symlink_to(
        tmp_path / 'train2017' / 'part' / '000000000011.png'
    )
    with pytest.raises(UserError, match='share examples'):
        sources.Parts(data_config(source=f'coco:{tmp_path}'))


@pytest.mark.parametrize('name', ['../secret.png', '/etc/passwd', 'a\\..\\..\\b', '..'])
def test_a_file_name_cannot_leave_the_folder(tmp_path, name):
    write_image(tmp_path / 'secret.png')
    path = write_coco(tmp_path / 'in' / 'c.json', [(1, name, 40, 30)], [])
    with pytest.raises(UserError, match='does not lie in its folder'):
        opened(f'coco:{path}')


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'images': 1}, 'expected the lists .* and one is missing'),
        ({'categories': None}, 'expected the lists .* and one is missing'),
        ({'images': [1]}, 'one of its images has no `id`'),
        ({'images': [{'id': True, 'file_name': 'a'}]}, 'one of its images has no `id`'),
        ({'images': 2 * [{'id': 1, 'file_name': 'a.png'}]}, 'two images have the id 1'),
        (
            {'images': [{'id': i, 'file_name': 'a.png'} for i in (1, 2)]},
            'lists .* twice',
        ),
        ({'categories': [{'id': '1', 'name': 'a'}]}, 'has no number `id`'),
        ({'categories': 2 * [{'id': 1, 'name': 'a'}]}, 'two categories have the id 1'),
        ({'annotations': [{'image_id': 1, 'caption': 'a'}]}, 'no `category_id`'),
        (
            {
                'annotations': [
                    {'image_id': 1, 'category_id': 1, 'bbox': [1, 2, 3, '4']}
                ]
            },
            'no .bbox. of four numbers',
        ),
        ({'annotations': []}, 'no training image has a box'),
    ],
)
def test_files_of_another_form(tmp_path, changes, message):
    path = one_file(tmp_path, [(1, 1, [1, 2, 3, 4])])
    write_coco(path, [(1, 'a.png', 40, 30)], [(1, 1, [1, 2, 3, 4])], changes=changes)
    with pytest.raises(UserError, match=message):
        opened(f'coco:{path}')


def test_folders_without_annotation_files(tmp_path):
    with pytest.raises(UserError, match='expected annotations/instances_train'):
        opened(f'coco:{tmp_path}')
    with pytest.raises(UserError, match='there is no such file or folder'):
        opened(f'coco:{tmp_path}/none')
    for year in (2014, 2017):
        write_split(tmp_path, f'train{year}', range(10, 12))
    with pytest.raises(UserError, match='are both of the split train'):
        opened(f'coco:{tmp_path}')
