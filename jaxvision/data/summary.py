"""What a dataset was understood to be, in a few lines: splits, classes, sizes, duplicates."""

import itertools
from collections.abc import Mapping

import numpy as np

from jaxvision.core.types import Split
from jaxvision.data import content, labelled_files
from jaxvision.data.protocol import LabelledSource, Source, contents_of

_MOST_CLASSES = 8  # that are listed; of more, the first and the last four
_MOST_NOTES = 8


def lines(sources: Mapping[Split, Source]) -> list[str]:
    """Describe the splits of a dataset, its classes, and images that two splits share.

    Args:
        sources: the splits, 'train' among them.

    Returns:
        A line for the dataset, one for each split, then at most 8 notes, 'and N more'
        for further ones, and all warnings.
    """
    order: list[Split] = ['train', 'validation', 'test']
    sources = {split: sources[split] for split in order if split in sources}
    info = sources['train'].info
    form = _form(sources['train'])
    described = [f'data: {info.name}: {form}{_classes(sources)}']
    width = max(map(len, sources))
    for split, source in sources.items():
        origin = source.info.split
        line = f'  {split:<{width}}  {len(source):>9,} examples'
        if origin != split:
            line += f' ({origin})'
        described.append(line)
    # A dict keeps each sentence once, in order.
    notes: dict[str, None] = {}
    doubts: dict[str, None] = {}
    for source in sources.values():
        notes |= dict.fromkeys(source.info.notes)
        doubts |= dict.fromkeys(source.info.doubts)
    described += [f'  note: {note}' for note in list(notes)[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        described.append(f'  note: and {len(notes) - _MOST_NOTES} more')
    described += [f'  warning: {doubt}' for doubt in doubts]
    for split, source in sources.items():
        described += _classes_without(source, split)
    for first, second in itertools.combinations(sources, 2):
        described += _shared(sources[first], first, sources[second], second)
    return described


def _form(source: Source) -> str:
    """The form of an example, such as 'grey images of 28x28'."""
    info = source.info
    height, width, channels = info.image_shape
    kind = 'images'
    if 'video' in info.holds:
        kind = 'videos'
    colour = 'colour'
    if channels == 1:
        colour = 'grey'
    if height and width:
        return f'{colour} {kind} of {width}x{height}'
    return f'{colour} {kind}'


def _classes(sources: Mapping[Split, Source]) -> str:
    """', 3 classes: cat 10, dog 9, emu 8'; the numbers are those of training."""
    source = sources['train']
    names = source.info.class_names
    if not names:
        return ''
    listed = list(names)
    # The labels of other sources cost a pass over their records.
    if source.info.has_labels and contents_of(source):
        counts = class_counts(source)
        listed = [
            f'{name} {count:,}' for name, count in zip(names, counts, strict=True)
        ]
    if len(listed) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        listed = [*listed[:half], '...', *listed[-half:]]
    kind = 'classes'
    if source.info.multi_label:
        kind = 'labels'
    return f', {len(names):,} {kind}: {", ".join(listed)}'


def class_counts(source: Source) -> list[int]:
    """The number of examples of each class, in the order of `info.class_names`.

    The source has to have labels. An example with several labels counts for each class.
    An unknown label, -1, counts for no class.
    """
    assert isinstance(source, LabelledSource)
    labels = source.labels()
    if labels.ndim > 1:
        return labels.sum(0).astype(int).tolist()
    known = labels[labels >= 0]
    return np.bincount(known, minlength=len(source.info.class_names)).tolist()


def empty_classes(source: Source) -> list[str]:
    """The names of the classes of which a split has no example.

    The list is empty for a split without labels, or with `info.new_classes`.
    """
    if source.info.new_classes or not source.info.has_labels:
        return []
    counts = class_counts(source)
    names = source.info.class_names
    return [name for name, number in zip(names, counts, strict=True) if not number]


def _classes_without(source: Source, split: Split) -> list[str]:
    """A warning of the classes that a split says nothing about."""
    # The labels of other sources cost a pass over their records. Few-shot learning trains on
    # some of the classes.
    if split == 'train' or not contents_of(source):
        return []
    missing = empty_classes(source)
    if not missing:
        return []
    number = labelled_files.count(len(missing), 'class', 'classes')
    return [
        f'  warning: {number} without a {split} example: {labelled_files.some(missing)}'
    ]


def _shared(
    first: Source, first_split: Split, second: Source, second_split: Split
) -> list[str]:
    """A warning of a split's files that are files of an earlier split too."""
    pairs = content.shared(contents_of(first), contents_of(second))
    if not pairs:
        return []
    first_row, row = pairs[0]
    earlier = first_split.replace('train', 'training')
    number = f'{len(pairs):,} of {len(second):,}'
    files = f'{second.where(row)} and {first.where(first_row)}'
    return [
        f'  warning: {number} {second_split} examples are byte-equal to {earlier} '
        f'examples, such as {files}'
    ]
