"""Cityscapes: 34 label ids become 19 train ids, and secret labels are no answers."""

import numpy as np
import pytest
from helpers.box_files import opened, write_image
from helpers.data_config import data_config
from helpers.mask_files import write_mask

from jaxvision.core.errors import UserError
from jaxvision.data import sources

# From labels.py of cityscapesScripts: the ids with a train id, in the order of the train ids.
EVALUATED = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
ALL = np.arange(34, dtype=np.uint8)[None]


def write(root, split, name, labels=ALL, kind='labelIds', image=True):
    city = name.split('_')[0]
    if image:
        path = root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png'
        write_image(path, *labels.shape[::-1])
    folder = root / 'gtFine' / split / city
    write_mask(folder / f'{name}_gtFine_{kind}.png', labels)
    (folder / f'{name}_gtFine_polygons.json').write_text('{}')
    write_mask(
        folder / f'{name}_gtFine_color.png', np.zeros((*labels.shape, 3), np.uint8)
    )


def test_label_ids_become_train_ids(tmp_path):
    write(tmp_path, 'train', 'ulm_0_1')
    write(tmp_path, 'train', 'aachen_0_1', np.zeros((2, 3), np.uint8))
    source = opened(f'cityscapes:{tmp_path}')
    expected = np.full(34, 255)
    expected[EVALUATED] = range(19)
    assert source[1]['semantic'].tolist() == [expected.tolist()]
    assert (source[0]['semantic'] == 255).all()
    names = source.info.semantic_names
    assert len(names) == 19 and source.info.class_names == names
    assert (names[0], names[5], names[13], names[18]) == (
        'road',
        'pole',
        'car',
        'bicycle',
    )
    assert source.where(1).endswith('ulm/ulm_0_1_leftImg8bit.png')
    assert source.info.notes == ()


def test_the_secret_test_split_is_not_measured(tmp_path):
    for split in ('train', 'val'):
        write(tmp_path, split, 'ulm_0_1')
    write(tmp_path, 'test', 'bonn_0_1', np.zeros((1, 9), np.uint8))
    write_image(tmp_path / 'leftImg8bit' / 'train_extra' / 'a_leftImg8bit.png')
    parts = sources.Parts(data_config(source=f'cityscapes:{tmp_path}'))
    test = parts.open('test')
    assert test.info.split == 'validation' and not parts.has_validation
    note = 'leftImg8bit/train_extra is no split: 1 file left out'
    assert note in test.info.notes


def test_train_ids_are_read_where_there_are_no_label_ids(tmp_path):
    labels = np.array([[0, 18, 255]], np.uint8)
    write(tmp_path, 'train', 'ulm_0_1', labels, 'labelTrainIds')
    source = opened(f'cityscapes:{tmp_path}')
    assert source[0]['semantic'].tolist() == labels.tolist()
    write(tmp_path, 'train', 'ulm_0_1', labels, 'labelIds')
    with pytest.raises(
        UserError, match='expected label ids, and the values are those of'
    ):
        opened(f'cityscapes:{tmp_path}')


def test_other_values_and_layouts(tmp_path):
    with pytest.raises(UserError, match='there is no leftImg8bit'):
        opened(f'cityscapes:{tmp_path}')
    write(tmp_path, 'train', 'ulm_0_1', np.array([[0, 34]], np.uint8))
    with pytest.raises(UserError, match=r'labelIds\.png: .* from 0 to 33, not 34'):
        opened(f'cityscapes:{tmp_path}')
    write(tmp_path, 'train', 'ulm_0_1')
    write(tmp_path, 'train', 'ulm_0_2', image=False)
    write_image(tmp_path / 'leftImg8bit' / 'train' / 'ulm' / 'c_leftImg8bit.png')
    notes = opened(f'cityscapes:{tmp_path}').info.notes
    assert len(notes) == 2
    assert (
        '1 image without a mask' in notes[0] and '1 mask without an image' in notes[1]
    )


def test_a_folder_without_labels_of_any_image(tmp_path):
    write_image(tmp_path / 'leftImg8bit' / 'train' / 'ulm' / 'c_leftImg8bit.png')
    (tmp_path / 'gtFine').mkdir()
    with pytest.raises(UserError, match='and no image has labels'):
        opened(f'cityscapes:{tmp_path}')
