import shutil

import numpy as np
import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline, sources


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


@pytest.mark.parametrize('name', ['val', 'validation', 'test'])
def test_split_folders(divided, name):
    (divided / 'val').rename(divided / name)
    train, test = opened(divided)
    assert (len(train), len(test)) == (8, 4)
    assert test.info.split == name
    assert f'/{name}/' in test.where(0)


def test_a_split_of_ones_own_choice(divided):
    write(divided / 'test' / 'cat' / '0.png')
    assert len(opened(divided)[1]) == 1
    assert len(opened(divided, test_split='val')[1]) == 4
    with pytest.raises(UserError, match="no split 'dev'; it has train, val, test"):
        opened(divided, test_split='dev')
    with pytest.raises(UserError, match='same examples'):
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
        (('file,label,split', 'images/a.jpg,x,dev'), "line 2: the split 'dev'"),
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
