"""One registry opens every dataset; the schemes and names are not repeated elsewhere."""

import importlib
from pathlib import Path

import pytest

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

    def init(self, path, identify):
        paths.append(str(path))
        self.splits = ('train',)

    monkeypatch.setattr(kind, '__init__', init)
    assert isinstance(sources.find_dataset(f'{scheme}:/my:data'), kind)
    assert paths == ['/my:data']


def test_every_scheme_and_name_is_covered_above():
    assert set(sources.SCHEMES) == {'folder', 'videos', 'captions'}
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
