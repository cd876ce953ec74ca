import numpy as np
import pytest
import yaml
from helpers.box_files import objects_by_name, opened, write_image, write_yolo
from helpers.data_config import data_config
from pycocotools import mask as coco_mask

from jaxvision.core.errors import UserError
from jaxvision.data import sources

ONE_BOX = '0 0.5 0.5 0.5 0.5'
NAMES = {0: 'cat', 1: 'dog'}


def write_yaml(root, **fields):
    path = root / 'data.yaml'
    path.write_text(yaml.safe_dump(fields))
    return path


def test_boxes_are_fractions_of_the_image(tmp_path):
    labels = {'a': '1 0.5 0.25 0.25 0.5\n\n0 0.1 0.9 0.1 0.1\n', 'b': '', 'c': None}
    write_yolo(tmp_path, 'train', labels)
    path = write_yaml(tmp_path, train='images/train', val='images/train', names=NAMES)
    source = opened(f'yolo:{path}')
    assert source.info.class_names == ('cat', 'dog')
    assert source.info.category_ids == (0, 1)
    assert source.info.image_shape == (30, 40, 3)
    objects = objects_by_name(source)
    assert objects['b.png'] == objects['c.png'] == []
    (dog, cat) = objects['a.png']
    assert dog == ('dog', (0, 15, 15, 25), False, 150)
    assert cat[0] == 'cat'
    np.testing.assert_allclose(cat[1], (25.5, 2, 28.5, 6), rtol=1e-6)
    note = '1 image without a label file: read as images without objects, such as c.png'
    assert note in source.info.notes


def test_a_polygon_becomes_its_bounding_box(tmp_path):
    text = '0 0.5 0.1 0.9 0.5 0.1 0.4\n1 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3'
    write_yolo(tmp_path, 'train', {'a': text})
    path = write_yaml(tmp_path, train='images/train', names=['cat', 'dog'])
    source = opened(f'yolo:{path}')
    boxes = source.boxes_of(0)['boxes']
    np.testing.assert_allclose(boxes, [[3, 4, 15, 36], [3, 4, 9, 8]], rtol=1e-6)
    pixels = [[20, 3, 36, 15, 4, 12], [4, 3, 8, 3, 8, 9, 4, 9]]
    masks = coco_mask.decode(coco_mask.frPyObjects(pixels, 30, 40))
    np.testing.assert_array_equal(source[0]['masks'], np.moveaxis(masks, -1, 0))


def test_keypoints_behind_a_box_are_not_read(tmp_path):
    write_yolo(tmp_path, 'train', {'a': f'{ONE_BOX} 0.9 0.9 2 0.1 0.1 2'})
    path = write_yaml(tmp_path, train='images/train', names=['cat'], kpt_shape=[2, 3])
    assert opened(f'yolo:{path}').boxes_of(0)['boxes'].tolist() == [[7.5, 10, 22.5, 30]]


def test_splits_are_folders_lists_of_folders_or_text_files(tmp_path):
    for split, names in (('a', 'pq'), ('b', 'r'), ('c', 'st'), ('d', 'uvw')):
        write_yolo(tmp_path, split, dict.fromkeys(names, ONE_BOX))
    lines = [
        './images/c/s.png',
        str(tmp_path / 'images' / 'c' / 't.png'),
        '',
        './images/c/s.png',
    ]
    (tmp_path / 'val.txt').write_text('\n'.join(lines))
    path = write_yaml(
        tmp_path,
        path='.',
        train=['images/a', 'images/b'],
        val='val.txt',
        test='images/d',
        names=NAMES,
    )
    parts = sources.Parts(data_config(source=f'yolo:{path}'))
    for split, names in (('train', 'pqr'), ('validation', 'st'), ('test', 'uvw')):
        source = parts.open(split)
        assert [source.where(row)[-5] for row in range(len(source))] == list(names)
        assert all(len(source.boxes_of(row)['boxes']) for row in range(len(source)))


