"""Examples of a folder of masks, and the checks of masks against their images."""

import json

import numpy as np
import pytest
from helpers.box_files import opened, write_image
from helpers.data_config import data_config
from helpers.mask_files import labels, write_mask, write_pair
from skimage import measure

from jaxvision.core.errors import UserError
from jaxvision.data import masks_values, sources
from jaxvision.data.protocol import Unreadable, annotation_of, boxes_of

MASK = labels([0, 1, 2], [2, 1, 0])


def instance_map(seed=0, shape=(40, 50)):
    """Blobs with numbers that have gaps."""
    rng = np.random.default_rng(seed)
    regions = measure.label(rng.random(shape) > 0.6, connectivity=1)
    return (regions * 7).astype(np.uint16)


def test_objects_of_sixteen_bits_agree_with_scikit_image(tmp_path):
    stored = instance_map()
    write_pair(tmp_path, 'a', stored)
    source = opened(f'masks:{tmp_path}')
    example = source[0]
    regions = measure.regionprops(stored)
    assert set(example) == set(source.info.holds)
    assert example['instances'].dtype == np.int32
    np.testing.assert_array_equal(example['instances'], stored // 7)
    np.testing.assert_array_equal(example['semantic'], stored > 0)
    np.testing.assert_array_equal(example['boxes'], [item.bbox for item in regions])
    np.testing.assert_array_equal(example['area'], [item.area for item in regions])
    assert example['boxes'].dtype == example['area'].dtype == np.float32
    assert not example['box_classes'].any() and not example['crowd'].any()
    assert len(example['instance_classes']) == len(regions)


def test_the_largest_number_of_sixteen_bits_is_ignored(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 4, 65535], dtype=np.uint16))
    example = opened(f'masks:{tmp_path}')[0]
    assert example['semantic'].tolist() == [[0, 1, 255]]
    assert example['instances'].tolist() == [[0, 1, 0]]


def test_an_image_without_objects(tmp_path):
    write_pair(tmp_path, 'a', np.zeros((3, 4), np.uint16))
    write_pair(tmp_path, 'b', instance_map())
    example = opened(f'masks:{tmp_path}')[0]
    assert example['boxes'].shape == (0, 4) and example['area'].shape == (0,)
    assert example['instances'].shape == (3, 4) and not example['semantic'].any()


def test_annotations_need_no_image(tmp_path):
    write_pair(tmp_path, 'a', instance_map())
    source = opened(f'masks:{tmp_path}')
    example = source[0]
    (tmp_path / 'images' / 'a.png').unlink()
    annotation = annotation_of(source, 0)
    assert set(annotation) == set(example) - {'image'}
    boxes = boxes_of(source, 0)
    assert set(boxes) == {'boxes', 'box_classes', 'crowd', 'area'}
    np.testing.assert_array_equal(boxes['boxes'], example['boxes'])
    (tmp_path / 'masks' / 'a.png').unlink()
    assert len(boxes_of(source, 0)['boxes'])  # read once
    with pytest.raises(Unreadable, match=r'its mask .*a\.png: No such file'):
        annotation_of(source, 0)


@pytest.mark.parametrize('orientation', [3, 6])
def test_masks_are_of_the_upright_image(tmp_path, orientation):
    mask = labels([0, 1, 1, 1], [0, 0, 0, 0])
    write_pair(tmp_path, 'a', mask, orientation=orientation)
    source = opened(f'masks:{tmp_path}')
    assert source[0]['semantic'].shape == (2, 4) == source.info.image_shape[:2]
    note = '1 image that EXIF turns or mirrors, the first a.png'
    assert any(note in text for text in source.info.notes)


def test_another_size_names_both_files(tmp_path):
    write_pair(tmp_path, 'a', MASK)
    write_pair(tmp_path, 'b', MASK)
    write_image(tmp_path / 'images' / 'b.png', 5, 4)
    message = (
        r'1 mask of another size than the image, such as .*masks/b\.png: it is 3x2, and '
        r'.*images/b\.png is 5x4\. Use the masks'
    )
    with pytest.raises(UserError, match=message):
        opened(f'masks:{tmp_path}')


