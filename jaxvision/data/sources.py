"""Opens a data set by the string that names it in a config, and chooses its splits."""

import importlib
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data.composed import Composed
from jaxvision.data.protocol import Dataset, Labels, Source, SourceInfo
from jaxvision.data.wrappers import (
    Decoded,
    InMemory,
    Subset,
    few_per_class,
    held_out,
    in_memory_if_small,
)

__all__ = ['InMemory', 'Source', 'SourceInfo', 'Subset', 'open_source']

_COMPOSED = ('digit_scenes', 'moving_digits')


def open_source(data: Any, split: Literal['train', 'test']) -> Source:
    """The training split of `data.source`, or the split that is evaluated.

    'test' is `data.test_split`, else the data set's own labelled 'test', else its 'validation',
    else a fixed 20 % held out of training, of each class where there are labels.
    `data.per_class` takes that many training examples of each class. Images of one size come
    decoded, and small ones stay in memory; what is composed is composed at each reading.

    Args:
        data: the config's `data`: source, dir, train_split, test_split, per_class.
        split: 'train' or 'test'.
    Raises:
        UserError: the data set, the split or its labels are not there.
    """
    dataset = _find(data)
    source = _open_split(dataset, data, split)
    if not len(source):
        raise UserError(
            f'{source.info.name}: its split {source.info.split!r} has no examples'
        )
    if data.per_class and split == 'train':
        rows = few_per_class(_labels(source), data.per_class, source.info.class_names)
        source = Subset(
            source, rows, f'{source.info.split}, {data.per_class} per class'
        )
    shape = source.info.image_shape
    if (
        None in shape
        or 'image' not in source.info.holds
        or isinstance(dataset, Composed)
    ):
        return source
    return in_memory_if_small(Decoded(source), math.prod(shape))


def _find(data: Any) -> Dataset:
    # Each of these imports a library that the others do not need.
    kind, _, place = data.source.partition(':')
    if kind == 'folder':
        from jaxvision.data.folder import Folder

        return Folder(Path(place).expanduser())
    if kind == 'videos':
        from jaxvision.data.video_folder import Films

        return Films(Path(place).expanduser())
    if kind == 'captions':
        from jaxvision.data.captions import Captioned

        return Captioned(place)
    if data.source == 'digit_pairs':
        from jaxvision.data.digit_pairs import DigitPairs

        return DigitPairs(data.dir)
    from jaxvision.data import embedded, tfds_source

    if data.source.partition('/')[0] in _COMPOSED:
        return _composed(data)
    if data.source in embedded.BUILDERS:
        return tfds_source.Catalogue(embedded.prepare(data.source, data.dir))
    return tfds_source.Catalogue(tfds_source.find(data.source, data.dir))


def _composed(data: Any) -> Composed:
    name, _, configuration = data.source.partition('/')
    module = importlib.import_module(f'jaxvision.data.{name}')
    there = ', '.join(f'{name}/{one}' for one in module.CONFIGURATIONS)
    if not configuration:
        raise UserError(f'{name} has several configurations; name one: {there}')
    if configuration not in module.CONFIGURATIONS:
        raise UserError(
            f'data.source={data.source!r} is no configuration of {name}; there are '
            f'{there}'
        )
    return module.make(configuration, data.dir)


def _open_split(dataset: Dataset, data: Any, split: str) -> Source:
    train = data.train_split or 'train'
    test = data.test_split or _evaluated(dataset, but=train)
    if test:
        if dataset.overlap(train, test):
            raise UserError(
                f'{data.source}: {test!r} is evaluated, but {train!r} trains on some '
                'of the same examples; set data.train_split and data.test_split to '
                'parts of their own'
            )
        return dataset.open(train if split == 'train' else test)
    source = dataset.open(train)
    labelled = 'label' in source.info.holds
    kept, held = held_out(
        source.labels() if labelled else np.zeros(len(source), np.int32)
    )
    if split == 'train':
        return Subset(source, kept, f'{train}, 80 %')
    return Subset(source, held, f'{train}, held out 20 %')


def _evaluated(dataset: Dataset, but: str) -> str:
    for name in ('test', 'validation', 'val'):
        if name in dataset.splits and name != but and _answered(dataset.open(name)):
            return name
    return ''


def _answered(source: Source) -> bool:
    # TFDS writes -1 for the labels of a test split whose answers are kept secret.
    return len(source) > 0 and (
        'label' not in source.info.holds or bool(np.min(source[0]['label']) >= 0)
    )


def _labels(source: Source) -> Labels:
    if 'label' not in source.info.holds:
        raise UserError(
            f'{source.info.name} has no label, by which to take some of each class '
            '(data.per_class)'
        )
    return source.labels()
