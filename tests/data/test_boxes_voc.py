import numpy as np
import pytest
from helpers.box_files import (
    objects_by_name,
    opened,
    write_image,
    write_voc,
    write_voc_split,
)
from helpers.data_config import data_config

from jaxvision.core.errors import UserError
from jaxvision.data import sources


def test_numbers_from_1_become_edges(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 2, 40, 30), ('dog', 3, 4, 5, 6)])
    source = opened(f'voc:{tmp_path}')
    assert source.info.holds == ('image', 'boxes', 'box_classes', 'crowd', 'area')
    assert source.info.class_names == ('cat', 'dog') and source.info.category_ids == ()
    assert objects_by_name(source) == {
        'a.png': [
            ('cat', (1, 0, 30, 40), False, 29 * 40),
            ('dog', (3, 2, 6, 5), False, 9),
        ]
    }
    example = source[0]
    path = tmp_path / 'JPEGImages' / 'a.png'
    assert example['image'] == path.read_bytes()
    assert np.array_equal(example['boxes'], source.boxes_of(0)['boxes'])
    assert any('begin at 1' in note for note in source.info.notes)


def test_a_coordinate_of_0_makes_the_whole_dataset_one_of_edges(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 5, 6, 40, 30)])
    write_voc(tmp_path, 'b', [('cat', 0, 2, 9, 8)])
    source = opened(f'voc:{tmp_path}')
    objects = objects_by_name(source)
    assert objects['a.png'][0][1] == (6, 5, 30, 40)
    assert objects['b.png'][0][1] == (2, 0, 8, 9)
    assert any('begin at 0' in note for note in source.info.notes)


def test_a_box_of_one_written_pixel_has_no_area(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 7, 7, 7, 7), ('cat', 2, 2, 3, 3)])
    source = opened(f'voc:{tmp_path}')
    assert [item[1] for item in objects_by_name(source)['a.png']] == [(1, 1, 3, 3)]
    assert 'train: 1 box without area dropped, the first in a.png' in source.info.notes


def test_the_lists_are_the_splits(tmp_path):
    names = {'train': 'ab', 'val': 'cd', 'trainval': 'abcd', 'test': 'e'}
    for name in 'abcdef':
        write_voc(tmp_path, name, [('cat', 1, 1, 5, 5)])
    for split, stems in names.items():
        write_voc_split(tmp_path, split, stems)
    write_voc_split(tmp_path, 'cat_train', ['a  1', 'b -1'])
    data = data_config(source=f'voc:{tmp_path}')
    parts = sources.Parts(data)
    assert parts.has_validation
    for split, stems in (('train', 'ab'), ('validation', 'cd'), ('test', 'e')):
        source = parts.open(split)
        assert [source.where(row)[-5] for row in range(len(source))] == list(stems)
    assert len(opened(f'voc:{tmp_path}', 'trainval')) == 4
    assert len(opened(f'voc:{tmp_path}', 'val')) == 2
    joint = data_config(
        source=f'voc:{tmp_path}', train_split='trainval', validation='none'
    )
    assert len(sources.open_source(joint, 'train')) == 4
    with pytest.raises(UserError, match='share examples'):
        sources.Parts(data_config(source=f'voc:{tmp_path}', train_split='trainval'))
    note = '1 XML file that no split lists left out, such as f.xml'
    assert note in parts.open('train').info.notes


def test_a_fifth_is_held_out_without_lists(tmp_path):
    for number in range(10):
        write_voc(tmp_path, f'{number}', [('cat', 1, 1, 5, 5)])
    data = data_config(source=f'voc:{tmp_path}')
    assert len(sources.open_source(data, 'train')) == 8
    held_out = sources.open_source(data, 'test')
    assert len(held_out) == 2
    assert held_out.boxes_of(1)['boxes'].tolist() == [[0, 0, 5, 5]]


def test_trainval_alone_trains(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    write_voc_split(tmp_path, 'trainval', 'a')
    assert any(
        'trainval.txt is the training split' in note
        for note in opened(f'voc:{tmp_path}').info.notes
    )


def test_difficult_objects_are_ordinary_and_counted(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5), ('cat', 2, 2, 9, 9)], difficult=1)
    source = opened(f'voc:{tmp_path}')
    assert source.boxes_of(0)['crowd'].tolist() == [False, False]
    assert (
        '2 objects marked as difficult: read as ordinary objects' in source.info.notes
    )


def test_images_of_unequal_size_and_without_objects(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    write_voc(tmp_path, 'b', [], size=(50, 30))
    source = opened(f'voc:{tmp_path}')
    assert source.info.image_shape == (30, None, 3)
    assert source.boxes_of(1)['boxes'].shape == (0, 4)
    assert 'train: 1 image without a box kept, the first in b.png' in source.info.notes
    # Examples with any number of boxes are no rows of one array.
    assert len(sources.open_source(data_config(source=f'voc:{tmp_path}'), 'train')) == 2


def test_images_of_one_size_with_any_number_of_boxes_are_decoded(tmp_path):
    for number in range(5):
        boxes = number * [('cat', 1, 1, 5, 5)]
        write_voc(tmp_path, f'{number}', boxes)
    source = sources.open_source(data_config(source=f'voc:{tmp_path}'), 'train')
    numbers = [len(example['boxes']) for example in source.read(range(len(source)))]
    assert sorted(numbers) != [0] * len(numbers) and len(set(numbers)) == len(numbers)
    assert source[0]['image'].shape == (30, 40, 3)


def test_the_size_in_the_file_has_to_be_that_of_the_image(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)], says=(30, 41))
    with pytest.raises(UserError, match=r'a\.png: it is 40x30, .* says 30x41'):
        opened(f'voc:{tmp_path}')
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)], says=(0, 0))
    assert len(opened(f'voc:{tmp_path}')) == 1


