"""Opens a data set by the string that names it in a config, and chooses its splits."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data.protocol import Dataset, Source, SourceInfo
from jaxvision.data.views import Decoded, InMemory, Subset, few_per_class, held_out
from jaxvision.errors import UserError

__all__ = ['InMemory', 'Source', 'SourceInfo', 'Subset', 'open_source']

_LARGEST_IN_MEMORY = 2**30  # bytes of decoded images


def open_source(data: Any, split: Literal['train', 'test']) -> Source:
    """The training split of `data.source`, or the split that is evaluated.

    'test' is `data.test_split`, else the data set's own labelled 'test', else its 'validation',
    else a fixed, stratified 20 % held out of training. `data.per_class` takes that many training
    examples of each class. Images of one size come decoded, and small ones stay in memory.

    Args:
        data: the config's `data`: source, dir, train_split, test_split, per_class.
        split: 'train' or 'test'.
    Raises:
        UserError: the data set, the split or its labels are not there.
    """
    source = _open_split(_find(data), data, split)
    if not len(source):
        raise UserError(f'{source.info.name}: its split {source.info.split!r} has no examples')
    if data.per_class and split == 'train':
        rows = few_per_class(source.labels(), data.per_class, source.info.class_names)
        source = Subset(source, rows, f'{source.info.split}, {data.per_class} per class')
    shape = source.info.image_shape
    if None in shape:
        return source
    source = Decoded(source)
    return InMemory(source) if len(source) * np.prod(shape) <= _LARGEST_IN_MEMORY else source


def _find(data: Any) -> Dataset:
    # Each of these imports a library that the others do not need.
    kind, _, place = data.source.partition(':')
    if kind == 'folder':
        from jaxvision.data.folder import Folder
        return Folder(Path(place).expanduser())
    from jaxvision.data import catalogue, embedded
    if data.source in embedded.BUILDERS:
        return catalogue.Catalogue(embedded.prepare(data.source, data.dir))
    return catalogue.Catalogue(catalogue.find(data.source, data.dir))


def _open_split(dataset: Dataset, data: Any, split: str) -> Source:
    train = data.train_split or 'train'
    test = data.test_split or _evaluated(dataset, but=train)
    if test:
        if dataset.overlap(train, test):
            raise UserError(f'{data.source}: {test!r} is evaluated, but {train!r} trains on some '
                            'of the same examples; set data.train_split and data.test_split to '
                            'parts of their own')
        return dataset.open(train if split == 'train' else test)
    source = dataset.open(train)
    kept, held = held_out(source.labels())
    if split == 'train':
        return Subset(source, kept, f'{train}, 80 %')
    return Subset(source, held, f'{train}, held out 20 %')


def _evaluated(dataset: Dataset, but: str) -> str:
    for name in ('test', 'validation', 'val'):
        if name in dataset.splits and name != but and _labelled(dataset.open(name)):
            return name
    return ''


def _labelled(source: Source) -> bool:
    # TFDS writes -1 for the labels of a test split whose answers are kept secret.
    return len(source) > 0 and bool(np.min(source[0]['label']) >= 0)
