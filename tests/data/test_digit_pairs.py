"""digit_pairs: real digits side by side, no number and no image in two splits."""

import numpy as np
import pytest

from jaxvision.core.config import default
from jaxvision.core.errors import UserError
from jaxvision.data import digit_pairs
from jaxvision.data.composed import read_digits
from jaxvision.data.sources import open_source

SPLITS = ('train', 'validation', 'test')


@pytest.fixture(scope='module')
def opened():
    dataset = digit_pairs.DigitPairs()
    return {split: dataset.open(split) for split in SPLITS}


def written(digits):
    return {
        image.tobytes(): int(label)
        for image, label in zip(digits.images, digits.labels, strict=True)
    }


def test_no_digit_is_in_two_splits_and_none_is_left_out():
    images = {split: written(digit_pairs.digits_of(split)) for split in SPLITS}
    assert [len(images[split]) for split in SPLITS] == [3500, 500, 1000]
    assert len({key for split in SPLITS for key in images[split]}) == 5000
    assert images['test'] == written(read_digits('test'))


@pytest.mark.parametrize('split', SPLITS)
def test_an_example_is_its_number_in_digits_of_its_split(opened, split):
    source, digits = opened[split], written(digit_pairs.digits_of(split))
    for row in (0, 1, 57, len(source) - 1):
        image, label = source[row]['image'], source[row]['label']
        assert image.shape == source.info.image_shape and image.dtype == np.uint8
        halves = image[:, :28, 0], image[:, 28:, 0]
        assert [digits[half.tobytes()] for half in halves] == [label // 10, label % 10]
    with pytest.raises(IndexError):
        source[len(source)]


def test_classes_are_disjoint_evenly_filled_and_the_same_each_time(opened):
    classes = {split: np.unique(opened[split].labels()) for split in SPLITS}
    assert [len(classes[split]) for split in SPLITS] == [70, 10, 20]
    assert sorted(np.concatenate(list(classes.values()))) == list(range(100))
    counts = np.unique(opened['test'].labels(), return_counts=True)[1]
    assert set(counts) == {100}
    again = digit_pairs.DigitPairs().open('test')
    np.testing.assert_array_equal(again[77]['image'], opened['test'][77]['image'])
    assert again.labels()[77] == opened['test'][77]['label']


def test_a_config_names_it_and_its_splits():
    data = default('few_shot').data
    data.source = 'digit_pairs'
    assert open_source(data, 'test').info.split == 'test'
    data.test_split = 'validation'
    assert len(open_source(data, 'test')) == 1000
    data.test_split = 'val'
    with pytest.raises(UserError, match='train, validation, test'):
        open_source(data, 'test')
