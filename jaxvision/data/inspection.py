"""A close look at a dataset: every example is read, decoded, measured and compared."""

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.core.types import Example, Split
from jaxvision.data import (
    boxes_inspection,
    class_names,
    content,
    decode,
    labelled_files,
    masks_inspection,
    near_equality,
    pipeline,
    summary,
    video,
)
from jaxvision.data.boxes_inspection import BoxReport, Cover
from jaxvision.data.masks_inspection import LabelCounts, MaskReport
from jaxvision.data.protocol import Source, Unreadable, labels_of

SIDE = 64  # longest side of a thumbnail, pixels

# (where, where) of two examples.
Pair = tuple[str, str]
# A decoded image, or a frame of a video.
Picture = UInt8[np.ndarray, '_ _ c']


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitReport:
    """The content of a split, as `inspect` found it.

    Attributes:
        name: as the dataset calls it.
        examples: their number.
        class_counts: {class: its examples}, empty without labels. Examples whose label
            is not known are left out.
        sizes: {'WIDTHxHEIGHT': number} of the images or videos, the commonest first.
        unreadable: {where: why} of the examples that cannot be decoded.
        unlabelled: number of examples of a multi-label dataset that have no label.
        with_pages: images with several pages or frames, of which the first is used.
        equal: (path or row, path or row) of examples in the split with the same bytes
            or pixels: the first one and a later one.
        in_training: such pairs of an example of the training split and one of this
            split; empty for the training split.
        in_validation: as `in_training`, with the validation split; only for the test
            split.
        near_training: as `in_training`, of this split's other examples and the nearest
            training examples, nearly equal when made small; empty if not asked for.
        boxes: a report on the boxes; None: the examples have no boxes.
        masks: a report on the label maps; None: the examples have none.
    """

    name: str
    examples: int
    class_counts: dict[str, int]
    sizes: dict[str, int]
    unreadable: dict[str, str]
    unlabelled: int
    with_pages: list[str]
    equal: list[Pair]
    in_training: list[Pair]
    in_validation: list[Pair]
    near_training: list[Pair]
    boxes: BoxReport | None = None
    masks: MaskReport | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The content of a dataset, as `inspect` found it.

    Attributes:
        summary: the lines of `summary.lines`, with which a training run begins.
        warnings: what looks wrong, a sentence each.
        splits: a report on each of 'train', 'validation' and 'test' that there is.
        pictures: {class: thumbnails of training examples}, of at most 64 pixels a side;
            the class is '' where there are no labels. Images with boxes or label maps have
            at most 320 pixels a side.
    """

    summary: list[str]
    warnings: list[str]
    splits: dict[Split, SplitReport]
    pictures: dict[str, list[Picture]]


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the report keeps of an example. Thumbnails of a whole dataset need too much memory.

    Attributes:
        size: 'WIDTHxHEIGHT'.
        digest: hash of the content; empty if the example is unreadable.
        vector: grey picture for near-equality; None if the report does not look for it.
        reason: why the example is unreadable.
        has_pages: whether an image has several pages or frames, of which the first is used.
        labels: of the label map; None: the example has none, or is unreadable.
    """

    size: str = ''
    digest: str = ''
    vector: Float[np.ndarray, 'd'] | None = None
    reason: str = ''
    has_pages: bool = False
    labels: LabelCounts | None = None


def inspect(
    sources: Mapping[Split, Source],
    *,
    near: bool = False,
    pictures: int = 12,
    threads: int = 2,
    cover: Cover | None = None,
) -> Report:
    """Read every example of a dataset and report on it.

    Unreadable examples are listed in the report. A video is compared as a whole, but
    only its first frame is decoded.

    Args:
        sources: the splits, 'train' among them.
        near: whether to look for validation and test images that are nearly equal to
            training images.
        pictures: the most thumbnails of each class, of training examples alone.
        threads: how many threads read and decode; 0: none besides the caller's.
        cover: as for `boxes_inspection.report_on`, for the training split alone.
    """
    looks = {
        split: _look_at_all(source, threads, near) for split, source in sources.items()
    }
    train = sources['train']
    reports = {}
    for split, source in sources.items():
        in_training = []
        in_validation = []
        near_training = []
        if split != 'train':
            in_training = _pairs(looks['train'], train, looks[split], source)
            if near:
                near_training = _near_pairs(looks['train'], train, looks[split], source)
        if split == 'test' and 'validation' in sources:
            validation = sources['validation']
            in_validation = _pairs(
                looks['validation'], validation, looks[split], source
            )
        sizes = [look.size for look in looks[split]]
        reports[split] = SplitReport(
            name=source.info.split,
            examples=len(source),
            class_counts=_class_counts(source),
            sizes=_sizes(looks[split]),
            unreadable=_unreadable(looks[split], source),
            unlabelled=_unlabelled(source),
            with_pages=_with_pages(looks[split], source),
            equal=_equal(looks[split], source),
            in_training=in_training,
            in_validation=in_validation,
            near_training=_without(near_training, in_training),
            boxes=boxes_inspection.report_on(
                source, sizes, cover if split == 'train' else None
            ),
            masks=masks_inspection.report_on(
                source, sizes, [look.labels for look in looks[split]]
            ),
        )
    doubts = []
    for source in sources.values():
        doubts += source.info.doubts
    return Report(
        summary=summary.lines(sources),
        warnings=_warnings(train, reports, doubts),
        splits=reports,
        pictures=_pictures(train, looks['train'], pictures, threads),
    )


