"""A user's own images with boxes: what the readers of all annotation formats share."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import BACKGROUND, Example
from jaxvision.data import (
    boxes_checks,
    class_names,
    content,
    files,
    headers,
    segmentations,
)
from jaxvision.data.boxes_checks import AnnotatedImage, Label
from jaxvision.data.labelled_files import count, printable, some
from jaxvision.data.protocol import (
    BOX_KEYS,
    Identify,
    RowSource,
    SourceInfo,
    Unreadable,
    fingerprint,
)
from jaxvision.data.segmentations import Segmentation, Shapes
from jaxvision.data.split_files import SplitFiles
from jaxvision.data.split_names import SPLITS

# Of objects in a label map: 0 is the background, and 255 is ignored.
_MOST_CLASSES = 254

# ymin, xmin, ymax, xmax
Box = tuple[float, float, float, float]


class Object(NamedTuple):
    """One object of an image, as an annotation file has it.

    Attributes:
        label: the class, by its name or its number in the file.
        box: its edges (ymin, xmin, ymax, xmax), in pixels or as fractions of the image.
        crowd: whether the box is a region of many objects.
        area: in square pixels; NaN if the file has none.
        outline: of its pixels; None: the object has only a box.
    """

    label: Label
    box: Box
    crowd: bool = False
    area: float = math.nan
    outline: Segmentation | None = None


@dataclasses.dataclass(frozen=True)
class BoxListing:
    """All images of a dataset and their objects, before any check.

    Attributes:
        name: the dataset, in messages.
        images: the images of each split.
        classes: {label in the files: name of the class}, in the order of the classes.
        category_ids: the number of each class in the files; empty: they have none.
        notes: what a user should know of how the files were read: a sentence each.
        is_relative: whether coordinates are fractions of the upright image.
    """

    name: str
    images: Mapping[str, Sequence[AnnotatedImage]]
    classes: Mapping[Label, str]
    category_ids: tuple[int, ...] = ()
    notes: Sequence[str] = ()
    is_relative: bool = False


def annotated(
    path: Path, objects: Sequence[Object], size: tuple[int, int] | None = None
) -> AnnotatedImage:
    """Store the objects of an image as arrays.

    Args:
        path: of the image.
        objects: the objects in it, any number.
        size: (height, width) that the annotation gives; None: it gives none.
    """
    return AnnotatedImage(
        path=path,
        size=size,
        labels=tuple(item.label for item in objects),
        boxes=np.array([item.box for item in objects], np.float64).reshape(-1, 4),
        crowd=np.array([item.crowd for item in objects], bool),
        area=np.array([item.area for item in objects], np.float64),
        outlines=tuple(item.outline for item in objects),
    )


def sorted_classes(images: Iterable[AnnotatedImage]) -> dict[Label, str]:
    """{name: name} of the classes that occur in the images, sorted by character codes.

    It is for formats without a list of classes, whose labels are names.
    """
    names = sorted(map(str, used_labels(images)))
    return {name: name for name in names}


def used_labels(images: Iterable[AnnotatedImage]) -> set[Label]:
    """The labels that some object of the images has."""
    labels: set[Label] = set()
    for image in images:
        labels.update(image.labels)
    return labels


def bounding_box(xs: Sequence[float], ys: Sequence[float]) -> Box:
    """The box (ymin, xmin, ymax, xmax) around one or more points of a polygon.

    All its edges are NaN if a coordinate is not finite.
    """
    # The smallest and the largest number of several may lose a NaN among them.
    lost = 0 * (sum(xs) + sum(ys))
    top = min(ys) + lost
    left = min(xs) + lost
    bottom = max(ys) + lost
    right = max(xs) + lost
    return top, left, bottom, right


class BoxDataset(SplitFiles):
    """Images with boxes. Opening a split checks its boxes against its images.

    Attributes:
        splits: those that there are: 'train', 'validation', 'test' or another.
        notes: what a user should know of how the files were read.
    """

    def __init__(self, listing: BoxListing, identify: Identify = content.identify):
        """Take the images of a dataset.

        Args:
            listing: the images and their objects.
            identify: called with paths when a split is opened; gives a text for each
                that identifies its content.

        Raises:
            UserError: There is no training image, or no training image has a box.
        """
        self._listing = listing
        self._identify = identify
        self._images = {
            split: list(images) for split, images in listing.images.items() if images
        }
        paths = {
            split: [image.path for image in images]
            for split, images in self._images.items()
        }
        super().__init__(listing.name, paths)
        self._has_outlines = any(
            any(image.outlines) for images in self._images.values() for image in images
        )
        if not any(image.labels for image in self._images['train']):
            raise UserError(
                f'{listing.name}: no training image has a box. Check that the annotation '
                'files belong to these images'
            )
        self.notes = printable([*listing.notes, *self._notes_on_classes()])

    def open(self, split: str) -> 'BoxSource':
        """Open a split by its name, or a usual other name, and check its boxes.

        Boxes that cannot be used are dropped, and the rest clipped to their images.
        Notes in `info.notes` of the source say so.

        Raises:
            UserError: There is no such split, an annotation gives another size than its image
                has, or no box of the split is usable.
        """
        split = self._find(split)
        images = self._images[split]
        paths = [image.path for image in images]
        contents = self._identify(paths)
        sizes = headers.sizes(paths)
        labels = {label: row for row, label in enumerate(self._listing.classes)}
        checked = boxes_checks.checked(images, sizes, labels, self._listing.is_relative)
        objects = checked.objects
        notes = checked.notes
        if not any(len(item['boxes']) for item in objects):
            dropped = ''.join(f'. {note}' for note in notes)
            raise UserError(
                f'{self._listing.name}: no box of the split {split} is usable{dropped}'
            )
        names = tuple(self._listing.classes.values())
        shapes = checked.shapes if self._has_outlines else []
        listed = [
            (path.name, identity, _digest(item))
            for path, identity, item in zip(paths, contents, objects, strict=True)
        ]
        holds = ('image', *BOX_KEYS)
        semantic_names = ()
        if self._has_outlines:
            notes = [*notes, *_notes_on_outlines(shapes, names)]
            holds = (*holds, 'masks')
            if len(names) <= _MOST_CLASSES:
                holds = (*holds, 'semantic')
                semantic_names = (BACKGROUND, *names)
        info = SourceInfo(
            name=self._listing.name,
            split=split,
            class_names=names,
            image_shape=headers.common_shape(sizes),
            multi_label=False,
            fingerprint=fingerprint(split, names, listed, *_digests(shapes)),
            holds=holds,
            category_ids=self._listing.category_ids,
            semantic_names=semantic_names,
            notes=self.notes + printable(f'{split}: {note}' for note in notes),
        )
        return BoxSource(info, paths, contents, objects, shapes)

    def has_answers(self, split: str) -> bool:
        """Whether some image of a split has a box, before any check.

        Raises:
            UserError: There is no such split.
        """
        split = self._find(split)
        return any(image.labels for image in self._images[split])

    def _notes_on_classes(self) -> list[str]:
        """Notes of classes whose names look wrong, or of which training has no box."""
        names = self._listing.classes
        labels = used_labels(self._images['train'])
        unseen = [name for label, name in names.items() if label not in labels]
        notes = class_names.doubtful(list(names.values()))
        if unseen:
            notes.append(
                f'classes without a training box ({len(unseen):,}): {some(unseen)}'
            )
        return notes


class BoxSource(RowSource):
    """The encoded images of one split, each with its boxes."""

    def __init__(
        self,
        info: SourceInfo,
        paths: Sequence[Path],
        contents: Sequence[str],
        objects: Sequence[Example],
        shapes: Sequence[Shapes | None] = (),
    ):
        """Take what `BoxDataset.open` has checked.

        Args:
            info: of the split.
            paths: of the images.
            contents: what identifies the content of each image.
            objects: the boxes of each image, with their classes, crowds and areas.
            shapes: the outlines of each image; None: it has no objects; empty: the dataset has
                no outlines.
        """
        self.info = info
        self._paths = paths
        self._contents = contents
        self._objects = objects
        self._shapes = shapes

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Example:
        image = files.read(str(self._paths[row]))
        return {'image': image, **self.annotation_of(row)}

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image. Masks are rasterised at each call."""
        example = self.boxes_of(row)
        if not {'masks', 'semantic'} & set(self.info.holds):
            return example
        shapes = self._shapes[row]
        if shapes is None:
            raise Unreadable(
                'its header cannot be read, so that its masks have no size'
            )
        masks = segmentations.masks(shapes, example['boxes'])
        if 'semantic' in self.info.holds:
            example['semantic'] = segmentations.semantic(
                masks, example['box_classes'], example['crowd']
            )
        if 'masks' in self.info.holds:
            example['masks'] = masks
        return example

    def boxes_of(self, row: int) -> Example:
        """'boxes', 'box_classes', 'crowd' and 'area' of a row, without its image."""
        return dict(self._objects[row])

    def without(self, keys: Sequence[str]) -> 'BoxSource':
        """The source whose examples lack some keys. Only masks and label maps are left out."""
        optional = {'masks', 'semantic'}
        info = self.info.without(list(optional.intersection(keys)))
        return BoxSource(info, self._paths, self._contents, self._objects, self._shapes)

    def contents(self) -> Sequence[str]:
        """The digest of each row's image, or what else `identify` gave for it."""
        return self._contents

    def where(self, row: int) -> str:
        """The path of a row's image."""
        return str(self._paths[row])