def test_a_class_that_training_lacks_is_named(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    write_voc(tmp_path, 'b', [('dog', 1, 1, 5, 5)])
    write_voc_split(tmp_path, 'train', 'a')
    write_voc_split(tmp_path, 'val', 'b')
    source = opened(f'voc:{tmp_path}', 'validation')
    assert source.info.class_names == ('cat', 'dog')
    assert source.boxes_of(0)['box_classes'].tolist() == [1]
    assert 'classes without a training box (1): dog' in source.info.notes


def test_the_fingerprint_follows_images_and_boxes(tmp_path):
    def fingerprint():
        return opened(f'voc:{tmp_path}').info.fingerprint

    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    first = fingerprint()
    assert fingerprint() == first
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 6)])
    second = fingerprint()
    write_voc(tmp_path, 'a', [('dog', 1, 1, 5, 5)])
    third = fingerprint()
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    assert fingerprint() == first
    write_image(tmp_path / 'JPEGImages' / 'a.png', boxes=[(1, 1, 9, 9)])
    assert len({first, second, third, fingerprint()}) == 4


def test_hidden_files_are_skipped(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    (tmp_path / 'Annotations' / '._a.xml').write_bytes(b'\0\1')
    (tmp_path / 'JPEGImages' / '.DS_Store').write_bytes(b'\0\1')
    write_image(tmp_path / 'JPEGImages' / 'b.png')
    source = opened(f'voc:{tmp_path}')
    assert len(source) == 1
    assert '1 image without an XML file left out, such as b.png' in source.info.notes


def test_a_missing_image_is_named(tmp_path):
    write_voc(tmp_path, 'b', [('cat', 1, 1, 5, 5)])
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)], image=False)
    with pytest.raises(UserError, match=r'there is no image .*JPEGImages/a'):
        opened(f'voc:{tmp_path}')


def test_links_to_one_image_in_two_splits_are_refused(tmp_path):
    for name in 'ab':
        write_voc(tmp_path, name, [('cat', 1, 1, 5, 5)])
    (tmp_path / 'JPEGImages' / 'b.png').unlink()
    (tmp_path / 'JPEGImages' / 'b.png').symlink_to('a.png')
    write_voc_split(tmp_path, 'train', 'a')
    write_voc_split(tmp_path, 'test', 'b')
    with pytest.raises(UserError, match='share examples'):
        sources.Parts(data_config(source=f'voc:{tmp_path}'))


DOCTYPE = '<!DOCTYPE a [<!ENTITY b "ha">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    'data, message',
    [
        (b'', 'is no XML of Pascal VOC'),
        (b'<annotation>', 'is no XML of Pascal VOC'),
        (DOCTYPE.encode(), 'a DOCTYPE is not allowed'),
        (DOCTYPE.encode('utf-16'), 'a DOCTYPE is not allowed'),
        (b'<?xml version="1.0" encoding="no"?><annotation/>', 'is no XML'),
        (b'<svg/>', "its root is 'svg'"),
        (b'<annotation><object/></annotation>', 'an object has no name'),
        (
            b'<annotation><object><name>a</name></object></annotation>',
            'has no bndbox of four numbers',
        ),
        (b'<a>' * 10**5, 'is no XML'),
    ],
)
def test_files_of_another_form_are_named(tmp_path, data, message):
    path = write_voc(tmp_path, 'a', [])
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        opened(f'voc:{tmp_path}')
    assert 'a.xml' in str(caught.value)


def test_a_list_may_not_name_what_there_is_not(tmp_path):
    write_voc(tmp_path, 'a', [('cat', 1, 1, 5, 5)])
    write_voc_split(tmp_path, 'train', ['../../secret'])
    with pytest.raises(UserError, match='train.txt: there is no Annotations/'):
        opened(f'voc:{tmp_path}')


def test_folders_that_are_missing(tmp_path):
    with pytest.raises(UserError, match='there is no Annotations'):
        opened(f'voc:{tmp_path}')
    (tmp_path / 'Annotations').mkdir()
    with pytest.raises(UserError, match='has no XML files'):
        opened(f'voc:{tmp_path}')


def test_a_dataset_without_any_box_is_an_error(tmp_path):
    write_voc(tmp_path, 'a', [])
    with pytest.raises(UserError, match='no training image has a box'):
        opened(f'voc:{tmp_path}')
    write_voc(tmp_path, 'a', [('cat', 3, 3, 3, 3)])
    with pytest.raises(UserError, match='train is usable. 1 box without area dropped'):
        opened(f'voc:{tmp_path}')
