"""Folders of images: splits, labels and content."""

import shutil

import numpy as np
import pytest
from helpers.data_config import data_config
from helpers.image_folders import write
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline, sources
from jaxvision.data.folder import Folder


def config(folder, **fields):
    return data_config(source=f'folder:{folder}', **fields)


@pytest.fixture
def tree(tmp_path):
    """cat/ and dog/ of ten images each, in several formats."""
    for name in ('cat', 'dog'):
        for number in range(10):
            suffix = ('jpg', 'JPEG', 'png', 'webp')[number % 4]
            write(tmp_path / name / f'{number}.{suffix}', size=(12 + number, 10))
    return tmp_path


@pytest.fixture
def divided(tmp_path):
    for split, count in (('train', 4), ('val', 2)):
        for name in ('cat', 'dog'):
            for number in range(count):
                write(tmp_path / split / name / f'{number}.png')
    return tmp_path


def opened(folder, **fields):
    return [
        sources.open_source(config(folder, **fields), split)
        for split in ('train', 'test')
    ]


def test_class_folders_are_divided_once_and_for_all(tree):
    train, test = opened(tree)
    assert train.info.class_names == ('cat', 'dog')
    assert train.info.image_shape == (None, None, 3)
    assert (len(train), len(test)) == (16, 4)
    np.testing.assert_array_equal(np.bincount(test.labels()), [2, 2])
    places = [
        source.where(row) for source in (train, test) for row in range(len(source))
    ]
    assert len(set(places)) == 20
    again, _ = opened(tree)
    assert [again.where(row) for row in range(16)] == places[:16]
    assert again.info == train.info != test.info


def test_labels_are_the_folders(tree):
    train, _ = opened(tree)
    for row in range(len(train)):
        name = train.info.class_names[train[row]['label']]
        assert f'/{name}/' in train.where(row)
        assert train[row]['label'] == train.labels()[row]


@pytest.mark.parametrize(
    'train_name, name, split',
    [
        ('train', 'val', 'validation'),
        ('train', 'validation', 'validation'),
        ('train', 'test', 'test'),
        ('Train', 'Test', 'test'),
        ('TRAIN', 'VAL', 'validation'),
        ('training', 'testing', 'test'),
        ('train', 'valid', 'validation'),
        ('train', 'dev', 'validation'),
        ('training_set', 'test_set', 'test'),
        ('train data', 'Eval', 'validation'),
    ],
)
def test_split_folders(divided, train_name, name, split):
    (divided / 'val').rename(divided / name)
    (divided / 'train').rename(divided / train_name)
    train, test = opened(divided)
    assert (len(train), len(test)) == (8, 4)
    assert (train.info.split, test.info.split) == ('train', split)
    assert train.info.class_names == ('cat', 'dog')
    assert f'/{train_name}/' in train.where(0) and f'/{name}/' in test.where(0)
    expected = [
        f'{own}/ is the {meant} split'
        for own, meant in ((train_name, 'train'), (name, split))
        if own != meant
    ]
    assert list(Folder(divided).notes) == expected


def test_a_split_of_ones_own_choice(divided):
    write(divided / 'test' / 'cat' / '0.png')
    assert len(opened(divided)[1]) == 1
    for name in ('val', 'validation', 'VALID'):
        assert len(opened(divided, test_split=name)[1]) == 4
    known = 'it has train, validation, test'
    with pytest.raises(UserError, match=f"no split 'extra'; {known}"):
        opened(divided, test_split='extra')
    with pytest.raises(UserError, match='share examples'):
        opened(divided, test_split='train')


def test_grey_files_have_one_channel(tmp_path):
    for name in 'ab':
        write(tmp_path / name / '0.png', color=9, mode='L')
    assert sources.open_source(config(tmp_path), 'train').info.image_shape == (
        None,
        None,
        1,
    )


def test_the_fingerprint_is_of_the_names_and_the_content(tree, tmp_path_factory):
    first = opened(tree)[0].info.fingerprint
    copy = tmp_path_factory.mktemp('moved') / 'copy'
    shutil.copytree(tree, copy, copy_function=shutil.copyfile)
    assert opened(copy)[0].info.fingerprint == first
    write(tree / 'cat' / 'one_more.png')
    assert opened(tree)[0].info.fingerprint != first


def test_pixels_of_the_same_size_are_other_content(tmp_path):
    fingerprints = set()
    for colors in (('red', 'blue'), ('blue', 'red'), ('red', 'green')):
        for name, color in zip('ab', colors, strict=True):
            for number in range(5):
                write(tmp_path / name / f'{number}.bmp', color=color)
        train, test = opened(tmp_path)
        fingerprints |= {train.info.fingerprint, test.info.fingerprint}
    assert len(fingerprints) == 6


def test_other_files_are_passed_over(tree):
    (tree / 'cat' / 'notes.txt').write_text('hello')
    (tree / 'cat' / '._0.jpg').write_bytes(b'')
    (tree / '.cache').mkdir()
    assert sum(map(len, opened(tree))) == 20


def test_few_per_class(tree):
    train, test = opened(tree, per_class=3)
    np.testing.assert_array_equal(np.bincount(train.labels()), [3, 3])
    assert len(test) == 4
    with pytest.raises(UserError, match="'cat' has only 8"):
        opened(tree, per_class=9)


def test_folder_mistakes_are_named(tree, tmp_path):
    with pytest.raises(UserError, match='nowhere: there is no such folder'):
        opened(tmp_path / 'nowhere')
    (tree / 'empty').mkdir()
    with pytest.raises(UserError, match=r'empty has no images'):
        opened(tree)
    with pytest.raises(UserError, match='has no training images'):
        opened(tree / 'cat')


def test_a_class_that_only_validation_has_is_named(divided):
    write(divided / 'val' / 'bird' / '0.png')
    with pytest.raises(UserError, match="'bird', a class that training does not have"):
        opened(divided)


def test_a_truncated_file_is_named(tree):
    path = tree / 'cat' / '0.jpg'
    Image.effect_noise((64, 64), 50).convert('RGB').save(path)
    path.write_bytes(path.read_bytes()[:600])

    def prepare(example, rng):
        from jaxvision.data import decode

        return example | {'image': decode.resize_center_crop(example['image'], 8, 3)}

    train = sources.open_source(config(tree, train_split='train'), 'train')
    source = (
        train
        if any(train.where(r) == str(path) for r in range(16))
        else opened(tree)[1]
    )
    with pytest.raises(
        UserError, match=r'cat/0\.jpg: .*[Tt]runcated.*on_corrupt=replace'
    ):
        list(pipeline.eval_batches(source, prepare, batch_size=4))
