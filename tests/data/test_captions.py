import json

import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import decode, sources
from jaxvision.data.protocol import labels_of


def opened(place, **fields):
    data = data_config(source=f'captions:{place}', **fields)
    return [sources.open_source(data, split) for split in ('train', 'test')]


def write(path, numbers, images=None, **changed):
    """COCO's file of these images, each an even grey of its number, with one caption or two."""
    folder = path.parent if images is None else images
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new('RGB', (6 + number % 3, 5), (number,) * 3).save(
            folder / f'{number}.png'
        )
    parsed = {
        'info': {},
        'licenses': [],
        'images': [
            {'id': 100 + n, 'file_name': f'{n}.png', 'height': 5} for n in numbers
        ],
        # COCO's captions are in no order.
        'annotations': [
            {'id': i, 'image_id': 100 + n, 'caption': f'Caption {i} of {n}.'}
            for i in (0, 1)
            for n in reversed(numbers)
            if i <= n % 2
        ],
    }
    path.write_text(json.dumps(parsed | changed))
    return path


def write_named(path, name):
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps(
            {
                'images': [{'id': 1, 'file_name': name}],
                'annotations': [{'image_id': 1, 'caption': 'a'}],
            }
        )
    )
    return path


def number(example):
    return int(decode.decode(example['image'], 3)[0, 0, 0])


def test_a_fifth_of_the_images_of_one_file_is_held_out(tmp_path):
    place = write(tmp_path / 'mine.json', range(20))
    train, test = opened(place)
    assert (len(train), len(test)) == (16, 4)
    assert test.info.split == 'train, held out 20 %'
    assert train.info.holds == ('image', 'captions') and train.info.class_names == ()
    examples = [
        example
        for source in (train, test)
        for example in source.read(range(len(source)))
    ]
    assert sorted(map(number, examples)) == list(range(20))
    for example in examples:
        n = number(example)
        assert example['captions'] == [f'Caption {i} of {n}.' for i in range(1 + n % 2)]
    assert train.where(3).endswith(f'/{number(train[3])}.png')
    again = opened(place)
    assert [source.info for source in again] == [train.info, test.info]
    assert [number(again[1][row]) for row in range(4)] == [0, 5, 8, 12]


def test_two_files_are_the_splits_with_the_folders_of_coco(tmp_path):
    for name, numbers in (('train2017', range(7)), ('val2017', range(7, 10))):
        write(
            tmp_path / 'annotations' / f'captions_{name}.json', numbers, tmp_path / name
        )
    train, test = opened(tmp_path / 'annotations')
    assert [number(example) for example in train.read(range(7))] == list(range(7))
    assert [number(example) for example in test.read(range(3))] == [7, 8, 9]
    assert test.info.split == 'val'
    alone, _ = opened(tmp_path / 'annotations' / 'captions_train2017.json')
    assert len(alone) == 6
    with pytest.raises(UserError, match="no split 'test'; it has train, val"):
        opened(tmp_path / 'annotations', test_split='test')


def test_an_image_in_both_files_is_an_error(tmp_path):
    write(tmp_path / 'captions_train.json', range(7))
    write(tmp_path / 'captions_val.json', range(6, 9))
    with pytest.raises(UserError, match='share examples'):
        opened(tmp_path)


def test_the_images_folder_by_name(tmp_path):
    place = write(tmp_path / 'a, b' / 'c.json', range(10), tmp_path / 'images')
    assert len(opened(place, images=f'{tmp_path}/images')[0]) == 8
    with pytest.raises(
        UserError,
        match=r"10 of 10 images are not in .*a, b, such as '0.png'. "
        'Name their folder as data.images=DIR',
    ):
        opened(place)
    with pytest.raises(UserError, match='nowhere: there is no such folder'):
        opened(place, images=f'{tmp_path}/nowhere')


@pytest.mark.parametrize('source', ['folder:x', 'videos:x', 'digits', 'mnist'])
def test_an_images_folder_is_refused_where_no_annotation_file_needs_it(source):
    with pytest.raises(UserError, match='data.images=x: expected a source that uses'):
        sources.Parts(data_config(source=source, images='x'))


