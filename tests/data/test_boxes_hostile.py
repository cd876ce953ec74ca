"""Hostile annotation files: each is read, or gives one error that a user can mend.

No file outside of the folder of a dataset may be opened, whatever its files say.
"""

import builtins
import contextlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.box_files import (
    opened,
    write_coco,
    write_image,
    write_voc,
    write_yolo,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvision.core.errors import UserError

EXAMPLES = 40  # of each format: 240 in all
LIMITS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
BOX = [1, 2, 3, 4]
PARTS = ('boxes', 'box_classes', 'crowd', 'area')


@pytest.fixture
def secret(tmp_path):
    """A dataset's folder beside files that it must not read."""
    write_image(tmp_path / 'secret.png')
    (tmp_path / 'secret.txt').write_text('0 0.5 0.5 0.5 0.5')
    folder = tmp_path / 'data'
    folder.mkdir()
    return folder


def audit(event, arguments):
    if event == 'open' and OPENED is not None and isinstance(arguments[0], str | bytes):
        OPENED.append(os.fsdecode(arguments[0]))


OPENED = None
sys.addaudithook(audit)


@contextlib.contextmanager
def opened_files():
    """Collect the paths of all files that are opened."""
    global OPENED
    OPENED = []
    try:
        yield OPENED
    finally:
        OPENED = None


def check(source, folder):
    """Read a dataset, which may fail with a clear error, and look at what it opened."""
    with opened_files() as paths:
        try:
            dataset = opened(source)
        except UserError as error:
            assert str(error).strip() and len(str(error)) < 2000
            dataset = None
    for path in paths:
        real = os.path.realpath(path)
        is_near = real.startswith(str(folder.parent))
        assert not is_near or real.startswith(str(folder)), path
        assert real != '/etc/passwd'
    if dataset is None:
        return
    for row in range(len(dataset)):
        example = dataset[row]
        lengths = {len(example[key]) for key in PARTS}
        assert len(lengths) == 1
        if 'masks' in dataset.info.holds:
            assert example['masks'].shape == (*lengths, *example['semantic'].shape)
            assert example['semantic'].shape == (30, 40)
        assert np.isfinite(example['boxes']).all()
        assert (example['boxes'][:, 2:] > example['boxes'][:, :2]).all()


NAMES = st.sampled_from(
    [
        '../secret.png',
        '/etc/passwd',
        '..',
        '.',
        '',
        'a.png',
        './a.png',
        'b/../../secret.png',
        '..\\secret.png',
        'C:\\secret.png',
        'nul\0.png',
        '\ud800.png',
        'x' * 5000,
        '~/x.png',
        '//etc/passwd',
        '\n',
    ]
)
NUMBERS = st.sampled_from(
    [
        0,
        -1,
        1,
        2,
        3.5,
        40,
        30,
        1e308,
        -1e308,
        10**30,
        10**400,
        float('nan'),
        float('inf'),
    ]
)
SCALARS = (
    st.none() | st.booleans() | NUMBERS | NAMES | st.text(max_size=5) | st.integers()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


# Values that replace a part of a valid file.
HOSTILE = VALUES | st.just(deep(100))


def paths_in(value, prefix=()):
    """The places of all parts of a JSON value."""
    yield prefix
    items = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield from paths_in(inner, (*prefix, key))


def replaced(value, place, new):
    """A copy of a JSON value with one part replaced."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


def mutate_json(data, value):
    """Replace up to three parts of a value."""
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(paths_in(value))
        place = data.draw(st.sampled_from(places))
        value = replaced(value, place, data.draw(HOSTILE))
    return value


def mutate_bytes(data, content):
    """Cut a file, or overwrite a part of it."""
    start = data.draw(st.integers(0, len(content)))
    if data.draw(st.booleans()):
        return content[:start]
    return content[:start] + data.draw(st.binary(max_size=8)) + content[start + 3 :]


def write_mutated_json(data, path):
    text = path.read_bytes()
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(mutate_bytes(data, text))
    else:
        path.write_text(json.dumps(mutate_json(data, json.loads(text))))


@LIMITS
@given(data=st.data())
def test_coco(secret, data):
    write_image(secret / 'a.png')
    polygon = {'segmentation': [[1, 2, 4, 2, 4, 6]]}
    runs = {'size': [30, 40], 'counts': [100, 50, 1050]}
    text = {'size': [30, 40], 'counts': 'T3b1jP1'}
    objects = [
        (1, 1, BOX, polygon),
        (1, 2, BOX, {'iscrowd': 1, 'area': 2.5, 'segmentation': runs}),
        (1, 2, BOX, {'segmentation': text}),
    ]
    path = write_coco(secret / 'c.json', [(1, 'a.png', 40, 30)], objects)
    write_mutated_json(data, path)
    check(f'coco:{path}', secret)


@LIMITS
@given(data=st.data())
def test_labelme(secret, data):
    write_image(secret / 'a.png')
    fields = {
        'shapes': [
            {'label': 'a', 'points': [[1, 2], [3, 4]], 'shape_type': 'rectangle'},
            {'label': 'a', 'points': [[1, 2], [3, 4], [1, 9]]},
        ],
        'imagePath': 'a.png',
        'imageHeight': 30,
        'imageWidth': 40,
    }
    path = secret / 'a.json'
    path.write_text(json.dumps(fields))
    write_mutated_json(data, path)
    check(f'boxes:{secret}', secret)


@LIMITS
@given(data=st.data())
def test_voc(secret, data):
    path = write_voc(secret, 'a', [('cat', 1, 2, 3, 4), ('dog', 5, 6, 7, 8)])
    content = path.read_text()
    words = (
        'cat',
        '>3<',
        '>40<',
        '<name>',
        'annotation',
        '<object>',
        '>30<',
        '/etc/passwd',
    )
    for _ in range(data.draw(st.integers(0, 3))):
        new = data.draw(NAMES | st.text(max_size=6) | NUMBERS.map(str))
        new = data.draw(
            st.sampled_from([new, f'>{new}<', '<a>' * 20000, '&#0;', '&b;'])
        )
        content = content.replace(data.draw(st.sampled_from(words)), new)
    entity = '<!DOCTYPE a [<!ENTITY b SYSTEM "../secret.txt">]>'
    content = data.draw(st.sampled_from(['', entity])) + content
    encoded = content.encode(errors='replace')
    path.write_bytes(data.draw(st.sampled_from([encoded, mutate_bytes(data, encoded)])))
    names = secret / 'ImageSets' / 'Main' / 'train.txt'
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_bytes(data.draw(NAMES | st.just('a')).encode(errors='replace') + b'\na')
    check(f'voc:{secret}', secret)


@LIMITS
@given(data=st.data())
def test_yolo(secret, data):
    write_yolo(secret, 'train', {'a': '0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5'})
    labels = secret / 'labels' / 'train' / 'a.txt'
    if data.draw(st.booleans()):
        labels.write_bytes(mutate_bytes(data, labels.read_bytes()))
    fields = {
        'path': '.',
        'train': 'images/train',
        'val': ['images/train'],
        'names': {'0': 'a', '1': 'b'},
    }
    path = secret / 'data.yaml'
    # JSON is YAML, with every escape.
    path.write_text(json.dumps(fields))
    write_mutated_json(data, path)
    check(f'yolo:{path}', secret)


@LIMITS
@given(data=st.data())
def test_a_list_of_images(secret, data):
    write_yolo(secret, 'train', {'a': '0 0.5 0.5 0.5 0.5'})
    lines = data.draw(st.lists(NAMES | st.just('images/train/a.png'), max_size=3))
    (secret / 'train.txt').write_bytes('\n'.join(lines).encode(errors='replace'))
    path = secret / 'data.yaml'
    path.write_text('{train: train.txt, names: [a]}')
    check(f'yolo:{path}', secret)


@LIMITS
@given(data=st.data())
def test_csv(secret, data):
    write_image(secret / 'a.png')
    header = [
        'file',
        'class',
        'xmin',
        'ymin',
        'xmax',
        'ymax',
        'split',
        'width',
        'height',
    ]
    rows = [header, ['a.png', 'cat', '1', '2', '3', '4', 'train', '40', '30']]
    for _ in range(data.draw(st.integers(0, 3))):
        row = data.draw(st.sampled_from([0, 1, 1, 1]))
        column = data.draw(st.integers(0, len(header) - 1))
        rows[row] = list(rows[row])
        rows[row][column] = data.draw(NAMES | NUMBERS.map(str) | st.text(max_size=6))
    content = '\n'.join(map(','.join, rows)).encode(errors='replace')
    path = secret / 'b.csv'
    path.write_bytes(data.draw(st.sampled_from([content, mutate_bytes(data, content)])))
    check(f'boxes:{path}', secret)


def test_the_watch_sees_what_is_opened(secret):
    write_image(secret / 'a.png')
    with opened_files() as paths:
        (secret / 'a.png').read_bytes()
        with builtins.open(secret.parent / 'secret.txt'), contextlib.suppress(OSError):
            io.FileIO('/none')
    names = [Path(path).name for path in paths]
    assert 'a.png' in names and 'secret.txt' in names