def _look_at_all(source: Source, threads: int, near: bool) -> list[_Look]:
    def look(row: int) -> _Look:
        return _look_at(source, row, near)

    return list(pipeline.read_ahead(look, 0, len(source), threads))


def _look_at(source: Source, row: int, near: bool) -> _Look:
    """Read an example and describe it.

    Args:
        source: the split.
        row: number of the example.
        near: whether to keep a small grey picture for near-equality.
    """
    channels = source.info.image_shape[2]
    vector = None
    try:
        example = source[row]
        encoded, frame = _first_frame(example, channels)
        if near:
            vector = near_equality.vector(decode.thumbnail(frame, channels, SIDE))
        digest = _digest(encoded)
        has_pages = 'image' in source.info.holds and decode.has_pages(encoded)
    except Unreadable as error:
        return _Look(reason=str(error))
    height, width, _ = frame.shape
    labels = masks_inspection.count(example.get('semantic'))
    return _Look(
        size=f'{width}x{height}',
        digest=digest,
        vector=vector,
        has_pages=has_pages,
        labels=labels,
    )


def _first_frame(example: Example, channels: int) -> tuple[Any, Picture]:
    """Decode the image, or the first frame of the video, of an example.

    Args:
        example: with 'image' or 'video'.
        channels: of images, 1 or 3.

    Returns:
        (what the source holds, the decoded pixels).

    Raises:
        Unreadable: The example cannot be decoded.
    """
    if 'video' in example:
        encoded = example['video']
        return encoded, video.read(encoded, [0])[0]
    encoded = example['image']
    return encoded, decode.decode(encoded, channels)


def _digest(encoded: Any) -> str:
    """A hash of an image or a whole video.

    Args:
        encoded: encoded bytes, a path, an array, or the encoded frames of a video.
    """
    if isinstance(encoded, str | os.PathLike):
        (digest,) = content.identify([Path(encoded)])
        return digest
    digest = hashlib.sha256()
    parts = [encoded]
    if isinstance(encoded, list):
        parts = encoded
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f'{part.dtype}{part.shape}'.encode())
            part = np.ascontiguousarray(part)
        digest.update(part)
    return digest.hexdigest()


def _class_counts(source: Source) -> dict[str, int]:
    if not source.info.has_labels:
        return {}
    counts = summary.class_counts(source)
    return dict(zip(source.info.class_names, counts, strict=True))


def _unlabelled(source: Source) -> int:
    if not source.info.multi_label:
        return 0
    return int((labels_of(source, 'the report').sum(1) == 0).sum())


def _sizes(looks: Sequence[_Look]) -> dict[str, int]:
    counts = collections.Counter(look.size for look in looks if look.size)
    return dict(counts.most_common())


def _unreadable(looks: Sequence[_Look], source: Source) -> dict[str, str]:
    """{where: why} of the examples that cannot be decoded."""
    reasons = {}
    for row, look in enumerate(looks):
        if look.reason:
            reasons[source.where(row)] = look.reason
    return reasons


def _with_pages(looks: Sequence[_Look], source: Source) -> list[str]:
    """The images with several pages or frames."""
    rows = [row for row, look in enumerate(looks) if look.has_pages]
    return [source.where(row) for row in rows]


def _equal(looks: Sequence[_Look], source: Source) -> list[Pair]:
    """(the first, a later one) of the examples that are equal."""
    digests = [look.digest for look in looks]
    return [
        (source.where(first), source.where(row))
        for first, row in content.shared(digests, digests)
        if first != row
    ]


def _pairs(
    other_looks: Sequence[_Look],
    other: Source,
    looks: Sequence[_Look],
    source: Source,
) -> list[Pair]:
    """(example of another split, example) of the examples that the other split has too."""
    shared = content.shared(
        [look.digest for look in other_looks], [look.digest for look in looks]
    )
    return [(other.where(other_row), source.where(row)) for other_row, row in shared]


