"""What is said of a dataset before anything is trained on it."""

import numpy as np
import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.data import sources, summary


def write(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path):
    """Two classes: training images 0 to 7 of each, test images 100 to 102."""
    for label, name in enumerate(('cat', 'dog')):
        for number in range(8 - label):
            write(tmp_path / 'train' / name / f'{number}.png', 10 * number + label)
        for number in range(3):
            write(
                tmp_path / 'test' / name / f'{number}.png', 1000 + 10 * number + label
            )
    return tmp_path


def opened(folder, **fields):
    data = data_config(source=f'folder:{folder}', **fields)
    names = ['train', 'test']
    if sources.has_validation(data):
        names.insert(1, 'validation')
    return {name: sources.open_source(data, name) for name in names}


def test_splits_classes_and_counts_are_said(tree):
    assert summary.lines(opened(tree)) == [
        f'data: folder:{tree}: colour images, 2 classes: cat 8, dog 7',
        '  train         15 examples',
        '  test           6 examples',
    ]


def test_files_that_are_in_training_too_are_warned_of(tree):
    write(tree / 'test' / 'dog' / 'again.png', 30)  # training's cat 3
    *_, last = summary.lines(opened(tree))
    assert last == (
        f'  warning: 1 of 7 test examples are byte-equal to training examples, such as '
        f'{tree}/test/dog/again.png and {tree}/train/cat/3.png'
    )


def test_validation_that_is_held_out_is_compared_too(tree):
    for number in range(8):
        write(tree / 'train' / 'cat' / f'copy{number}.png', 30)
    found = summary.lines(opened(tree, validation='50%'))
    assert any('validation examples are byte-equal' in line for line in found)


def test_contents_by_size_and_time_are_no_digests(tree):
    write(tree / 'test' / 'dog' / 'again.png', 30)
    found = summary.lines(opened(tree, hash_limit=0.0))
    assert not any('warning' in line for line in found)


def test_of_many_classes_the_first_and_the_last_are_listed(tmp_path):
    for label in range(12):
        for number in range(5):
            write(tmp_path / f'c{label:02}' / f'{number}.png', 100 * label + number)
    first, *_ = summary.lines(opened(tmp_path))
    assert 'c00 4, c01 4, c02 4, c03 4, ..., c08 4, c09 4, c10 4, c11 4' in first


def test_a_dataset_without_files_has_no_counts():
    data = data_config(source='digits')
    names = ('train', 'test')
    found = summary.lines({name: sources.open_source(data, name) for name in names})
    assert found[0].startswith('data: digits')
    assert found[0].endswith('10 classes: 0, 1, 2, 3, ..., 6, 7, 8, 9')


def test_files_that_validation_and_test_share_are_warned_of(tree):
    for split in ('val', 'test'):
        for label, name in enumerate(('cat', 'dog')):
            write(tree / split / name / 'same.png', 5000 + label)
    *_, last = summary.lines(opened(tree))
    assert '2 of 8 test examples are byte-equal to validation examples' in last


@pytest.mark.parametrize(
    'validation, expected',
    [
        # Round(0.1 * 2) examples of the third class are held out.
        ('10%', '  warning: 1 class without a validation example: emu'),
        ('none', None),
    ],
)
def test_classes_that_a_split_lacks_are_warned_of(tree, validation, expected):
    for number in range(2):
        write(tree / 'train' / 'emu' / f'{number}.png', 7000 + number)
        write(tree / 'test' / 'emu' / f'{number}.png', 8000 + number)
    found = summary.lines(opened(tree, validation=validation))
    warnings = [line for line in found if 'warning' in line]
    assert warnings == ([expected] if expected else [])


def test_a_test_split_of_new_classes_lacks_none(tmp_path):
    for split, names in (('train', 'ab'), ('test', 'cd')):
        for label, name in enumerate(names):
            for number in range(2):
                path = tmp_path / split / name / f'{number}.png'
                write(path, 100 * ord(name) + 10 * label + number)
    assert not any('warning' in line for line in summary.lines(opened(tmp_path)))
