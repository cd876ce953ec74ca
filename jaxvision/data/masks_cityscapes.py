"""The layout of Cityscapes: leftImg8bit/ and gtFine/, whose label ids become 19 train ids.

The files *_labelIds.png hold the ids of 34 labels, of which the benchmark evaluates 19. Others are
ignored. Files *_labelTrainIds.png hold the train ids of the 19 already, and 255. Files
*_instanceIds.png hold the objects of 8 labels, see `masks_cityscapes_objects`.

M. Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.core.types import IGNORED
from jaxvision.data import content, masks_instances, masks_values, walk
from jaxvision.data.annotation_files import is_file
from jaxvision.data.labelled_files import count
from jaxvision.data.masks_cityscapes_objects import OBJECT_LABELS, CityscapesSource
from jaxvision.data.masks_classes import MaskValues, Reading
from jaxvision.data.masks_dataset import MaskDataset, MaskSource
from jaxvision.data.masks_folder import Files, MaskListing, Pair, files_below, paired
from jaxvision.data.protocol import Identify, SourceInfo, fingerprint
from jaxvision.data.split_names import SPLITS, split_of

IMAGES = 'leftImg8bit'
LABELS = 'gtFine'
_IMAGE_ENDING = f'_{IMAGES}.png'
_LABEL_ENDING = f'_{LABELS}_labelIds.png'
_TRAIN_LABEL_ENDING = f'_{LABELS}_labelTrainIds.png'
_OBJECT_ENDING = f'_{LABELS}_instanceIds.png'

# {label id: name} in the order of the train ids, as in the benchmark's labels.py.
TRAIN_LABELS = {
    7: 'road',
    8: 'sidewalk',
    11: 'building',
    12: 'wall',
    13: 'fence',
    17: 'pole',
    19: 'traffic light',
    20: 'traffic sign',
    21: 'vegetation',
    22: 'terrain',
    23: 'sky',
    24: 'person',
    25: 'rider',
    26: 'car',
    27: 'truck',
    28: 'bus',
    31: 'train',
    32: 'motorcycle',
    33: 'bicycle',
}
_LABEL_IDS = range(34)
_FIRST_MASKS = 8  # of each split that are read at opening


def label_reading() -> Reading:
    """The reading of label ids: a row for each train id, and 255 for the other labels."""
    rows = dict.fromkeys(_LABEL_IDS, IGNORED) | {IGNORED: IGNORED}
    rows |= {label: row for row, label in enumerate(TRAIN_LABELS)}
    return Reading(names=tuple(TRAIN_LABELS.values()), rows=rows)


def train_reading() -> Reading:
    """The reading of train ids: each is its own row."""
    rows = {row: row for row in range(len(TRAIN_LABELS))} | {IGNORED: IGNORED}
    return Reading(names=tuple(TRAIN_LABELS.values()), rows=rows)


def open_folder(
    place: str, identify: Identify = content.identify
) -> 'CityscapesDataset':
    """List the images and labels of a folder. No file is opened.

    An image leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png belongs to the labels
    gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png. If there are none of these, the files
    NAME_gtFine_labelTrainIds.png are read. If all labels have a file NAME_gtFine_instanceIds.png
    beside them, examples have objects, too. Images without labels, and labels without an image, are
    left out with a note.

    Args:
        place: the folder behind `cityscapes:`.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: The folder has another layout, or no training image has labels.
    """
    root = Path(place).expanduser()
    name = f'cityscapes:{root}'
    for folder in (IMAGES, LABELS):
        if not (root / folder).is_dir():
            raise UserError(
                f'data.source={name}: expected the folders {IMAGES} and {LABELS} in it, and '
                f'there is no {folder}. Name the folder that holds both'
            )
    files = files_below(root / LABELS)
    has_label_ids = any(path.endswith(_LABEL_ENDING) for path in files)
    ending = _LABEL_ENDING if has_label_ids else _TRAIN_LABEL_ENDING
    images = _by_split(files_below(root / IMAGES), _IMAGE_ENDING)
    labels = _by_split(files, ending)
    pairs = {}
    notes = []
    for split in SPLITS:
        listed, split_notes = paired(
            root, split, images.get(split, {}), labels.get(split, {})
        )
        notes += split_notes
        if listed:
            pairs[split] = listed
    for folder in walk.contents_of(root / IMAGES).folders:
        if not split_of(folder):
            number = len(files_below(root / IMAGES / folder))
            notes.append(
                f'{IMAGES}/{folder} is no split: {count(number, "file")} left out'
            )
    if not pairs:
        raise UserError(
            f'data.source={name}: expected {IMAGES}/train/CITY/NAME{_IMAGE_ENDING} and '
            f'{LABELS}/train/CITY/NAME{_LABEL_ENDING}, and no image has labels'
        )
    object_files, object_notes = _object_files(pairs, ending)
    listing = MaskListing(name, root, pairs, (*notes, *object_notes))
    return CityscapesDataset(listing, has_label_ids, object_files, identify)


class CityscapesDataset(MaskDataset):
    """Images and labels of Cityscapes. Opening reads few labels, since one takes 20 ms."""

    def __init__(
        self,
        listing: MaskListing,
        has_label_ids: bool,
        object_files: Mapping[Path, Path],
        identify: Identify,
    ):
        """Take the files of the dataset.

        Args:
            listing: the images and labels.
            has_label_ids: whether the files hold label ids; False: train ids.
            object_files: {file of labels: that of its objects}; empty: examples have none.
            identify: as for `open_folder`.

        Raises:
            UserError: There is no training image.
        """
        super().__init__(listing, identify=identify)
        self._has_label_ids = has_label_ids
        self._object_files = object_files

    def has_answers(self, split: str) -> bool:
        """Whether the first image of a split has labels. Those of the test split are secret.

        Raises:
            UserError: There is no such split.
        """
        if not super().has_answers(split):
            return False
        first = self._listing.pairs[self._find(split)][0].mask
        values, unreadable = masks_values.scan([first], [''])
        if unreadable:
            return True  # Reading the example will tell.
        rows = self._decide(values).rows
        return any(rows.get(value, IGNORED) != IGNORED for value in values[0].counts)

    def _source(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
    ) -> MaskSource:
        if not self._object_files:
            return super()._source(info, pairs, contents, reading)
        paths = [self._object_files[pair.mask] for pair in pairs]
        own = dataclasses.replace(
            info,
            class_names=tuple(OBJECT_LABELS.values()),
            holds=(*info.holds, *masks_instances.KEYS),
            fingerprint=fingerprint(info.fingerprint, self._identify(paths)),
        )
        return CityscapesSource(own, pairs, contents, reading, paths)

    def _scan(
        self, paths: Sequence[Path], contents: Sequence[str]
    ) -> tuple[list[MaskValues], dict[Path, str]]:
        identity = dict(zip(paths, contents, strict=True))
        few = []
        for pairs in self._listing.pairs.values():
            few += [pair.mask for pair in pairs[:_FIRST_MASKS]]
        return masks_values.scan(few, [identity[path] for path in few])

    def _decide(self, values: Sequence[MaskValues]) -> Reading:
        reading = label_reading() if self._has_label_ids else train_reading()
        for mask in values:
            labels = set(mask.counts)
            if mask.kind != 'bytes' or labels - set(reading.rows):
                ids = '0 to 33' if self._has_label_ids else '0 to 18, and 255'
                raise UserError(
                    f'{mask.path}: expected ids of labels from {ids}, not '
                    f'{max(labels - set(reading.rows), default="colours")}. Use the files of '
                    'Cityscapes'
                )
        labels = set().union(*(mask.counts for mask in values))
        if self._has_label_ids and IGNORED in labels and max(labels - {IGNORED}) < 19:
            raise UserError(
                f'{values[0].path}: expected label ids, and the values are those of train ids: '
                f'0 to 18 and 255. Rename the files to *{_TRAIN_LABEL_ENDING}'
            )
        return reading


def _object_files(
    pairs: Mapping[str, Sequence[Pair]], ending: str
) -> tuple[dict[Path, Path], list[str]]:
    """({file of labels: that of its objects}, notes); {} if some labels have none.

    Args:
        pairs: the images and labels of each split.
        ending: of the files of labels.
    """
    paths = {}
    missing = []
    for split_pairs in pairs.values():
        for pair in split_pairs:
            name = pair.mask.name.removesuffix(ending) + _OBJECT_ENDING
            path = pair.mask.with_name(name)
            if is_file(path):
                paths[pair.mask] = path
            else:
                missing.append(path)
    if not missing:
        return paths, []
    if not paths:
        return {}, []
    number = count(len(missing), 'file')
    return {}, [f'{number} *{_OBJECT_ENDING} missing: examples have no objects']


def _by_split(files: Files, ending: str) -> dict[str, dict[str, Path]]:
    """{split: {SPLIT/CITY/NAME.png: path}} of the files with an ending."""
    by_split: dict[str, dict[str, Path]] = {}
    for name, path in files.items():
        split = split_of(name.partition('/')[0])
        if split and name.endswith(ending):
            key = f'{split}/{name.partition("/")[2].removesuffix(ending)}.png'
            by_split.setdefault(split, {})[key] = path
    return by_split