def test_a_list_may_lie_in_another_folder_of_the_dataset(tmp_path):
    write_yolo(tmp_path / 'set', 'a', {'p': ONE_BOX})
    (tmp_path / 'set' / 'train.txt').write_text('images/a/p.png')
    path = write_yaml(tmp_path, train='set/train.txt', names=NAMES)
    assert len(opened(f'yolo:{path}').boxes_of(0)['boxes']) == 1


def test_the_folders_of_roboflow(tmp_path):
    for split in ('train', 'valid'):
        write_image(tmp_path / split / 'images' / f'{split}.png')
        (tmp_path / split / 'labels').mkdir()
        (tmp_path / split / 'labels' / f'{split}.txt').write_text(ONE_BOX)
    path = write_yaml(
        tmp_path, train='../train/images', val='../valid/images', nc=1, names=['a']
    )
    parts = sources.Parts(data_config(source=f'yolo:{path}'))
    assert len(parts.open('train')) == len(parts.open('test')) == 1


@pytest.mark.parametrize('where', ['../datasets/mine', '/elsewhere/mine'])
def test_the_path_of_another_machine_is_the_folder_of_the_same_name(tmp_path, where):
    root = tmp_path / 'mine'
    write_yolo(root, 'train', {'a': ONE_BOX})
    path = write_yaml(root, path=where, train='images/train', names=NAMES)
    source = opened(f'yolo:{path}')
    assert any(
        'is read as the folder of data.yaml' in note for note in source.info.notes
    )


def test_data_images_replaces_the_path(tmp_path):
    write_yolo(tmp_path / 'there', 'train', {'a': ONE_BOX})
    fields = {'path': '/nowhere', 'train': 'images/train', 'names': NAMES}
    path = write_yaml(tmp_path, **fields)
    with pytest.raises(UserError, match='Set data.images to the folder'):
        opened(f'yolo:{path}')
    assert len(opened(f'yolo:{path}', images=str(tmp_path / 'there'))) == 1
    with pytest.raises(UserError, match='none: there is no such folder'):
        opened(f'yolo:{path}', images=str(tmp_path / 'none'))


def test_labels_beside_the_images(tmp_path):
    write_image(tmp_path / 'train' / 'a.png')
    (tmp_path / 'train' / 'a.txt').write_text(ONE_BOX)
    path = write_yaml(tmp_path, train='train', names=['a'])
    assert len(opened(f'yolo:{path}').boxes_of(0)['boxes']) == 1


def test_the_last_folder_images_counts(tmp_path):
    write_image(tmp_path / 'images' / 'images' / 'a.png')
    (tmp_path / 'images' / 'labels').mkdir()
    (tmp_path / 'images' / 'labels' / 'a.txt').write_text(ONE_BOX)
    path = write_yaml(tmp_path, train='images', names=['a'])
    assert len(opened(f'yolo:{path}').boxes_of(0)['boxes']) == 1


def test_what_is_odd_is_counted(tmp_path):
    text = f'{ONE_BOX}\n7 0.5 0.5 0.1 0.1\n0 nan 0.5 0.1 0.1\n0 0.1 0.1 0.2 inf 0.1 0.1'
    text += '\n1 1.5 0.5 0.1 0.1\n1 0.5 0.5 0 0.1\n1 0.9 0.5 0.5 0.5\n'
    write_yolo(tmp_path, 'train', {'a': text})
    (tmp_path / 'labels' / 'train' / 'b.txt').write_text(ONE_BOX)
    (tmp_path / 'labels' / 'train' / 'classes.txt').write_text('cat')
    path = write_yaml(tmp_path, train='images/train', names=NAMES)
    source = opened(f'yolo:{path}')
    assert len(source.boxes_of(0)['boxes']) == 2
    assert list(source.info.notes) == [
        '1 label file without an image of any split left out, such as b.txt',
        'train: 2 boxes with a coordinate that is not finite dropped, the first in a.png',
        'train: 1 box of an unknown class dropped, the first in a.png',
        'train: 1 box without area dropped, the first in a.png',
        'train: 1 box outside of the image dropped, the first in a.png',
        'train: 1 box partly outside of the image clipped to it, the first in a.png',
    ]