def test_images_without_captions_are_left_out_and_counted(tmp_path):
    annotations = [
        {'image_id': 100 + n, 'caption': 'a' if n < 7 else ' '} for n in range(8)
    ]
    write(tmp_path / 'c.json', range(10), annotations=annotations)
    train, test = opened(tmp_path / 'c.json')
    assert len(train) + len(test) == 7
    note = 'c.json: 3 of 10 images have no caption and are left out'
    assert train.info.notes == test.info.notes == (note,)


def test_there_are_no_labels_to_ask_for(tmp_path):
    place = write(tmp_path / 'c.json', range(10))
    train, _ = opened(place)
    assert not train.info.has_labels
    for ask in (
        lambda: opened(place, per_class=2),
        lambda: labels_of(train, 'this'),
        lambda: opened(place)[1].info.check_holds('label'),
    ):
        with pytest.raises(UserError, match='label'):
            ask()


@pytest.mark.parametrize(
    'name',
    ['../secret.png', '/etc/passwd', 'a/../../secret.png', '..', 'a\\..\\secret.png'],
)
def test_a_file_name_cannot_leave_the_folder(tmp_path, name):
    Image.new('RGB', (4, 4)).save(tmp_path / 'secret.png')
    place = write_named(tmp_path / 'in' / 'c.json', name)
    with pytest.raises(UserError, match='does not lie in its folder'):
        opened(place)


@pytest.mark.parametrize(
    'name', ['nowhere.png', 'folder', 'nul\0.png', '\ud800.png', '', '.', 'x' * 300]
)
def test_a_file_name_of_no_file(tmp_path, name):
    (tmp_path / 'folder').mkdir()
    with pytest.raises(UserError, match='1 of 1 images are not in'):
        opened(write_named(tmp_path / 'c.json', name))


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'is no JSON'),
        ('{"images": [', 'is no JSON'),
        ('[' * 10**5, 'is no JSON'),
        ('[]', 'expected the lists `images` and `annotations`'),
        (
            '{"images": [], "annotations": {}}',
            'expected the lists .* and one is missing',
        ),
        (
            '{"images": [1], "annotations": []}',
            'one of its images has no id or no file_name: 1',
        ),
        ('{"images": [{"id": [], "file_name": "a"}], "annotations": []}', 'no id'),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}],'
            ' "annotations": []}',
            'two images have the id 1',
        ),
        (
            '{"images": [], "annotations": [{"image_id": 7, "caption": "a"}]}',
            "the caption 'a' is of the image 7",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}],'
            ' "annotations": [{"image_id": 1, "bbox": []}]}',
            'one of its annotations has no image_id or no caption',
        ),
        ('{"images": [], "annotations": []}', 'no image has a caption'),
    ],
)
def test_files_of_another_form(tmp_path, text, message):
    (tmp_path / 'c.json').write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path / 'c.json')


@pytest.mark.parametrize(
    'names, message',
    [
        ([], r'needs one captions_train\*.json, and has none'),
        (['train'], r'needs one captions_val\*.json, and has none'),
        (
            ['train2014', 'train2017', 'val2017'],
            'captions_train2014.json, captions_train2017.json',
        ),
    ],
)
def test_a_folder_without_two_files(tmp_path, names, message):
    for name in names:
        write(tmp_path / f'captions_{name}.json', range(2))
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match='there is no such file or folder'):
        opened(tmp_path / 'c.json')


def test_a_folder_may_have_a_test_split_too(tmp_path):
    for split, rows in (
        ('train', range(4)),
        ('val', range(4, 6)),
        ('test', range(6, 9)),
    ):
        write(tmp_path / f'captions_{split}.json', rows)
    data = data_config(source=f'captions:{tmp_path}')
    parts = sources.Parts(data)
    assert parts.has_validation
    names = ('train', 'validation', 'test')
    assert [len(parts.open(name)) for name in names] == [4, 2, 3]


def test_links_to_one_image_in_two_splits_are_refused(tmp_path):
    write(tmp_path / 'captions_train.json', range(4))
    write(tmp_path / 'captions_val.json', range(4, 6))
    (tmp_path / '4.png').unlink()
    (tmp_path / '4.png').symlink_to('0.png')
    with pytest.raises(UserError, match='share examples'):
        opened(tmp_path)