def test_a_mask_of_the_image_before_exif_turns_it(tmp_path):
    write_image(tmp_path / 'images' / 'a.png', 3, 2, orientation=6)
    write_mask(tmp_path / 'masks' / 'a.png', MASK)
    with pytest.raises(UserError, match='EXIF turns the image: turn the mask, too'):
        opened(f'masks:{tmp_path}')


def test_a_damaged_mask_is_named_and_damaged_when_it_is_read(tmp_path):
    for name in ('a', 'b', 'c'):
        write_pair(tmp_path, name, MASK)
    (tmp_path / 'masks' / 'b.png').write_bytes(b'damaged')
    (tmp_path / 'images' / 'c.png').write_bytes(b'damaged')
    source = opened(f'masks:{tmp_path}')
    assert len(source) == 3
    assert any(
        '1 mask cannot be read, such as b.png: no image' in note
        for note in source.info.notes
    )
    with pytest.raises(Unreadable, match=r'its mask .*b\.png: no image in a format'):
        source[1]
    assert source[2]['semantic'].tolist() == MASK.tolist()
    for name in ('a', 'c'):
        (tmp_path / 'masks' / f'{name}.png').write_bytes(b'damaged')
    with pytest.raises(UserError, match=r'no mask can be read. .*a\.png: no image'):
        opened(f'masks:{tmp_path}')


def test_a_mask_that_changed_is_damaged(tmp_path):
    write_pair(tmp_path, 'a', MASK)
    source = opened(f'masks:{tmp_path}')
    write_mask(tmp_path / 'masks' / 'a.png', labels([0, 7, 0], [0, 0, 0]))
    with pytest.raises(Unreadable, match=r'its mask .*a\.png: its value 7 is no class'):
        source[0]


def test_the_fingerprint_is_of_images_masks_and_classes(tmp_path):
    write_pair(tmp_path, 'a', MASK)
    write_pair(tmp_path, 'b', MASK)

    def seen():
        return opened(f'masks:{tmp_path}').info.fingerprint

    first = seen()
    assert seen() == first
    write_mask(tmp_path / 'masks' / 'b.png', MASK[::-1])
    second = seen()
    (tmp_path / 'classes.csv').write_text('name,value\na,0\nb,1\nc,2')
    third = seen()
    (tmp_path / 'classes.csv').write_text('name,value\nb,0\na,1\nc,2')
    assert len({first, second, third, seen()}) == 4


def test_values_are_read_once_and_a_damaged_cache_costs_only_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        masks_values, 'cache_folder', lambda name: tmp_path / 'cache' / name
    )
    paths = [write_pair(tmp_path, name, MASK) for name in ('a', 'b')]
    contents = ['0' * 64, '1' * 64]
    first = masks_values.scan(paths, contents)
    (file,) = (tmp_path / 'cache' / 'mask_values').iterdir()
    for path in paths:
        path.unlink()
    assert masks_values.scan(paths, contents) == first
    assert masks_values.scan(paths, ['', ''])[0] == []  # content is not known
    for damaged in (
        '{',
        '[]',
        '{"a": 1}',
        json.dumps(dict.fromkeys(contents, ['x', []])),
    ):
        file.write_text(damaged)
        assert len(masks_values.scan(paths, contents)[1]) == 2


def test_objects_serve_a_detector(tmp_path):
    for number in range(5):
        write_pair(tmp_path, f'{number}', instance_map(number))
    parts = sources.Parts(data_config(source=f'masks:{tmp_path}'))
    train = parts.open('train')
    train.info.check_holds('image', 'boxes', 'box_classes', 'crowd', 'area')
    assert len(boxes_of(train, 0)['boxes']) == len(train[0]['boxes']) > 5
