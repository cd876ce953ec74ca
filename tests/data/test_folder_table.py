"""Folders of images with a labels.csv, as data sources."""

import numpy as np
import pytest
from helpers.data_config import data_config
from helpers.image_folders import write

from jaxvision.core.errors import UserError
from jaxvision.data import sources


def opened(folder):
    data = data_config(source=f'folder:{folder}')
    return [sources.open_source(data, split) for split in ('train', 'test')]


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
