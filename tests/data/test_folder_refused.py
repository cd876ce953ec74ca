"""Trees of images that mean something else than they seem to are refused in one line."""

import os

import pytest
from helpers.image_folders import PAIR, folder_of, read, write

from jaxvision.core.errors import UserError
from jaxvision.data.folder import Folder


def link(root, name, target):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


@pytest.mark.parametrize(
    'names, links, message',
    [
        (('seg_train/a/1.png', 'seg_test/a/1.png'), {}, 'names of splits'),
        (
            ('train1/1.png', 'Val2/1.png'),
            {},
            'classes would be Val2, train1, which are names of splits',
        ),
        (('seg_train/1.png', 'seg_test/1.png', 'seg_pred/1.png'), {}, 'of splits'),
        (('my_val/1.png', 'my_test/1.png'), {}, 'my_test, my_val, which are names of'),
        (
            ('cat/train/1.png', 'cat/test/1.png', 'dog/train/1.png'),
            {},
            'expected SPLIT/CLASS/FILE, not CLASS/SPLIT/FILE',
        ),
        (
            ('data/train/cat/1.png', 'data/val/cat/1.png'),
            {},
            'name .*data as the folder of the source',
        ),
        (
            ('train/cat/1.png', 'val/cat/1.png', 'valid/cat/1.png'),
            {},
            'val/, valid/ are all the validation split',
        ),
        (('Train/cat/1.png', 'train/cat/1.png'), {}, 'Train/, train/ are all'),
        (('cat/1.png', 'dog/1.png', 'test/1.png'), {}, 'If test is a class, move'),
        (('train/1.png', 'test/2.png'), {}, 'in no class folder'),
        (
            ('train/cat/1.png', 'train/dog/1.png', 'val2017/cat/1.png'),
            {},
            'val2017/ beside train/ may be the validation split. Rename it',
        ),
        (
            ('train/cat/1.png', 'train/dog/1.png', 'test_images/cat/1.png'),
            {},
            'test_images/ beside train/ may be the test split',
        ),
        (PAIR, {'emu': '/nowhere/emu'}, 'emu is a broken link'),
        (PAIR, {'emu/1.png': '/nowhere/1.png'}, 'emu has no images but 1 link'),
        (PAIR, {'emu/1.png': '../cat/1.png'}, 'are one file, of two classes'),
        (PAIR, {'emu': 'cat'}, 'are one file, of two classes'),
        (
            ('train/cat/1.png', 'train/dog/1.png'),
            {'test': 'train'},
            'one file, in train and in test',
        ),
        (
            ('train/cat/1.png', 'train/dog/1.png'),
            {'test/dog/9.png': '../../train/dog/1.png'},
            'one file, in train and in test',
        ),
    ],
)
def test_trees_that_mean_something_else_are_refused(tmp_path, names, links, message):
    for name in names:
        write(tmp_path / name)
    for name, target in links.items():
        link(tmp_path, name, target)
    with pytest.raises(UserError, match=message) as told:
        Folder(tmp_path)
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(
    'names',
    [
        ('bullet train/1.png', 'sports car/1.png'),
        ('test_positive/1.png', 'test_negative/1.png'),
        ('train/valid/1.png', 'train/invalid/1.png'),
        ('tests/1.png', 'trains/1.png'),
        ('vehicle/train/1.png', 'animal/cat/1.png'),
    ],
)
def test_classes_may_hold_such_words(tmp_path, names):
    assert len(read(folder_of(tmp_path, *names))) == len(names)


@pytest.mark.parametrize(
    'other', ['test_images/1.png', 'train_extra/cat/1.png', 'contest/cat/1.png']
)
def test_other_folders_beside_training_are_left_out(tmp_path, other):
    """Unlabelled test images, more training images, and what is no split at all."""
    names = [f'train/{name}' for name in PAIR]
    folder = folder_of(tmp_path, *names, other)
    assert set(read(folder)) == set(names)
    assert 'beside train/ is no split: left out' in folder.notes[0]


@pytest.mark.skipif(os.geteuid() == 0, reason='root may list everything')
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path):
    folder_of(tmp_path, *PAIR)
    (tmp_path / 'cat').chmod(0)
    with pytest.raises(UserError, match='cat cannot be listed: Permission denied'):
        Folder(tmp_path)
