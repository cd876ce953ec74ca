"""One registry opens every dataset; the schemes and names are not repeated elsewhere."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import embedded, sources
from jaxvision.data.captions import CaptionedImages
from jaxvision.data.composed import Composed
from jaxvision.data.digit_pairs import DigitPairs
from jaxvision.data.folder import Folder
from jaxvision.data.protocol import Dataset
from jaxvision.data.tfds_source import TfdsDataset
from jaxvision.data.video_folder import VideoFolder


def configurations(name):
    module = importlib.import_module(f'jaxvision.data.{name}')
    return [f'{name}/{configuration}' for configuration in module.CONFIGURATIONS]


@pytest.mark.parametrize(
    'source, kind',
    [
        ('digits', TfdsDataset),
        ('digit_pairs', DigitPairs),
        *((source, Composed) for source in configurations('digit_scenes')),
        *((source, Composed) for source in configurations('moving_digits')),
    ],
)
def test_a_name_opens_its_dataset(source, kind):
    dataset = sources.find_dataset(source)
    assert isinstance(dataset, kind) and isinstance(dataset, Dataset)
    assert {'train', 'test'} <= set(dataset.splits)


def test_the_embedded_datasets_are_those_that_can_be_built():
    names = [
        name
        for name, opener in sources.NAMES.items()
        if opener is sources._open_embedded
    ]
    assert names == list(embedded.BUILDERS)


@pytest.mark.parametrize(
    'scheme, kind',
    [('folder', Folder), ('videos', VideoFolder), ('captions', CaptionedImages)],
)
def test_a_scheme_opens_a_path(scheme, kind, monkeypatch):
    paths = []

    def init(self, path, *_):
        paths.append(str(path))
        self.splits = ('train',)

    monkeypatch.setattr(kind, '__init__', init)
    assert isinstance(sources.find_dataset(f'{scheme}:/my:data'), kind)
    assert paths == ['/my:data']


def test_every_scheme_and_name_is_covered_above():
    # Those of boxes and masks have tests of their own, in test_boxes_*.py and test_masks_*.py.
    others = {'boxes', 'coco', 'voc', 'yolo', 'masks', 'cityscapes'}
    assert set(sources.SCHEMES) == {'folder', 'videos', 'captions', *others}
    assert set(sources.NAMES) - set(embedded.BUILDERS) == {
        'digit_pairs',
        'digit_scenes',
        'moving_digits',
    }


@pytest.mark.parametrize('name', ['digit_scenes', 'moving_digits'])
def test_a_configuration_has_to_be_one_that_there_is(name):
    known = ', '.join(configurations(name))
    with pytest.raises(UserError, match=f'several configurations; name one: {known}$'):
        sources.find_dataset(name)
    with pytest.raises(UserError, match=f"'{name}/x' is no .*; there are {known}$"):
        sources.find_dataset(f'{name}/x')


def test_a_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(
        UserError, match=f'folder:{tmp_path}/x: there is no such folder'
    ):
        sources.find_dataset('folder:~/x')
    assert Path('~/x').expanduser() == tmp_path / 'x'


def split_sizes(**fields):
    """The number of examples of each split of `digits`, which has 1,438 and 359."""
    data = data_config(source='digits', **fields)
    names = ['train', 'test', *(['validation'] if sources.has_validation(data) else [])]
    return {name: len(sources.open_source(data, name)) for name in names}


def test_by_default_a_test_split_leaves_no_validation():
    assert split_sizes() == {'train': 1438, 'test': 359}
    with pytest.raises(UserError, match='no validation split. Set data.validation=10%'):
        sources.open_source(data_config(source='digits'), 'validation')


def test_a_part_of_training_is_held_out_of_each_class():
    data = data_config(source='digits', validation='10%')
    kept, held = (sources.open_source(data, name) for name in ('train', 'validation'))
    whole = sources.open_source(data_config(source='digits'), 'train')
    assert len(kept) + len(held) == len(whole) == 1438
    counts = np.bincount(whole.labels())
    np.testing.assert_array_equal(np.bincount(held.labels()), np.round(counts / 10))
    images = [
        source.batch(range(len(source)))['image'] for source in (kept, held, whole)
    ]
    together = sorted(image.tobytes() for image in np.concatenate(images[:2]))
    assert together == sorted(image.tobytes() for image in images[2])


def test_validation_is_held_out_before_few_per_class():
    all_rows = data_config(source='digits', validation='10%')
    few = data_config(source='digits', validation='10%', per_class=5)
    held = sources.open_source(all_rows, 'validation')
    same = sources.open_source(few, 'validation')
    assert same.info.fingerprint == held.info.fingerprint
    assert len(sources.open_source(few, 'train')) == 50


def test_without_a_test_split_both_are_held_out_of_training(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new('L', (2, 2), number).save(tmp_path / name / f'{number}.png')
    data = data_config(source=f'folder:{tmp_path}', validation='25%')
    opened = {
        name: sources.open_source(data, name)
        for name in ('train', 'validation', 'test')
    }
    assert {name: len(source) for name, source in opened.items()} == {
        'train': 24,
        'validation': 8,
        'test': 8,
    }
    files = [
        source.where(row) for source in opened.values() for row in range(len(source))
    ]
    assert len(set(files)) == 40


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'validation': '0%'}, 'data.validation=0%: expected more than 0%'),
        ({'validation': '100%'}, 'less than 100%'),
        ({'validation': '0.01%'}, 'no example would be held out'),
        ({'validation': 'dev'}, "no split 'dev'"),
        (
            {'validation': '5'},
            "data.validation=5: expected a part of training, such as '10%'",
        ),
        ({'validation': '0.1'}, "Write it with a '%'"),
        (
            {'validation': 'test'},
            "data.validation='test' and data.test_split='test' share",
        ),
    ],
)
def test_a_wrong_validation_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        sources.open_source(data_config(source='digits', **fields), 'train')


def test_digit_pairs_bring_their_own_validation():
    data = data_config(source='digit_pairs')
    assert sources.has_validation(data)
    assert sources.open_source(data, 'validation').info.split == 'validation'
    assert not sources.has_validation(
        data_config(source='digit_pairs', validation='none')
    )


@pytest.mark.parametrize('scheme', sources.SCHEMES)
@pytest.mark.parametrize('place', ['', ' '])
def test_a_scheme_needs_a_path(scheme, place):
    """Otherwise the current folder would be the dataset."""
    with pytest.raises(UserError, match=f'expected {scheme}:PATH'):
        sources.find_dataset(f'{scheme}:{place}')


def test_a_path_alone_is_told_its_scheme(tmp_path):
    with pytest.raises(UserError, match=f'set data.source=folder:{tmp_path}'):
        sources.find_dataset(str(tmp_path))


def test_parts_list_a_dataset_once_and_hash_only_what_is_opened(tmp_path, monkeypatch):
    for number in range(12):
        split = ('train', 'val', 'test')[number % 3]
        path = tmp_path / split / 'ab'[number % 2] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (2, 2), (number, 0, 0)).save(path)
    listed = []
    init = Folder.__init__
    monkeypatch.setattr(
        Folder, '__init__', lambda *args: listed.append(args) or init(*args)
    )
    hashed = []

    def identify(paths):
        hashed.append(len(paths))
        return [''] * len(paths)

    parts = sources.Parts(data_config(source=f'folder:{tmp_path}'), identify)
    assert parts.has_validation and not hashed
    assert {split: len(parts.open(split)) for split in ('train', 'validation')} == {
        'train': 4,
        'validation': 4,
    }
    assert len(listed) == 1 and hashed == [4, 4]
