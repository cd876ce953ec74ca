"""Label maps of TFDS: oxford_iiit_pet, cityscapes, and any other set with such a feature."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.data_config import data_config

from jaxvision.core.errors import UserError
from jaxvision.data import masks_values, sources, tfds_masks
from jaxvision.data.protocol import Unreadable, without
from jaxvision.data.tfds_source import TfdsSource


def features(mask='segmentation_mask', image='image', **more):
    return {
        image: tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
        mask: tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        **more,
    }


def record(label_map, mask='segmentation_mask', image='image', size=None, **more):
    label_map = np.array(label_map, np.uint8)[..., None]
    pixels = np.zeros((*(size or label_map.shape[:2]), 3), np.uint8)
    return {image: pixels, mask: label_map, **more}


def write(folder, splits, spec, name='toy'):
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version='1.0.0',
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(spec),
        split_datasets={
            split: list(enumerate(records)) for split, records in splits.items()
        },
        file_format='array_record',
        disable_shuffling=True,
    )
    return data_config(source=name, dir=str(folder))


def test_oxford_iiit_pet_has_three_classes(tmp_path):
    spec = features(label=tfds.features.ClassLabel(names=['birman', 'beagle']))
    records = [record([[1, 2, 3], [2, 2, 1]], label=1)]
    splits = {'train': records, 'test': records}
    data = write(tmp_path, splits, spec, 'oxford_iiit_pet')
    source = sources.open_source(data, 'train')
    assert source.info.holds == ('image', 'label', 'semantic')
    assert source.info.class_names == ('birman', 'beagle')
    assert source.info.semantic_names == ('pet', 'background', 'border')
    example = source[0]
    assert example['semantic'].tolist() == [[0, 1, 2], [1, 1, 0]]
    assert example['semantic'].dtype == np.uint8 and example['label'] == 1
    few = without(source, ('semantic',))
    assert set(few[0]) == set(few.info.holds) == {'image', 'label'}
    assert few.info.semantic_names == ()


def test_label_ids_of_cityscapes_and_its_secret_test_split(tmp_path):
    names = {'mask': 'segmentation_label', 'image': 'image_left'}
    spec = features(**names, image_id=tfds.features.Text())
    full = [record([[7, 0, 26, 33]], **names, image_id='a')]
    empty = [record([[0, 1, 2, 3]], **names, image_id='b')]
    splits = {'train': full, 'validation': full, 'test': empty}
    source = sources.open_source(write(tmp_path, splits, spec, 'cityscapes'), 'test')
    assert source.info.split == 'validation'
    assert source[0]['semantic'].tolist() == [[0, 255, 13, 18]]
    assert len(source.info.semantic_names) == 19
    assert source.info.class_names == source.info.semantic_names


def test_values_of_other_sets_are_classes_and_255_is_ignored(tmp_path):
    several = {name: tfds.features.ClassLabel(num_classes=2) for name in ('one', 'two')}
    labels = {'one': 0, 'two': 1}
    train = [record([[0, 4, 255]], **labels), record([[4, 4, 0]], **labels)]
    test = [record([[9, 0, 0]], **labels)]
    data = write(tmp_path, {'train': train, 'test': test}, features(**several))
    source = sources.open_source(data, 'train')
    assert source.info.holds == ('image', 'semantic')
    assert source.info.semantic_names == ('class 0', 'class 4', 'class 9')
    assert [example['semantic'].tolist() for example in source.read([0, 1])] == [
        [[0, 1, 255]],
        [[1, 1, 0]],
    ]
    assert any('255 is ignored' in note for note in source.info.notes)
    test = sources.open_source(data, 'test')
    assert test[0]['semantic'].tolist() == [[2, 0, 0]]
    assert test.info.fingerprint != source.info.fingerprint


def test_values_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(masks_values, 'cache_folder', lambda name: tmp_path / name)
    data = write(tmp_path, {'train': [record([[0, 1]])]}, features())
    first = sources.find_dataset('toy', data.dir).open('train')
    assert len(list((tmp_path / 'mask_values').iterdir())) == 1
    monkeypatch.setattr(TfdsSource, 'encoded_mask', None)
    again = sources.find_dataset('toy', data.dir).open('train')
    assert again.info == first.info


def test_another_size_than_the_image(tmp_path):
    records = [record([[0, 1]]), record([[0, 1]], size=(2, 3))]
    data = write(tmp_path, {'train': records}, features())
    source = sources.find_dataset('toy', data.dir).open('train')
    assert source[0]['semantic'].tolist() == [[0, 1]]
    with pytest.raises(Unreadable, match='its label map is 2x1, and its image is 3x2'):
        source[1]


def test_numbers_of_objects_are_refused(tmp_path):
    records = [record([range(60)]), record([[0, 1]])]
    data = write(tmp_path, {'train': records}, features())
    with pytest.raises(UserError, match='and the values number objects'):
        sources.find_dataset('toy', data.dir).open('train')


def test_masks_of_three_channels_are_no_label_maps(tmp_path):
    spec = features()
    spec['segmentation_mask'] = tfds.features.Image(shape=(None, None, 3))
    assert not tfds_masks.is_mask('segmentation_mask', spec['segmentation_mask'])
    records = [{name: np.zeros((1, 2, 3), np.uint8) for name in spec}]
    data = write(tmp_path, {'train': records}, spec)
    with pytest.raises(UserError, match='no data set of one image'):
        sources.find_dataset('toy', data.dir).open('train')
