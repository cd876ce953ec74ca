"""Open a dataset by the string that names it in a config, and choose its splits."""

import functools
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.data import content
from jaxvision.data.composed import Composed
from jaxvision.data.protocol import Dataset, Identify, Source, labels_of
from jaxvision.data.wrappers import (
    Subset,
    decoded,
    few_per_class,
    held_out,
    in_memory_if_small,
)


def open_source(
    data: Config, split: Literal['train', 'test'], identify: Identify | None = None
) -> Source:
    """Open the split of `data.source` that trains, or the one that is evaluated.

    'test' is `data.test_split`. Without it, 'test' is the first of the dataset's splits 'test',
    'validation' and 'val' that has examples and labels. Without these, it is a fixed 20 % held
    out of training, of each class if there are labels.

    Images of one size are decoded, and small datasets stay in memory. Composed datasets compose
    an example at each reading.

    Args:
        data: the config's `data`: source, dir, train_split, test_split, per_class. `per_class`
            limits training to that many examples of each class.
        split: 'train' or 'test'.
        identify: tells the content of files; None: by `data.hash_limit`.

    Raises:
        UserError: The dataset, the split or its labels are missing.
    """
    identify = identify or functools.partial(
        content.identify, limit=1e9 * data.hash_limit
    )
    dataset = find_dataset(data.source, data.dir, identify)
    source = _open_split(dataset, data, split)
    info = source.info
    if not len(source):
        raise UserError(f'{info.name}: its split {info.split!r} has no examples')
    if data.per_class and split == 'train':
        labels = labels_of(source, f'data.per_class={data.per_class}')
        rows = few_per_class(labels, data.per_class, info.class_names)
        source = Subset(source, rows, f'{info.split}, {data.per_class} per class')
    is_one_size = 'image' in info.holds and None not in info.image_shape
    if not is_one_size or isinstance(dataset, Composed):
        return source
    return in_memory_if_small(decoded(source), math.prod(info.image_shape))


# How to open the datasets of `data.source`. Each opener imports libraries that others do not need.


def _open_folder(place: str, identify: Identify) -> Dataset:
    from jaxvision.data.folder import Folder

    return Folder(Path(place).expanduser(), identify)


def _open_videos(place: str, identify: Identify) -> Dataset:
    from jaxvision.data.video_folder import VideoFolder

    return VideoFolder(Path(place).expanduser(), identify)


def _open_captions(place: str, identify: Identify) -> Dataset:
    from jaxvision.data.captions import CaptionedImages

    return CaptionedImages(place, identify)


def _open_embedded(name: str, configuration: str, data_dir: str) -> Dataset:
    from jaxvision.data import embedded, tfds_source

    _check_no_configuration(name, configuration)
    return tfds_source.TfdsDataset(embedded.prepare(name, data_dir))


def _open_digit_pairs(name: str, configuration: str, data_dir: str) -> Dataset:
    from jaxvision.data.digit_pairs import DigitPairs

    _check_no_configuration(name, configuration)
    return DigitPairs(data_dir)


def _open_composed(name: str, configuration: str, data_dir: str) -> Composed:
    module = importlib.import_module(f'jaxvision.data.{name}')
    sources = ', '.join(f'{name}/{known}' for known in module.CONFIGURATIONS)
    if not configuration:
        raise UserError(f'{name} has several configurations; name one: {sources}')
    if configuration not in module.CONFIGURATIONS:
        raise UserError(
            f'data.source={f"{name}/{configuration}"!r} is no configuration of {name}; '
            f'there are {sources}'
        )
    return module.make(configuration, data_dir)


def _check_no_configuration(name: str, configuration: str) -> None:
    if configuration:
        raise UserError(
            f'data.source={f"{name}/{configuration}"!r}: {name} has no configurations. '
            f'Write {name!r}'
        )


# The user's own data, as SCHEME:PLACE.
SCHEMES: dict[str, Callable[[str, Identify], Dataset]] = {
    'folder': _open_folder,
    'videos': _open_videos,
    'captions': _open_captions,
}

# Datasets that come with installed packages, as NAME or NAME/CONFIGURATION.
NAMES: dict[str, Callable[[str, str, str], Dataset]] = {
    'digits': _open_embedded,
    'mnist5k': _open_embedded,
    'photos': _open_embedded,
    'digit_pairs': _open_digit_pairs,
    'digit_scenes': _open_composed,
    'moving_digits': _open_composed,
}


def find_dataset(
    source: str, data_dir: str = '', identify: Identify = content.identify
) -> Dataset:
    """Find a dataset by the string that names it.

    Args:
        source: SCHEME:PLACE with a scheme of `SCHEMES`, a name of `NAMES`, or a dataset of TFDS as
            NAME[/CONFIG][:VERSION].
        data_dir: the folder of datasets, '' for the default one.
        identify: tells the content of files.

    Raises:
        UserError: There is no such dataset, or it cannot be read.
    """
    scheme, colon, place = source.partition(':')
    if colon and scheme in SCHEMES:
        return SCHEMES[scheme](place, identify)
    name, _, configuration = source.partition('/')
    if name in NAMES:
        return NAMES[name](name, configuration, data_dir)

    from jaxvision.data import tfds_source

    others = [*NAMES, *(f'{scheme}:PATH' for scheme in SCHEMES)]
    folder = tfds_source.find(source, data_dir, others)
    return tfds_source.TfdsDataset(folder, identify)


def _open_split(dataset: Dataset, data: Any, split: str) -> Source:
    train = data.train_split or 'train'
    test = data.test_split or _test_split(dataset, train)
    if test:
        if dataset.overlap(train, test):
            raise UserError(
                f'{data.source}: {test!r} is evaluated, but {train!r} trains on some '
                'of the same examples; set data.train_split and data.test_split to '
                'parts of their own'
            )
        return dataset.open(train if split == 'train' else test)
    source = dataset.open(train)
    if source.info.has_labels:
        kept, held = held_out(labels_of(source, 'a stratified split'))
    else:
        kept, held = held_out(np.zeros(len(source), np.int32))
    if split == 'train':
        return Subset(source, kept, f'{train}, 80 %')
    return Subset(source, held, f'{train}, held out 20 %')


def _test_split(dataset: Dataset, train: str) -> str:
    """The split to evaluate, '' if there is none besides the training split."""
    for name in ('test', 'validation', 'val'):
        if (
            name in dataset.splits
            and name != train
            and _has_answers(dataset.open(name))
        ):
            return name
    return ''


def _has_answers(source: Source) -> bool:
    """Whether the labels are known. TFDS writes -1 for those of a secret test split."""
    if not len(source):
        return False
    return not source.info.has_labels or bool(np.min(source[0]['label']) >= 0)