def merge_splits(
    name: str, images: Mapping[str, Sequence[AnnotatedImage]]
) -> dict[str, list[AnnotatedImage]]:
    """Order splits, and check that none of them lists an image twice.

    Args:
        name: the dataset, for the message.
        images: of each split. An image may be in several splits.

    Returns:
        The images of each split: 'train', 'validation', 'test', then others as given.

    Raises:
        UserError: A split lists an image twice.
    """
    ordered = {}
    for split in sorted(images, key=_split_order):
        seen = set()
        for image in images[split]:
            if image.path in seen:
                raise UserError(
                    f'{name}: its split {split} lists {image.path} twice. Remove one of '
                    'the entries'
                )
            seen.add(image.path)
        ordered[split] = list(images[split])
    return ordered


def left_out(number_of_files: int, noun: str, reason: str, first: str) -> str:
    """A note of files that are not read.

    Args:
        number_of_files: how many.
        noun: what they are, such as 'image'.
        reason: why, such as 'without an annotation file'.
        first: the name of one of them.
    """
    return f'{count(number_of_files, noun)} {reason} left out, such as {first}'


def _split_order(split: str) -> int:
    known = (*SPLITS, split)
    return known.index(split)


def _digests(shapes: Sequence[Shapes | None]) -> list[str]:
    """A hash for each image of its outlines."""
    digests = []
    for item in shapes:
        outlines = item.outlines if item else ()
        listed = [outline.digest() if outline else '' for outline in outlines]
        digests.append(fingerprint(item and item.orientation, listed))
    return digests


def _notes_on_outlines(
    shapes: Sequence[Shapes | None], names: Sequence[str]
) -> list[str]:
    """Notes of objects without an outline in a dataset with outlines, and of many classes."""
    outlines = itertools.chain(*(item.outlines for item in shapes if item))
    missing = sum(outline is None for outline in outlines)
    notes = []
    if missing:
        notes.append(
            f'{count(missing, "object")} without an outline: the box is the mask'
        )
    if len(names) > _MOST_CLASSES:
        notes.append(
            f'{len(names):,} classes are too many for a label map of 8 bits: examples hold masks '
            'alone'
        )
    return notes


def _digest(objects: Example) -> str:
    """A hash of the arrays of an example."""
    digest = hashlib.sha256()
    for key in BOX_KEYS:
        digest.update(objects[key].tobytes())
        digest.update(b'|')
    return digest.hexdigest()[:16]
