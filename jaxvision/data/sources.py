"""Open a dataset by the string that names it in a config, and choose its splits."""

import dataclasses
import functools
import importlib
import itertools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import Split
from jaxvision.data import content, windows
from jaxvision.data.composed import Composed
from jaxvision.data.protocol import (
    Dataset,
    Identify,
    Labels,
    Source,
    groups_of,
    labels_of,
)
from jaxvision.data.wrappers import (
    Subset,
    decoded,
    few_per_class,
    held_out,
    in_memory_if_small,
)


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which parts of a dataset train, select and test.

    Attributes:
        train: name of the split that trains.
        validation: name of the split that selects, '' if there is none.
        test: name of the test split; '' if a fixed fifth is held out of training.
        fraction: of the training examples that are held out for validation.
    """

    train: str
    validation: str
    test: str
    fraction: float = 0.0


class Parts:
    """The parts of `data.source` that train, select and test. The dataset is listed once."""

    def __init__(self, data: Config, identify: Identify | None = None):
        """Find the dataset and choose its parts.

        Args:
            data: the config's `data`: source, dir, images, window, train_split, validation,
                test_split, per_class, hash_limit. `per_class` limits training to that many examples
                of each class; 0: all.
            identify: called with paths; gives a text for each that identifies its
                content. None: digests, or sizes and times if the files have more than
                `data.hash_limit` GB.

        Raises:
            UserError: The dataset or a split is missing, or two parts overlap.
        """
        limit = 1e9 * data.hash_limit
        identify = identify or functools.partial(content.identify, limit=limit)
        self._data = data
        dataset = find_dataset(data.source, data.dir, identify, data.images)
        self._dataset = windows.windowed(dataset, data)
        self._choice = _choose(self._dataset, data)

    @property
    def has_validation(self) -> bool:
        """Whether there are validation examples: a split, or a part of training."""
        return bool(self._choice.validation or self._choice.fraction)

    def open(self, split: Split) -> Source:
        """Open the part that trains, selects or tests.

        Training has `data.per_class` examples of each class, the same random ones in
        every run, or all if it is 0.

        Images of one size are decoded, and kept in memory if they take at most 1 GiB,
        unless the dataset composes them.

        Raises:
            UserError: The part or its labels are missing, it has no examples, or a
                class has fewer than `data.per_class`.
        """
        source = _open_part(self._dataset, self._choice, split)
        info = source.info
        if not len(source):
            raise UserError(
                f'{info.name}: its split {info.split!r} has no examples. Add some, or give '
                'one or two images a class to `jaxvision predict --support`, which needs no '
                'training'
            )
        per_class = self._data.per_class
        if per_class and split == 'train':
            labels = labels_of(source, f'data.per_class={per_class}')
            rows = few_per_class(labels, per_class, info.class_names)
            source = Subset(source, rows, f'{info.split}, {per_class} per class')
        is_one_size = 'image' in info.holds and None not in info.image_shape
        if not is_one_size or isinstance(self._dataset, Composed):
            return source
        return in_memory_if_small(decoded(source), math.prod(info.image_shape))


def open_source(data: Config, split: Split, identify: Identify | None = None) -> Source:
    """Open a part of `data.source`.

    'test' is `data.test_split`. Without it, 'test' is the first of the dataset's splits 'test',
    'validation' and 'val' that has examples and labels. Without these, it is a fixed 20 % held
    out of training, of each class if there are labels.

    'validation' is what `data.validation` says: a split, or a part such as '10%' that
    is held out of the rest of training, or 'none'. If it is empty, 'validation' is the
    dataset's split 'validation' or 'val', unless it shares examples with 'test' or its
    labels are not known.

    'train' is `data.train_split`, or else the split 'train', less what is held out.
    With `data.per_class`, it has so many examples of each class.

    Images of one size are decoded, and small datasets stay in memory. Composed datasets compose
    an example at each reading.

    Args:
        data: the config's `data`. To open several parts of one dataset, use `Parts`.
        split: the part.
        identify: called with paths; gives a text for each that identifies its content.
            None: digests, or sizes and times if the files have more than
            `data.hash_limit` GB.

    Raises:
        UserError: The dataset, the split or its labels are missing, the part is empty,
            or two parts overlap.
    """
    return Parts(data, identify).open(split)


def has_validation(data: Config) -> bool:
    """Whether `data.source` has validation examples: a split, or a part of training.

    No file is hashed for it.

    Raises:
        UserError: The dataset or a split is missing, or two parts overlap.
    """
    return Parts(data, _no_content).has_validation


def _no_content(paths: Sequence[Path]) -> list[str]:
    return [''] * len(paths)


# How to open the datasets of `data.source`. Each opener imports libraries that others do not need.


def _open_folder(place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data.folder import Folder

    return Folder(Path(place).expanduser(), identify)


def _open_videos(place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data.video_folder import VideoFolder

    return VideoFolder(Path(place).expanduser(), identify)


def _open_captions(place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data.captions import CaptionedImages

    return CaptionedImages(place, images, identify)


def _open_boxes(scheme: str, place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data import boxes_readers

    return boxes_readers.open_dataset(scheme, place, images, identify)


def _open_masks(place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data import masks_readers

    return masks_readers.open_folder(place, identify)


def _open_cityscapes(place: str, images: str, identify: Identify) -> Dataset:
    from jaxvision.data import masks_cityscapes

    return masks_cityscapes.open_folder(place, identify)


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


# The user's own data, as SCHEME:PLACE. An opener takes PLACE, `data.images` and `identify`.
SCHEMES: dict[str, Callable[[str, str, Identify], Dataset]] = {
    'folder': _open_folder,
    'videos': _open_videos,
    'captions': _open_captions,
    'boxes': functools.partial(_open_boxes, 'boxes'),
    'coco': functools.partial(_open_boxes, 'coco'),
    'voc': functools.partial(_open_boxes, 'voc'),
    'yolo': functools.partial(_open_boxes, 'yolo'),
    'masks': _open_masks,
    'cityscapes': _open_cityscapes,
}

# The schemes whose annotation files may lie elsewhere than the images.
_WITH_IMAGES = ('captions', 'boxes', 'coco', 'yolo')

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
    source: str,
    data_dir: str = '',
    identify: Identify = content.identify,
    images: str = '',
) -> Dataset:
    """Find a dataset by the string that names it.

    Args:
        source: SCHEME:PLACE with a scheme of `SCHEMES`, a name of `NAMES`, or a dataset of TFDS as
            NAME[/CONFIG][:VERSION].
        data_dir: the folder of datasets, '' for the default one. Sources with a scheme
            ignore it.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content. The datasets of `NAMES` do not use it.
        images: the folder of the images, '' for the default one of the source.

    Raises:
        UserError: There is no such dataset, it cannot be read, or it has no use for `images`.
    """
    scheme, colon, place = source.partition(':')
    if images and scheme not in _WITH_IMAGES:
        raise UserError(
            f'data.images={images}: expected a source that uses it, which are '
            f'{", ".join(f"{name}:PATH" for name in _WITH_IMAGES)}. Leave data.images empty '
            f'for {source}'
        )
    if colon and scheme in SCHEMES:
        if not place.strip():
            raise UserError(
                f'data.source={source}: expected {scheme}:PATH. The current folder is '
                f'{scheme}:.'
            )
        return SCHEMES[scheme](place, images, identify)
    if source.startswith(('/', '.', '~')) and Path(source).expanduser().exists():
        forms = ' or '.join(f'{name}:PATH' for name in SCHEMES)
        raise UserError(
            f'data.source={source}: expected {forms}. For images in folders, set '
            f'data.source=folder:{source}'
        )
    name, _, configuration = source.partition('/')
    if name in NAMES:
        return NAMES[name](name, configuration, data_dir)

    from jaxvision.data import tfds_source

    others = [*NAMES, *(f'{scheme}:PATH' for scheme in SCHEMES)]
    folder = tfds_source.find(source, data_dir, others)
    return tfds_source.TfdsDataset(folder, identify)


def _open_part(dataset: Dataset, choice: _Choice, split: Split) -> Source:
    if split == 'test' and choice.test:
        return dataset.open(choice.test)
    if split == 'validation' and choice.validation:
        return dataset.open(choice.validation)
    source = dataset.open(choice.train)
    if not choice.test:
        kept, held = _held_out(source, 0.2, 'held_out')
        if split == 'test':
            return Subset(source, held, f'{choice.train}, held out 20 %')
        source = Subset(source, kept, f'{choice.train}, 80 %')
    if choice.fraction:
        kept, held = _held_out(source, choice.fraction, 'validation')
        if not len(held):
            raise UserError(
                f'data.validation={choice.fraction:.2%}: expected more, since no example '
                'would be held out. Give a larger part'
            )
        name = source.info.split
        if split == 'validation':
            return Subset(source, held, f'{name}, held out {choice.fraction:.0%}')
        return Subset(source, kept, f'{name}, {1 - choice.fraction:.0%}')
    if split == 'validation':
        raise UserError(
            f'{source.info.name} has no validation split. Set data.validation=10%, so that '
            'this part is held out of training'
        )
    return source


def _held_out(
    source: Source, fraction: float, stream: str
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a part of each class, or whole groups of rows, as `wrappers.held_out` does."""
    groups = np.asarray(groups_of(source), int)
    if not len(groups):
        return held_out(_strata(source), fraction, stream)
    names, places = np.unique(groups, return_inverse=True)
    _, held_groups = held_out(np.zeros(len(names), np.int32), fraction, stream)
    is_held = np.isin(places, held_groups)
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _strata(source: Source) -> Labels:
    """The labels, from each of which a part is held out; zeros if there are none."""
    if source.info.has_labels:
        return labels_of(source, 'a stratified split')
    return np.zeros(len(source), np.int32)


