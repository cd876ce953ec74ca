import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import sources, tfds_objects

BOXES = [[0.25, 0.1, 0.5, 0.3], [0.0, 0.0, 1.0, 1.0]]


def encoded(width=40, height=20, orientation=1):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (width, height)).save(file, 'PNG', exif=exif)
    return file.getvalue()


def features(**more):
    return {
        'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
        'image/id': np.int64,
        'objects': tfds.features.Sequence(
            {
                'bbox': tfds.features.BBoxFeature(),
                'label': tfds.features.ClassLabel(names=['cat', 'dog']),
                **more,
            }
        ),
    }


def record(number, boxes, **more):
    bboxes = [tfds.features.BBox(*box) for box in boxes]
    objects = [
        {
            'bbox': box,
            'label': row % 2,
            **{key: value[row] for key, value in more.items()},
        }
        for row, box in enumerate(bboxes)
    ]
    return {'image': encoded(), 'image/id': number, 'objects': objects}


def write(folder, splits, spec):
    tfds.dataset_builders.store_as_tfds_dataset(
        name='toy',
        version='1.0.0',
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(spec),
        split_datasets={
            split: list(enumerate(records)) for split, records in splits.items()
        },
        file_format='array_record',
        disable_shuffling=True,
    )
    return data_config(source='toy', dir=str(folder))


def test_boxes_become_pixels_and_keep_crowd_and_area(tmp_path):
    spec = features(is_crowd=np.bool_, area=np.int64)
    records = [
        record(0, BOXES, is_crowd=[False, True], area=[7, 8]),
        record(1, [], is_crowd=[], area=[]),
    ]
    data = write(tmp_path, {'train': records, 'test': records}, spec)
    source = sources.open_source(data, 'train')
    assert source.info.holds == ('image', 'boxes', 'box_classes', 'crowd', 'area')
    assert source.info.class_names == ('cat', 'dog')
    first, second = source.read([0, 1])
    assert first['image'] == encoded()
    np.testing.assert_allclose(
        first['boxes'], [[5, 4, 10, 12], [0, 0, 20, 40]], atol=1e-5
    )
    assert first['box_classes'].tolist() == [0, 1]
    assert first['crowd'].tolist() == [False, True]
    assert first['area'].tolist() == [7, 8]
    assert second['boxes'].shape == (0, 4) and second['area'].dtype == np.float32
    assert any('without area' in note for note in source.info.notes)


def test_a_test_split_without_objects_is_not_measured(tmp_path):
    full = [record(number, BOXES) for number in range(4)]
    empty = [record(number, []) for number in range(3)]
    data = write(
        tmp_path, {'train': full, 'validation': full, 'test': empty}, features()
    )
    source = sources.open_source(data, 'test')
    assert source.info.split == 'validation'
    boxes = source[0]['boxes']
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    np.testing.assert_allclose(source[0]['area'], sizes)
    assert source[0]['crowd'].tolist() == [False, False]


def test_the_upright_size_counts_and_a_box_without_area_is_dropped():
    objects = {'bbox': np.array([[0.5, 0, 1, 1], [0.5, 0, 0.5, 1]]), 'label': [1, 1]}
    arrays = tfds_objects.example(encoded(orientation=6), objects)
    assert arrays['boxes'].tolist() == [[20, 0, 40, 20]]
    pixels = np.zeros((10, 30, 3), np.uint8)
    assert tfds_objects.example(pixels, objects)['boxes'].tolist() == [[5, 0, 10, 30]]
    assert len(tfds_objects.example(b'damaged', objects)['boxes']) == 0


@pytest.mark.parametrize('name', ['bbox', 'label'])
def test_objects_need_a_box_and_a_class(tmp_path, name):
    spec = features(**{name: np.int64})
    records = [{'image': encoded(), 'image/id': 0, 'objects': []}]
    data = write(tmp_path, {'train': records, 'test': records}, spec)
    with pytest.raises(UserError, match='or of `captions`, `objects` or'):
        sources.open_source(data, 'train')
