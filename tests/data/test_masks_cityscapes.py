"""Cityscapes: 34 label ids become 19 train ids, and secret labels are no answers."""

import numpy as np
import pytest
from helpers.box_files import opened, write_image
from helpers.data_config import data_config
from helpers.mask_files import write_mask

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.data import sources
from jaxvision.data.protocol import BOX_KEYS, Unreadable
from jaxvision.tasks.detection import box_masks, preparation
from jaxvision.tasks.detection import task as detection
from jaxvision.tasks.segmentation import task as segmentation

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


def street():
    """Values of objects: two cars that touch, a rider, groups, a caravan and a number plate."""
    values = np.full((12, 20), 7, np.uint16)
    values[1:4, 1:5] = 26001
    values[1:4, 5:9] = 26000
    values[2, 2] = 65535  # the label -1, on a car
    values[6:9, 1:4] = 25003
    values[6:8, 10:12] = 33
    values[8, 12] = 33  # touches the group at a corner
    values[10:12, 17:20] = 33
    values[0:2, 15:19] = 24
    values[4:6, 15:18] = 29001
    return values


def write_street(root, split='train', name='ulm_0_1', values=None):
    values = street() if values is None else values
    labels = np.where(values >= 1000, values // 1000, values)
    labels = np.where(values == 65535, 255, labels).astype(np.uint8)
    write(root, split, name, labels)
    path = root / 'gtFine' / split / 'ulm' / f'{name}_gtFine_instanceIds.png'
    return write_mask(path, values)


def test_objects_have_boxes_and_groups_are_crowds(tmp_path):
    write_street(tmp_path)
    source = opened(f'cityscapes:{tmp_path}')
    names = source.info.class_names
    assert names == ('person', 'rider', 'car', 'truck', 'bus', 'train') + (
        'motorcycle',
        'bicycle',
    )
    assert len(source.info.semantic_names) == 19
    example = source[0]
    assert set(example) == set(source.info.holds)
    objects = [
        (names[row], box, bool(crowd), area)
        for row, box, crowd, area in zip(
            example['box_classes'],
            example['boxes'].tolist(),
            example['crowd'],
            example['area'].tolist(),
            strict=True,
        )
    ]
    assert sorted(objects) == [
        ('bicycle', [6, 10, 9, 13], True, 5),
        ('bicycle', [10, 17, 12, 20], True, 6),
        ('car', [1, 1, 4, 5], False, 11),
        ('car', [1, 5, 4, 9], False, 12),
        ('person', [0, 15, 2, 19], True, 8),
        ('rider', [6, 1, 9, 4], False, 9),
    ]
    # The parts of groups come last.
    assert example['crowd'].tolist() == [False] * 3 + [True] * 3
    # Each object is where its label is.
    for number, row in enumerate(example['instance_classes'], start=1):
        labels = example['semantic'][example['instances'] == number]
        assert {source.info.semantic_names[label] for label in labels} == {names[row]}
    values = street()
    is_object = (values == 33) | (values == 24) | np.isin(values, (26000, 26001, 25003))
    np.testing.assert_array_equal(example['instances'] > 0, is_object)
    assert example['semantic'][2, 2] == 255


def test_detectors_learn_objects_and_segmenters_read_labels_alone(tmp_path):
    for number in range(5):
        write_street(tmp_path, name=f'ulm_0_{number}')
    config = configs.default('detection')
    config.data.source = f'cityscapes:{tmp_path}'
    source = sources.Parts(config.data).open('train')
    for name, masks in (('dense_detector', set()), ('mask_rcnn', {'instances'})):
        config.model.name = name
        boxes = detection.source(config, source, 'test', None)
        assert set(boxes[0]) == {'image', *BOX_KEYS} | masks
    objects = preparation.Objects.of(boxes[0])
    assert objects.crowd.sum() == 3
    masks = list(box_masks.masks_of(boxes[0], objects.rows.tolist()))
    assert [mask.sum() for mask in masks] == boxes[0]['area'].tolist()

    config = configs.default('segmentation')
    config.data.source = f'cityscapes:{tmp_path}'
    for path in tmp_path.glob('gtFine/*/*/*_instanceIds.png'):
        path.write_bytes(b'not read')
    labels = segmentation.source(config, source, 'train', None)
    assert set(labels[0]) == {'image', 'semantic'}
    config.task.objects = True
    with pytest.raises(
        UserError, match="expected 'background' as the first class, but"
    ):
        segmentation.describe(config, source)


def test_damaged_objects_are_named(tmp_path):
    path = write_street(tmp_path)
    source = opened(f'cityscapes:{tmp_path}')
    for values, says in (
        (np.full((12, 20), 50_000, np.uint16), 'value 50000 is neither a label nor'),
        (np.full((12, 21), 7, np.uint16), 'they have another size than its labels'),
        (np.zeros((12, 20, 3), np.uint8), 'its pixels are colours'),
    ):
        write_mask(path, values)
        with pytest.raises(Unreadable, match=rf'instanceIds\.png: .*{says}'):
            source[0]
    path.unlink()
    assert 'instances' not in opened(f'cityscapes:{tmp_path}').info.holds
    write_street(tmp_path, name='ulm_0_2')
    source = opened(f'cityscapes:{tmp_path}')
    assert 'instances' not in source.info.holds
    note = '1 file *_gtFine_instanceIds.png missing: examples have no objects'
    assert note in source.info.notes