def _choose(dataset: Dataset, data: Config) -> _Choice:
    """Choose the parts by the config's `data`, and check that they do not overlap."""
    train = data.train_split or 'train'
    test = data.test_split or _first_with_answers(
        dataset, ('test', 'validation', 'val'), others=(train,)
    )
    fraction = _parse_fraction(data.validation)
    validation = ''
    if data.validation in ('', 'none'):
        if not data.validation:
            # The test split may be one of these, under another name or in part.
            own = [
                name
                for name in ('validation', 'val')
                if name in dataset.splits and not (test and dataset.overlap(name, test))
            ]
            validation = _first_with_answers(dataset, own, others=(train,))
    elif not fraction:
        validation = data.validation
        if validation not in dataset.splits and _is_number(validation):
            raise UserError(
                f"data.validation={validation}: expected a part of training, such as '10%', "
                "or the name of a split. Write it with a '%': 0.1 of training is '10%'"
            )
    parts = {'train_split': train, 'validation': validation, 'test_split': test}
    named = {field: name for field, name in parts.items() if name}
    for (field, name), (other_field, other) in itertools.combinations(named.items(), 2):
        if dataset.overlap(name, other):
            raise UserError(
                f'data.{field}={name!r} and data.{other_field}={other!r} share examples '
                f'of {data.source}: expected parts that do not. Name other parts'
            )
    return _Choice(train, validation, test, fraction)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_fraction(text: str) -> float:
    """The fraction that '10%' means, 0 if the text is no percentage."""
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*%\s*', text)
    if not match:
        return 0.0
    fraction = float(match[1]) / 100
    if not 0 < fraction < 1:
        raise UserError(
            f'data.validation={text}: expected more than 0% and less than 100%'
        )
    return fraction


def _first_with_answers(
    dataset: Dataset, names: Sequence[str], others: Sequence[str]
) -> str:
    """The first of these splits that has examples and labels, '' if there is none.

    Args:
        dataset: the dataset.
        names: of splits that it may have.
        others: splits that are taken.
    """
    for name in names:
        is_free = name in dataset.splits and name not in others
        if is_free and _has_answers(dataset, name):
            return name
    return ''


def _has_answers(dataset: Dataset, split: str) -> bool:
    """Whether a split has examples and their labels are known.

    A dataset may have a method `has_answers` that tells it without reading files.
    """
    tells = getattr(dataset, 'has_answers', None)
    if tells:
        return tells(split)
    source = dataset.open(split)
    if not len(source):
        return False
    if not source.info.has_labels:
        return True
    label = source[0]['label']
    return bool(np.min(label) >= 0)
