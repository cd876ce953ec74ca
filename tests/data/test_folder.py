import os
import shutil

import numpy as np
import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline, sources
from jaxvision.data.folder import Folder


def config(folder, **fields):
    return data_config(source=f'folder:{folder}', **fields)


def write(path, color='red', mode='RGB', size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


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


def csv(folder, *lines):
    for name in 'abcd':
        write(folder / 'images' / f'{name}.jpg')
    (folder / 'labels.csv').write_text('\n'.join(lines) + '\n')
    return folder


def test_csv_of_one_label(tmp_path):
    folder = csv(
        tmp_path,
        'file,label,split',
        'images/a.jpg,x,train',
        'images/b.jpg,y,train',
        'images/c.jpg,y,test',
    )
    train, test = opened(folder)
    assert train.info.class_names == ('x', 'y') and not train.info.multi_label
    np.testing.assert_array_equal(train.labels(), [0, 1])
    assert test[0]['label'] == 1 and test.where(0).endswith('c.jpg')


@pytest.mark.parametrize(
    'lines',
    [
        (
            'file,label',
            'images/a.jpg,x',
            'images/b.jpg,x;y',
            'images/c.jpg,',
            'images/d.jpg,y',
        ),
        (
            'file,label',
            'images/a.jpg,x',
            'images/b.jpg,y|x',
            'images/c.jpg,',
            'images/d.jpg,y',
        ),
        (
            'file,x,y',
            'images/a.jpg,1,0',
            'images/b.jpg,1,1',
            'images/c.jpg,0,0',
            'images/d.jpg,0,1',
        ),
    ],
)
def test_csv_of_several_labels(tmp_path, lines):
    train, test = opened(csv(tmp_path, *lines))
    assert train.info.class_names == ('x', 'y') and train.info.multi_label
    labels = {
        source.where(row)[-5]: source[row]['label'].tolist()
        for source in (train, test)
        for row in range(len(source))
    }
    assert labels == {'a': [1, 0], 'b': [1, 1], 'c': [0, 0], 'd': [0, 1]}
    assert train[0]['label'].dtype == np.float32


@pytest.mark.parametrize(
    'lines, message',
    [
        (
            ('file,label', 'images/a.jpg,x', 'images/z.jpg,y'),
            r'line 3: there is no file .*z\.jpg',
        ),
        (
            ('file,label', 'images/a.jpg,x', 'images/b.jpg,'),
            r'line 3: b\.jpg has no label',
        ),
        (('file,x,y', 'images/a.jpg,1,maybe'), "line 2: 'y' is 'maybe'"),
        (('name,label', 'images/a.jpg,x'), 'column `file`.*name, label'),
        (('file,label,split', 'images/a.jpg,x,extra'), "line 2: the split 'extra'"),
        (
            (
                'file,label,split',
                'images/a.jpg,x,train',
                'images/b.jpg,y,train',
                'images/c.jpg,z,val',
            ),
            "c.jpg is labelled 'z'",
        ),
        (('file,label', 'images/a.jpg,x', 'images/b.jpg,x'), "only one class, 'x'"),
        (('file,label',), 'no training images'),
    ],
)
def test_csv_mistakes_are_named(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        opened(csv(tmp_path, *lines))


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


def folder_of(root, *names):
    """A tree of files: a tiny image each, of content that no other file has."""
    for number, name in enumerate(names):
        write(root / name, color=(number % 256, number // 256, 7))
    return Folder(root)


def read(folder):
    """{file: (labels, split)} of a folder."""
    return {
        item.path.relative_to(folder._root).as_posix(): (item.labels, split)
        for split, items in folder._items.items()
        for item in items
    }


PAIR = ('cat/1.png', 'dog/1.png')


def test_what_is_left_out_is_named(tmp_path):
    """Nothing else of a split's surroundings becomes a class, and each is told of."""
    write(tmp_path / 'train' / 'loose.png')
    write(tmp_path / 'extra' / 'cat' / '1.png')
    write(tmp_path / 'more' / '1.png')
    (tmp_path / 'train.csv').touch()
    write(tmp_path / 'test' / 'secret.png')
    folder = folder_of(tmp_path, *(f'train/{name}' for name in PAIR))
    (tmp_path / 'train' / 'cat' / 'notes.txt').touch()
    (tmp_path / 'train' / 'dog' / 'gone.png').symlink_to('/nowhere/gone.png')
    folder = Folder(tmp_path)
    assert folder.splits == ('train',) and set(read(folder)) == {
        f'train/{name}' for name in PAIR
    }
    assert folder.notes[:7] == (
        'train.csv not read: labels come from the names of folders. A table of labels '
        'is named labels.csv',
        'extra/, more/ beside train/ are no splits: left out',
        '1 image of train in no class folder left out, such as train/loose.png',
        '1 image of test in no class folder left out, such as test/secret.png',
        'test/ has no class folders: no test split',
        '1 broken link left out, such as train/dog/gone.png',
        '1 other file in class folders left out: .txt',
    )


def test_classes_too_small_to_be_held_out_are_named(tmp_path):
    many = [f'{name}/{number}.png' for name in ('ape', 'bee') for number in range(9)]
    few = ['cat/0.png', 'dog/0.png', 'dog/1.png']
    (note,) = folder_of(tmp_path, *many, *few).notes
    assert 'not measured' in note and note.endswith('cat (1), dog (2)')
    _, test = opened(tmp_path)
    assert {test.info.class_names[label] for label in test.labels()} == {'ape', 'bee'}


def test_one_image_a_class_is_told_a_way_out(tmp_path):
    (note,) = folder_of(tmp_path, *PAIR).notes
    assert 'test/ beside train/' in note and '--support' in note


def test_what_systems_and_this_program_leave_behind_is_no_class(tmp_path):
    """With folder:. the second run had the classes cat, dog, predictions and runs."""
    folder_of(tmp_path, *PAIR)
    junk = (
        '__MACOSX/cat/._1.png',
        '.ipynb_checkpoints/1.png',
        '.Trash-1000/files/1.png',
        'cat/.ipynb_checkpoints/1-checkpoint.png',
        'cat/@eaDir/1.png/thumb.png',
        'runs/cnn/predictions.png',
        'runs/cnn/eval/5.png',
        'predictions/1.png',
        'models/export/sample.png',
    )
    for name in junk:
        write(tmp_path / name)
    for name in ('.DS_Store', 'Thumbs.db', 'desktop.ini'):
        (tmp_path / 'cat' / name).touch()
    (tmp_path / 'runs/cnn/config.json').write_text('{}')
    (tmp_path / 'runs/cnn/spec.json').write_text('{}')
    (tmp_path / 'predictions/predictions.json').write_text(
        '{"model": "m", "files": []}'
    )
    (tmp_path / 'models/export/export.json').write_text('{\n "run": "runs/cnn"}')
    folder = Folder(tmp_path)
    assert set(read(folder)) == set(PAIR)
    assert folder.notes[0] == (
        'predictions/, models/export/, runs/cnn/: written by this program, left out'
    )


def test_a_users_own_export_is_data(tmp_path):
    folder_of(tmp_path, *PAIR)
    (tmp_path / 'cat' / 'export.json').write_text('[{"id": 1}]')
    (tmp_path / 'dog' / 'predictions.json').write_text('{"images": []}')
    assert set(read(Folder(tmp_path))) == set(PAIR)


def test_links_to_folders_are_followed_once(tmp_path):
    write(tmp_path / 'elsewhere' / 'pool' / '2.png')
    root = tmp_path / 'root'
    folder_of(root, *PAIR)
    (root / 'cat' / 'loop').symlink_to(root)
    (root / 'cat' / 'self').symlink_to('self')
    (root / 'cat' / 'more').symlink_to(tmp_path / 'elsewhere' / 'pool')
    (root / 'cat' / 'again').symlink_to(tmp_path / 'elsewhere' / 'pool')
    (tmp_path / 'elsewhere' / 'pool' / 'back').symlink_to(root)
    (root / 'emu').symlink_to(tmp_path / 'elsewhere' / 'emus')
    write(tmp_path / 'elsewhere' / 'emus' / '3.png')
    (root / 'all').symlink_to(root)
    assert set(read(Folder(root))) == {*PAIR, 'cat/again/2.png', 'emu/3.png'}


def test_links_to_files_of_the_same_class_are_one_file(tmp_path):
    folder_of(tmp_path, *PAIR)
    (tmp_path / 'cat' / '2.png').symlink_to('1.png')
    folder = Folder(tmp_path)
    assert set(read(folder)) == set(PAIR)
    assert folder.notes[0] == '1 link to files that are listed anyway: left out'


def test_equal_images_of_two_classes_are_named(tmp_path):
    folder_of(tmp_path, *PAIR)
    for name in ('cat', 'dog'):
        write(tmp_path / name / 'same.png', color=(9, 9, 9))
    folder = Folder(tmp_path)
    folder.open('train')
    assert 'such as cat/same.png and dog/same.png' in folder.notes[-1]


def test_classes_that_differ_in_case_are_named(tmp_path):
    folder = folder_of(tmp_path, *PAIR, 'Cat/1.png')
    assert "'Cat' and 'cat' differ in case" in folder.notes[0]


def test_a_class_is_the_same_in_both_forms_of_unicode(tmp_path):
    composed, decomposed = 'caf\u00e9', 'cafe\u0301'
    folder = folder_of(
        tmp_path,
        f'train/{composed}/1.png',
        f'train/{decomposed}/2.png',
        'train/tea/1.png',
        f'test/{decomposed}/3.png',
    )
    assert folder.open('test').info.class_names == (composed, 'tea')
    assert [folder.open('train').labels().tolist()] == [[0, 0, 1]]


def test_notes_can_be_printed(tmp_path):
    name = os.fsdecode(b'\xff.png')
    folder = folder_of(tmp_path, *PAIR, name)
    assert any(r'such as \udcff.png' in note for note in folder.notes)
    '\n'.join(folder.notes).encode()


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
        (('data/train/cat/1.png', 'data/val/cat/1.png'), {}, 'name folder:.*data as'),
        (
            ('train/cat/1.png', 'val/cat/1.png', 'valid/cat/1.png'),
            {},
            'val/, valid/ are all the validation split',
        ),
        (('Train/cat/1.png', 'train/cat/1.png'), {}, 'Train/, train/ are all'),
        (('cat/1.png', 'dog/1.png', 'test/1.png'), {}, 'If test is a class, move'),
        (('train/1.png', 'test/2.png'), {}, 'in no class folder'),
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


@pytest.mark.skipif(os.geteuid() == 0, reason='root may list everything')
def test_a_folder_that_cannot_be_listed_is_refused(tree):
    (tree / 'cat').chmod(0)
    with pytest.raises(UserError, match='cat cannot be listed: Permission denied'):
        Folder(tree)