def _without(pairs: Sequence[Pair], others: Sequence[Pair]) -> list[Pair]:
    """The pairs whose second example is that of no other pair."""
    seconds = {second for _, second in others}
    return [pair for pair in pairs if pair[1] not in seconds]


def _near_pairs(
    train_looks: Sequence[_Look],
    train: Source,
    looks: Sequence[_Look],
    source: Source,
) -> list[Pair]:
    """(training example, example) whose small grey pictures hardly differ."""
    train_vectors = [look.vector for look in train_looks]
    vectors = [look.vector for look in looks]
    return [
        (train.where(train_row), source.where(row))
        for train_row, row in near_equality.pairs(train_vectors, vectors)
    ]


def _pictures(
    source: Source, looks: Sequence[_Look], number: int, threads: int
) -> dict[str, list[Picture]]:
    """Read thumbnails of each class, spread evenly over the split.

    Args:
        source: the split.
        looks: a look at each of its examples.
        number: thumbnails of each class.
        threads: that read and decode.
    """
    chosen_rows = {}
    for name, rows in _rows_by_class(source).items():
        readable = [row for row in rows if not looks[row].reason]
        last = len(readable) - 1
        places = np.linspace(0, last, min(number, len(readable)))
        nearest = places.round().astype(int)
        chosen_rows[name] = [readable[place] for place in nearest]
    if 'semantic' in source.info.holds:
        return masks_inspection.pictures(source, chosen_rows)
    if 'boxes' in source.info.holds:
        return boxes_inspection.pictures(source, chosen_rows)
    # An example of several labels may be chosen more than once.
    every_row = sorted(set(itertools.chain(*chosen_rows.values())))

    def read(place: int) -> Picture:
        channels = source.info.image_shape[2]
        _, frame = _first_frame(source[every_row[place]], channels)
        return decode.thumbnail(frame, channels, SIDE)

    thumbnails = pipeline.read_ahead(read, 0, len(every_row), threads)
    by_row = dict(zip(every_row, thumbnails, strict=True))
    pictures = {}
    for name, rows in chosen_rows.items():
        pictures[name] = [by_row[row] for row in rows]
    return pictures


def _rows_by_class(source: Source) -> dict[str, list[int]]:
    """{class: numbers of its examples}; the class '' has all of a dataset without labels."""
    if not source.info.has_labels:
        return {'': list(range(len(source)))}
    labels = labels_of(source, 'the report')
    rows_by_class = {}
    for label, name in enumerate(source.info.class_names):
        has_label = labels == label if labels.ndim == 1 else labels[:, label] > 0
        rows_by_class[name] = np.flatnonzero(has_label).tolist()
    return rows_by_class


def _warnings(
    train: Source, reports: Mapping[Split, SplitReport], doubts: Sequence[str]
) -> list[str]:
    """The warnings that a user should look at before training.

    Args:
        train: the training split.
        reports: of all splits.
        doubts: of the sources.
    """
    found = [*doubts, *class_names.doubtful(train.info.class_names)]
    found = list(dict.fromkeys(found))
    for split, report in reports.items():
        of_examples = f'of {report.examples:,} {split} examples'
        if report.unreadable:
            found.append(f'{len(report.unreadable):,} {of_examples} unreadable')
        if report.unlabelled:
            number = labelled_files.count(report.unlabelled, f'{split} example')
            found.append(f'{number} without a label')
        if report.with_pages:
            number = labelled_files.count(len(report.with_pages), f'{split} image')
            found.append(
                f'{number} with several pages or frames, of which the first is used'
            )
        if report.equal:
            number = labelled_files.count(len(report.equal), f'{split} example')
            found.append(f'{number} more than once in the split')
        if report.in_training:
            found.append(
                f'{len(report.in_training):,} {of_examples} equal to training examples'
            )
        if report.in_validation:
            found.append(
                f'{len(report.in_validation):,} {of_examples} equal to validation '
                'examples'
            )
        if report.near_training:
            found.append(
                f'{len(report.near_training):,} {of_examples} nearly equal to training '
                'examples'
            )
        if report.masks:
            found += masks_inspection.warnings(report.masks, split)
        missing = [name for name, count in report.class_counts.items() if not count]
        if missing:
            found.append(
                f'classes without a {split} example: {len(missing):,}, such as {missing[0]!r}'
            )
    counts = [count for count in reports['train'].class_counts.values() if count]
    if counts and max(counts) >= 10 * min(counts):
        found.append(
            f'the largest class has {max(counts):,} training examples, the smallest '
            f'{min(counts):,}'
        )
    return found
