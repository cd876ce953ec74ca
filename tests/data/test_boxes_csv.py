import unicodedata

import pytest
from helpers.box_files import objects_by_name, opened, write_image
from helpers.data_config import data_config

from jaxvision.core.errors import UserError
from jaxvision.data import sources

HEADER = 'file,class,xmin,ymin,xmax,ymax'


def write_table(root, *rows, header=HEADER, images='ab', encoding='utf-8'):
    for name in images:
        write_image(root / f'{name}.png')
    path = root / 'boxes.csv'
    path.write_text('\n'.join([header, *rows]), encoding=encoding)
    return path


def test_a_row_is_a_box(tmp_path):
    path = write_table(
        tmp_path, 'a.png,cat,1,2,3.5,5', 'b.png,dog,0,0,9,9', 'a.png,dog,4,5,6,7'
    )
    source = opened(f'boxes:{path}')
    assert source.info.class_names == ('cat', 'dog')
    assert objects_by_name(source) == {
        'a.png': [
            ('cat', (2, 1, 5, 3.5), False, 7.5),
            ('dog', (5, 4, 7, 6), False, 4),
        ],
        'b.png': [('dog', (0, 0, 9, 9), False, 81)],
    }
    assert source.info.notes == ()


@pytest.mark.parametrize(
    'header, row',
    [
        ('filename,width,height,class,xmin,ymin,xmax,ymax', 'a.png,40,30,cat,1,2,3,4'),
        ('Label;X2;X1;Y2;Y1;Image_Path', 'cat;3;1;4;2;a.png'),
        ('image\tx_min\ty_min\tx_max\ty_max\tclass name', 'a.png\t1\t2\t3\t4\tcat'),
        ('path,left,top,right,bottom,category', './a.png,1,2,3,4,cat'),
    ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252'])
def test_columns_in_any_order_spelling_and_encoding(tmp_path, header, row, encoding):
    path = write_table(tmp_path, row, header=header, images='a', encoding=encoding)
    source = opened(f'boxes:{path}')
    assert objects_by_name(source) == {'a.png': [('cat', (2, 1, 4, 3), False, 4)]}


def test_a_row_without_a_box_is_an_image_without_objects(tmp_path):
    rows = ('a.png,,,,,', 'b.png,cat,1,1,2,2', 'c.png,none,,,,')
    path = write_table(tmp_path, *rows, images='abc')
    source = opened(f'boxes:{path}')
    assert [len(source.boxes_of(row)['boxes']) for row in range(3)] == [0, 1, 0]
    assert source.info.class_names == ('cat',)
    assert source.info.notes == (
        'boxes.csv: 1 row with a class and without a box: read as images without objects',
        'train: 2 images without a box kept, the first in a.png',
    )


def test_a_column_may_name_the_split(tmp_path):
    rows = ('a.png,cat,1,1,2,2,', 'b.png,cat,1,1,2,2,valid', 'c.png,cat,1,1,2,2,Test')
    path = write_table(tmp_path, *rows, header=f'{HEADER},Split', images='abc')
    parts = sources.Parts(data_config(source=f'boxes:{path}'))
    for split, name in (('train', 'a'), ('validation', 'b'), ('test', 'c')):
        source = parts.open(split)
        assert len(source) == 1 and source.where(0).endswith(f'/{name}.png')


def test_files_may_lie_in_another_folder(tmp_path):
    write_image(tmp_path / 'there' / 'x' / 'a.png')
    absolute = tmp_path / 'there' / 'x' / 'b.png'
    write_image(absolute)
    path = write_table(
        tmp_path, 'x\\a.png,cat,1,1,2,2', f'{absolute},cat,1,1,2,2', images=''
    )
    with pytest.raises(UserError, match=r"2 of 2 images are not in .*'x/a.png'. Name"):
        opened(
            f'boxes:{write_table(tmp_path, "x/a.png,cat,1,1,2,2", "c,d,,,,", images="")}'
        )
    path = write_table(
        tmp_path, 'x\\a.png,cat,1,1,2,2', f'{absolute},cat,1,1,2,2', images=''
    )
    assert len(opened(f'boxes:{path}', images=str(tmp_path / 'there'))) == 2
    with pytest.raises(UserError, match='there is no such folder'):
        opened(f'boxes:{path}', images=str(tmp_path / 'none'))


def test_names_in_the_other_unicode_form(tmp_path):
    write_image(tmp_path / unicodedata.normalize('NFC', 'é.png'))
    row = unicodedata.normalize('NFD', 'é.png,é,1,1,2,2')
    source = opened(f'boxes:{write_table(tmp_path, row, images="")}')
    assert source.info.class_names == ('é',)


def test_what_is_not_read_is_named(tmp_path):
    path = write_table(
        tmp_path, 'a.png,cat,1,1,2,2,x', header=f'{HEADER},pose', images='ab'
    )
    assert opened(f'boxes:{path}').info.notes == (
        "boxes.csv: not read: the columns 'pose'",
        '1 image not in boxes.csv left out, such as b.png',
    )


@pytest.mark.parametrize(
    'header, rows, message',
    [
        ('', [], 'has no column file, class'),
        ('a.png,cat,1,2,3,4', [], 'has no column file'),
        ('file,class,xmin,ymin,width,height', [], 'has no column ymax, xmax'),
        (f'{HEADER},label', [], "two columns that mean 'class'"),
        (HEADER, ['a.png,cat,1,2,3'], 'line 2: expected four numbers'),
        (HEADER, ['a.png,cat,1,2,3,x'], 'line 2: expected four numbers'),
        (HEADER, ['a.png,,1,2,3,4'], 'line 2: the column `class` is empty'),
        (HEADER, [',cat,1,2,3,4'], 'line 2: the column `file` is empty'),
        (HEADER, ['a.png,cat,1,2,3,4,5'], 'is in no column'),
        (HEADER, ['../a.png,cat,1,2,3,4'], 'line 2: .*does not lie in its folder'),
        (HEADER, ['/etc/passwd,cat,1,2,3,4'], 'does not lie in its folder'),
        (HEADER, ['none.png,cat,1,2,3,4'], "such as 'none.png'"),
        (HEADER, ['a.png,cat,0.1,0.2,0.5,1.0'], 'Expected pixels, not fractions'),
        (HEADER, ['a.png,,,,,'], 'no training image has a box'),
        (HEADER, ['"a.png,cat,1,2,3,4'], 'is no CSV'),
        (f'{HEADER},split', ['a.png,cat,1,2,3,4,fold1'], "split 'fold1' is none of"),
        (
            f'{HEADER},split',
            ['a.png,cat,1,2,3,4,train', 'a.png,cat,1,2,3,4,val'],
            'lines 2 and 3: a.png is in train and in validation',
        ),
        (
            f'{HEADER},width,height',
            ['a.png,cat,1,2,3,4,30,40'],
            'it is 40x30, and the annotation says 30x40',
        ),
    ],
)
def test_tables_of_another_form(tmp_path, header, rows, message):
    path = write_table(tmp_path, *rows, header=header)
    with pytest.raises(UserError, match=message):
        opened(f'boxes:{path}')


def test_a_place_that_there_is_not(tmp_path):
    with pytest.raises(UserError, match='there is no such file or folder'):
        opened(f'boxes:{tmp_path}/none.csv')
