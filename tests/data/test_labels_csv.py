"""labels.csv as people and spreadsheets write it; each case says what it means, or one line."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data.folder import Folder

CAFE = 'caf\u00e9'
DECOMPOSED = unicodedata.normalize('NFD', CAFE)


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate('abcdef'):
        Image.new('RGB', (1, 1), (number, 0, 0)).save(tmp_path / f'{name}.png')
    return tmp_path


def opened(root, *lines, encoding='utf-8', end='\n'):
    text = end.join(lines) + end
    (root / 'labels.csv').write_bytes(text.encode(encoding))
    return Folder(root)


def labels(folder):
    """{file: its labels, with the split behind them unless it is training}."""
    return {
        item.path.name[0]: ';'.join(item.labels) + ('' if split == 'train' else split)
        for split, items in folder._items.items()
        for item in items
    }


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le'])
@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_a_table_as_spreadsheets_write_it(root, encoding, delimiter, end):
    rows = ('file,label', f'a.png,{CAFE}', 'b.png,tea', ',')
    rows = [row.replace(',', delimiter) for row in rows]
    folder = opened(root, *rows, encoding=encoding, end=end)
    assert labels(folder) == {'a': CAFE, 'b': 'tea'}


def test_an_old_encoding_is_read_and_named(root):
    rows = ('file,label', f'a.png,{CAFE}', 'b.png,tea')
    folder = opened(root, *rows, encoding='cp1252')
    assert labels(folder) == {'a': CAFE, 'b': 'tea'}
    assert folder.notes[0] == 'labels.csv is not in UTF-8: read as Windows-1252'


@pytest.mark.parametrize(
    'rows, expected',
    [
        # Columns in any case, names with spaces around them, an empty last column.
        (('File, Label ,Split,', 'a.png,x,,', 'b.png,y,,'), {'a': 'x', 'b': 'y'}),
        (
            ('file,label,split', 'a.png,x,Train', 'b.png,y,TRAINING', 'c.png,x,Dev'),
            {'a': 'x', 'b': 'y', 'c': 'xvalidation'},
        ),
        # Several labels in a cell; one of them twice.
        (('file,label', 'a.png,x;x', 'b.png,y| y'), {'a': 'x', 'b': 'y'}),
        (('file,label', 'a.png,x;y;x', 'b.png,y'), {'a': 'x;y', 'b': 'y'}),
        # Equal rows, and the long form.
        (('file,label', 'a.png,x', 'b.png,y', './a.png,x'), {'a': 'x', 'b': 'y'}),
        (('file,label', 'a.png,x', 'b.png,y', 'a.png,y'), {'a': 'x;y', 'b': 'y'}),
        (('file,label', 'a.png,', 'b.png,y', 'a.png,x'), {'a': 'x', 'b': 'y'}),
        (('file,x,y', 'a.png,1,0', 'b.png,0,1', 'a.png,1,0'), {'a': 'x', 'b': 'y'}),
        # Quoted cells that hold the delimiter or a line break.
        (('file,label', 'a.png,"x, y"', '"b.png","z"'), {'a': 'x, y', 'b': 'z'}),
        # A path as Windows writes it.
        (('file,label', '.\\a.png,x', 'b.png,y'), {'a': 'x', 'b': 'y'}),
        # One class in both forms of Unicode.
        (
            ('file,label', f'a.png,{CAFE}', 'b.png,y', f'c.png,{DECOMPOSED}'),
            {'a': CAFE, 'b': 'y', 'c': CAFE},
        ),
        ((f'file,{DECOMPOSED},y', 'a.png,1,0', 'b.png,0,1'), {'a': CAFE, 'b': 'y'}),
    ],
)
def test_what_rows_mean(root, rows, expected):
    folder = opened(root, *rows)
    assert labels(folder) == expected
    several = any(';' in text for text in expected.values())
    assert folder._multi_label == (several or 'label' not in rows[0].lower())


@pytest.mark.parametrize(
    'rows, note',
    [
        (
            ('file,label', 'a.png,x', 'b.png,y', 'a.png,x', 'a.png,x'),
            'labels.csv: 2 repeated rows counted once',
        ),
        (
            ('file,label', 'a.png,x', '', 'b.png,y', 'a.png,y'),
            'labels.csv: 1 row with a further label of a file, which makes the dataset '
            'multi-label, such as lines 2 and 5: a.png',
        ),
        (
            ('file,label,subset', 'a.png,x,train', 'b.png,y,test'),
            "labels.csv: not read: the columns 'subset'",
        ),
        (
            ('file,label,split', 'a.png,x,', 'b.png,y,train', 'c.png,x,test'),
            'labels.csv: 1 row without a split: training',
        ),
        (
            ('file,label', 'a.png,x', 'b.png,y', 'c.png,y'),
            '3 images not in labels.csv left out, such as d.png',
        ),
    ],
)
def test_what_is_understood_is_said(root, rows, note):
    assert note in opened(root, *rows).notes


@pytest.mark.parametrize(
    'rows, message',
    [
        (
            ('file,label,split', 'a.png,x,train', 'b.png,y,train', 'a.png,x,test'),
            'lines 2 and 4: a.png is in train and in test',
        ),
        (
            ('file,x,y', 'a.png,1,0', 'b.png,0,1', '', 'a.png,1,1'),
            'lines 2 and 5: a.png has other labels in each',
        ),
        (('file,label,label', 'a.png,x,y'), "has the column 'label' twice"),
        (('file,x,y,x', 'a.png,1,0,1'), "has the column 'x' twice"),
        (('file,split', 'a.png,train'), 'column `label`, or one column a class'),
        (('file,label', 'a.png,x,y', 'b.png,y'), "line 2: 'y' is in no column"),
        (('file,label,', 'a.png,x,1', 'b.png,y,'), "line 2: '1' is in no column"),
        (('file,label', 'a.png,x', '"b.png,y'), 'labels.csv is no CSV: unexpected end'),
        (('file,label', ',x', 'b.png,y'), 'line 2: the column `file` is empty'),
        (('file,label', 'a.png,x', '', 'z.png,y'), 'line 4: there is no file .*z.png'),
        (('file,label', '/no/a.png,x'), 'line 2: there is no file /no/a.png'),
    ],
)
def test_what_is_wrong_is_one_line(root, rows, message):
    with pytest.raises(UserError, match=message) as told:
        opened(root, *rows)
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(
    'data', [b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', b'file,label\n\x81']
)
def test_what_is_no_text_is_one_line(root, data):
    (root / 'labels.csv').write_bytes(data)
    with pytest.raises(UserError, match='no text in UTF-8, UTF-16 or Windows-1252'):
        Folder(root)


def test_absolute_paths_are_the_same_files(root, tmp_path_factory):
    relative = opened(root, 'file,label', 'a.png,x', 'b.png,y').open('train')
    absolute = opened(root, 'file,label', f'{root}/a.png,x', f'{root}/b.png,y')
    assert absolute.open('train').info.fingerprint == relative.info.fingerprint
    other = tmp_path_factory.mktemp('other')
    elsewhere = opened(other, 'file,label', f'{root}/a.png,x', f'{root}/b.png,y')
    assert elsewhere.open('train').where(0) == f'{root}/a.png'
    twice = ('file,label,split', 'a.png,x,train', 'b.png,y,', f'{root}/a.png,x,test')
    with pytest.raises(UserError, match='is in train and in test'):
        opened(root, *twice)


def test_a_link_to_a_file_is_that_file(root):
    (root / 'link.png').symlink_to('a.png')
    rows = ('file,label,split', 'a.png,x,train', 'b.png,y,train', 'link.png,x,test')
    with pytest.raises(UserError, match='lines 2 and 4: link.png is in train and in'):
        opened(root, *rows)


def test_a_file_name_is_found_in_both_forms_of_unicode(root):
    (root / 'a.png').rename(root / f'{DECOMPOSED}.png')
    folder = opened(root, 'file,label', f'{CAFE}.png,x', 'b.png,y')
    assert labels(folder) == {'c': 'x', 'b': 'y'}


def test_the_name_of_the_table_is_in_any_case(root):
    opened(root, 'file,label', 'a.png,x', 'b.png,y')
    (root / 'labels.csv').rename(root / 'Labels.CSV')
    assert labels(Folder(root)) == {'a': 'x', 'b': 'y'}
    (root / 'labels.csv').touch()
    with pytest.raises(UserError, match=r'Labels\.CSV and labels\.csv: expected one'):
        Folder(root)


def test_noise_whose_rows_are_repeated_cannot_be_learned_by_heart(tmp_path):
    """40 images with random labels, each row five times, reached an accuracy of 1.000."""
    from helpers.data_config import data_config

    from jaxvision.data import sources

    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        pixels = rng.integers(0, 256, (2, 2, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
        rows += 5 * [f'{number}.png,{"xy"[rng.integers(2)]}']
    rows = [rows[i] for i in rng.permutation(len(rows))]
    opened(tmp_path, 'file,label', *rows)
    config = data_config(source=f'folder:{tmp_path}')
    train, test = (sources.open_source(config, split) for split in ('train', 'test'))
    seen = {train.where(row) for row in range(len(train))}
    assert len(train) + len(test) == 40
    assert not seen & {test.where(row) for row in range(len(test))}


@pytest.mark.parametrize(
    'column', ['class', 'Class', 'labels', 'target', 'fold', 'is_train', 'Unnamed: 0']
)
def test_a_column_that_is_no_class_does_not_become_one(root, column):
    """Its 0 and 1 would read as a class of a multi-label dataset."""
    rows = (f'file,{column},cat', 'a.png,0,1', 'b.png,1,0', 'c.png,1,1')
    with pytest.raises(UserError, match=f'no column `label`.*{column!r}'):
        opened(root, *rows)


def test_a_quote_that_swallows_lines_is_refused(root):
    rows = ('file,label', 'a.png,"x', 'b.png,y"', 'c.png,y')
    with pytest.raises(
        UserError, match='line 2: the column `label` holds a line break'
    ):
        opened(root, *rows)


def test_a_name_longer_than_any_file_is_one_line(root):
    with pytest.raises(UserError, match='line 2: there is no file'):
        opened(root, 'file,label', f'{"x" * 5000}.png,x', 'b.png,y')


def test_invisible_characters_around_cells_do_not_count(root):
    rows = ('file,label', 'a.png,x\u200b', '\ufeffb.png,x', 'c.png,y')
    assert labels(opened(root, *rows)) == {'a': 'x', 'b': 'x', 'c': 'y'}


@pytest.mark.parametrize('last, is_noted', [('1,0', True), ('1,1', False)])
def test_columns_that_exclude_each_other_are_named(root, last, is_noted):
    rows = ('file,x,y', 'a.png,1,0', 'b.png,0,1', f'c.png,{last}')
    notes = opened(root, *rows).notes
    assert any('exactly one label' in note for note in notes) == is_noted


def test_one_cell_with_several_labels_makes_a_dataset_multi_label_and_is_named(root):
    folder = opened(root, 'file,label', 'a.png,x', 'b.png,y', 'c.png,x|y')
    assert folder.notes[0] == (
        'labels.csv: 1 of 3 rows with several labels, which makes the dataset '
        'multi-label, such as line 4: x, y'
    )
