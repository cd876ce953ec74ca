"""What a folder of images holds besides is left out, and named."""

import os

import pytest
from helpers.data_config import data_config
from helpers.image_folders import PAIR, folder_of, read, write

from jaxvision.data import sources
from jaxvision.data.folder import Folder


def opened(folder):
    data = data_config(source=f'folder:{folder}')
    return [sources.open_source(data, split) for split in ('train', 'test')]


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
        f'is named labels.csv, in {tmp_path}',
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
        'results/confusion.png',
        'report/sheet.png',
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
    (tmp_path / 'results/metrics.json').write_text('{\n "step": 3,\n "split": "test"}')
    (tmp_path / 'report/report.json').write_text('{\n "summary": []}')
    folder = Folder(tmp_path)
    assert set(read(folder)) == set(PAIR)
    assert folder.notes[0] == (
        'predictions/, report/, results/ and 2 more: written by this program, left out'
    )


def test_a_users_own_export_is_data(tmp_path):
    folder_of(tmp_path, *PAIR)
    (tmp_path / 'cat' / 'export.json').write_text('[{"id": 1}]')
    (tmp_path / 'dog' / 'predictions.json').write_text('{"images": []}')
    (tmp_path / 'dog' / 'metrics.json').write_text('{}')
    (tmp_path / 'dog' / 'report.json').write_text('no JSON')
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
    assert 'such as cat/same.png and dog/same.png' in folder.doubts[-1]


@pytest.mark.parametrize(
    'names, note',
    [
        (('Cat', 'cat', 'dog'), "'Cat' and 'cat' have nearly the same name"),
        (('cat', 'cat ', 'dog'), "'cat' and 'cat ' have nearly"),
        (('guinea pig', 'guinea_pig'), "'guinea pig' and 'guinea_pig' have nearly"),
        (('01', '1', '2'), "'01' and '1' have nearly"),
        (('1', '1.0', '2'), "'1' and '1.0' have nearly"),
        (('a', 'A', 'b', 'B'), 'and 1 more such'),
        (('cat', 'dog', 'nan'), "'nan' may stand for missing labels"),
        (('cat', 'dog', 'cat,dog'), "'cat,dog' may be several labels"),
        (("['cat']", 'dog'), 'may be several labels'),
    ],
)
def test_doubtful_names_of_classes_are_named(tmp_path, names, note):
    folder = folder_of(
        tmp_path, *(f'{name}/{i}.png' for i in range(5) for name in names)
    )
    assert len(read(folder)) == 5 * len(names)
    (doubt,) = folder.doubts
    assert note in doubt


@pytest.mark.parametrize(
    'names', [('1', '2', '10'), ('cat', 'cats'), ('a,b', 'c'), ('none of these', 'cat')]
)
def test_usual_names_of_classes_are_not_doubtful(tmp_path, names):
    files = [f'{name}/{number}.png' for number in range(5) for name in names]
    folder = folder_of(tmp_path, *files)
    assert folder.notes == folder.doubts == ()


def test_folders_that_all_classes_hold_are_named(tmp_path):
    """They may be the classes: images of two sites, or original and augmented ones."""
    files = [
        f'{site}/{name}/{number}.png'
        for site in ('north', 'south')
        for name in ('cat', 'dog')
        for number in range(4)
    ]
    (doubt,) = folder_of(tmp_path, *files).doubts
    assert doubt.startswith(
        'the classes are north/, south/, and each of them holds cat/, dog/'
    )


def test_archives_and_tables_of_splits_are_named(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'labels.csv').touch()
    (tmp_path / 'dog.zip').touch()
    files = [f'train/{name}/{i}.png' for name in ('cat', 'emu') for i in range(5)]
    notes = folder_of(tmp_path, *files).notes
    assert notes[0] == 'dog.zip not read: expected unpacked folders'
    assert notes[1].startswith('train/labels.csv not read')


@pytest.mark.parametrize('test_mode, is_noted', [('L', False), ('RGB', True)])
def test_colours_that_training_does_not_have_are_named(tmp_path, test_mode, is_noted):
    for number, name in enumerate(PAIR):
        write(tmp_path / 'train' / name, 10 * number, 'L')
        color = 50 if test_mode == 'L' else (50, number, 0)
        write(tmp_path / 'test' / name, color, test_mode)
    folder = Folder(tmp_path)
    info = folder.open('test').info
    assert info.image_shape[-1] == 1
    assert any('in colour: read as grey' in doubt for doubt in info.doubts) == is_noted


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
