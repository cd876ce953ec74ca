"""What a dataset was understood to be, in a few lines: splits, classes, sizes, duplicates."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxvision.core.types import Split
from jaxvision.data import content
from jaxvision.data.protocol import LabelledSource, Source, contents_of

_MOST_CLASSES = 8  # that are listed; of more, the first and the last four
_MOST_NOTES = 8


def lines(sources: Mapping[Split, Source]) -> list[str]:
    """Describe the splits of a dataset, its classes, and images that two splits share.

    Args:
        sources: the splits, 'train' among them.

    Returns:
        A line for the dataset, one for each split, then notes and warnings.
    """
    info = sources['train'].info
    described = [f'data: {info.name}: {_form(sources["train"])}{_classes(sources)}']
    width = max(map(len, sources))
    for split, source in sources.items():
        name = source.info.split
        origin = f' ({name})' if name != split else ''
        described.append(f'  {split:<{width}}  {len(source):>9,} examples{origin}')
    notes = dict.fromkeys(
        note for source in sources.values() for note in source.info.notes
    )
    described += [f'  note: {note}' for note in list(notes)[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        described.append(f'  note: and {len(notes) - _MOST_NOTES} more')
    for split in ('validation', 'test'):
        if split in sources:
            described += _shared(sources['train'], sources[split], split)
    return described


def _form(source: Source) -> str:
    """What an example is, such as 'grey images of 28x28'."""
    info = source.info
    height, width, channels = info.image_shape
    kind = 'videos' if 'video' in info.holds else 'images'
    colour = 'grey' if channels == 1 else 'colour'
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
    kind = 'labels' if source.info.multi_label else 'classes'
    return f', {len(names):,} {kind}: {", ".join(listed)}'


def class_counts(source: Source) -> list[int]:
    """The number of examples of each class, of a source with labels."""
    assert isinstance(source, LabelledSource)
    labels = source.labels()
    if labels.ndim > 1:
        return labels.sum(0).astype(int).tolist()
    return np.bincount(labels, minlength=len(source.info.class_names)).tolist()


def _shared(train: Source, source: Source, split: Split) -> Sequence[str]:
    """A warning of a split's files that are training files too."""
    pairs = content.shared(contents_of(train), contents_of(source))
    if not pairs:
        return []
    train_row, row = pairs[0]
    return [
        f'  warning: {len(pairs):,} of {len(source):,} {split} examples are byte-equal to '
        f'training examples, such as {source.where(row)} and {train.where(train_row)}'
    ]