@pytest.mark.parametrize(
    'line, message',
    [
        ('0 0.5 0.5 0.5', 'not 4 numbers'),
        ('0 0.5 0.5 0.5 0.5 0.9', 'not 6 numbers'),
        ('cat 0.5 0.5 0.5 0.5', 'expected numbers'),
        ('0.5 0.5 0.5 0.5 0.5', 'expected the number of a class'),
        ('\0\1\2', 'expected numbers'),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line, message):
    write_yolo(tmp_path, 'train', {'a': f'{ONE_BOX}\n{line}'})
    path = write_yaml(tmp_path, train='images/train', names=NAMES)
    with pytest.raises(UserError, match=f'a.txt, line 2: .*{message}'):
        opened(f'yolo:{path}')


@pytest.mark.parametrize(
    'names, expected',
    [
        ('[no, "01", 1e3]', ('no', '01', '1e3')),
        ('{2: b, 0: a}', ('a', 'b')),
        ('\n  - person\n  - traffic light\n', ('person', 'traffic light')),
    ],
)
def test_names_stay_as_they_are_written(tmp_path, names, expected):
    write_yolo(tmp_path, 'train', {'a': ONE_BOX})
    path = tmp_path / 'data.yaml'
    path.write_text(f'train: images/train\nval: # none\ntest: null\nnames: {names}')
    source = opened(f'yolo:{path}')
    assert source.info.class_names == expected


LAUGHS = '\n'.join(
    [
        'a0: &a0 [ha]',
        *(f'a{i}: &a{i} [{", ".join(9 * [f"*a{i - 1}"])}]' for i in range(1, 30)),
    ]
)


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'expected fields such as'),
        ('[1]', 'expected fields such as'),
        ('a: [', 'is no YAML'),
        ('\0', 'is no YAML'),
        ('[' * 10**5, 'is no YAML'),
        ('!!python/object/apply:os.system ["false"]', 'expected fields such as'),
        ('names: [a]', 'has no `train`'),
        ('train: images/train', '`names` is no list'),
        ('train: images/train\nnames: [[a]]', '`names` has'),
        ('train: images/train\nnames: {a: b}', '`names` has'),
        ('train: images/train\nnames: {0: a, 0: b}', 'a key is there twice'),
        ('train: images/train\nnames: {0: a, 00: b}', 'has the number 0 twice'),
        (f'{LAUGHS}\ntrain: *a29\nnames: [a]', 'Write each path as a text'),
        (f'{LAUGHS}\ntrain: images/train\nnames: *a29', '`names` has'),
        ('train: &a [*a]\nnames: [a]', 'is no YAML'),
        ('train: {a: b}\nnames: [a]', 'Write one path, or a list of paths'),
        ('train: ../../secret\nnames: [a]', 'does not lie in its folder'),
        ('train: /etc\nnames: [a]', 'does not lie in its folder'),
        ('train: images/none\nnames: [a]', 'there is no folder'),
        ('path: [a]\ntrain: images/train\nnames: [a]', '`path`: expected one text'),
        ('path: /etc\ntrain: images/train\nnames: [a]', 'which is no folder beside'),
        ('train: empty\nnames: [a]', 'has no images'),
        ('train: list.txt\nnames: [a]', 'does not lie in its folder'),
        ('train: missing.txt\nnames: [a]', "1 of 1 images are not in .*'none.png'"),
        ('val: images/train\nnames: [a]', 'has no training images'),
    ],
)
def test_files_of_another_form(tmp_path, text, message):
    write_yolo(tmp_path, 'train', {'a': ONE_BOX})
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'list.txt').write_text('images/train/a.png\n../secret.png')
    (tmp_path / 'missing.txt').write_text('none.png')
    path = tmp_path / 'data.yaml'
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        opened(f'yolo:{path}')
    assert len(str(caught.value)) < 1000


def test_images_without_any_label_file_are_an_error(tmp_path):
    write_yolo(tmp_path, 'train', {'a': None})
    path = write_yaml(tmp_path, train='images/train', names=NAMES)
    with pytest.raises(UserError, match=r'no image has a label file, such as .*a\.txt'):
        opened(f'yolo:{path}')
