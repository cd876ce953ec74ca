"""Datasets of TFDS, read by row from their prepared files.

Reading needs neither TensorFlow nor the dataset's own code. For videos alone, the feature of TFDS
imports TensorFlow for the name of a type.
"""

import copy
import dataclasses
import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from jaxvision.core.errors import UserError
from jaxvision.core.types import IGNORED, Example
from jaxvision.data import content, tfds_features, tfds_masks, tfds_objects
from jaxvision.data.masks_classes import Reading
from jaxvision.data.protocol import (
    Identify,
    Labels,
    Rows,
    RowSource,
    SourceInfo,
    Unreadable,
    fingerprint,
)

_NAME = re.compile(r'(?P<name>\w+)(/(?P<config>[^:/]+))?(:(?P<version>[\d.*]+))?')

# Rows that are searched for a box. About one image of COCO in a hundred has none.
_FIRST_ROWS = 100

# TFDS 4.9.10 imports these in its command but does not depend on them.
_TOOLS = ' (the extra `tf`, apache-beam and mlcroissant) with'


class TfdsDataset:
    """A prepared dataset of TFDS, from the folder of one of its versions."""

    def __init__(self, folder: Path, identify: Identify = content.identify):
        """Read the description of the dataset.

        Args:
            folder: such as DIR/NAME/VERSION or DIR/NAME/CONFIG/VERSION.
            identify: called with the paths of a split's files when it is opened; gives
                a text for each that identifies its content.

        Raises:
            UserError: The folder cannot be read, or its files are no ArrayRecord.
        """
        self._identify = identify
        try:
            self._builder = tfds.builder_from_directory(folder)
        except Exception as error:  # The user needs the path, whatever is wrong there.
            raise UserError(f'cannot read the data set in {folder}: {error}') from error
        self._info = self._builder.info
        _check_format(self._builder, folder)
        self.splits = tuple(self._info.splits)
        self._reading: Reading | None = None

    def open(self, split: str) -> 'TfdsSource':
        """Open a split by its name, or by a slice of it such as 'train[:80%]'.

        Raises:
            UserError: There is no such split, or the dataset's features are not one
                image or video with a label, captions, boxes or a label map.
        """
        raw = self._raw(split)
        contents = self._contents(split)
        source = TfdsSource(self._info, split, raw, contents)
        if 'semantic' not in source.info.holds:
            return source
        if self._reading is None:
            self._reading = self._read_values()
        return source.with_reading(self._reading)

    def has_answers(self, split: str) -> bool:
        """Whether a split has examples and their labels are known.

        TFDS writes the label -1, or no boxes, into a secret test split. Only the first
        label, or the boxes of the first 100 rows, are read. A dataset without labels
        needs only examples.

        Raises:
            UserError: There is no such split.
        """
        source = TfdsSource(self._info, split, self._raw(split), ())
        if not len(source):
            return False
        reading = tfds_masks.known_reading(self._info.name)
        if reading and 'semantic' in source.info.holds:
            return source.with_reading(reading).first_has_classes()
        if 'boxes' in source.info.holds:
            return source.first_have_boxes()
        return not source.info.has_labels or source.first_label() >= 0

    def overlap(self, split: str, other: str) -> bool:
        """Whether two splits or slices share an example; a UserError if one is none."""
        for file in self._files(split):
            if any(_overlap(file, other_file) for other_file in self._files(other)):
                return True
        return False

    def _contents(self, split: str) -> list[str]:
        """What identifies the content of the files of a split."""
        return self._identify([Path(file.filename) for file in self._files(split)])

    def _read_values(self) -> Reading:
        """Decide how label maps are read, by all their values if the dataset is not known."""
        reading = tfds_masks.known_reading(self._info.name)
        if reading:
            return reading
        by_split = {
            split: TfdsSource(self._info, split, self._raw(split), ())
            for split in self.splits
        }

        def load(split: str, row: int) -> bytes:
            return by_split[split].encoded_mask(row)

        return tfds_masks.reading_of(
            self._info.full_name,
            {split: len(source) for split, source in by_split.items()},
            {split: self._contents(split) for split in by_split},
            load,
        )

    def _raw(self, split: str) -> Sequence[bytes]:
        """The records of a split."""
        try:
            return self._builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except ValueError as error:
            raise self._no_split(split) from error

    def _files(self, split: str):
        try:
            return self._info.splits[split].file_instructions
        except ValueError as error:
            raise self._no_split(split) from error

    def _no_split(self, split: str) -> UserError:
        return UserError(
            f'{self._info.full_name} has no split {split!r}; it has '
            f'{", ".join(self.splits)}'
        )


class TfdsSource(RowSource):
    """Images, or videos as encoded frames, with labels, captions, boxes or label maps."""

    def __init__(
        self,
        info: tfds.core.DatasetInfo,
        split: str,
        raw: Sequence[bytes],
        contents: Sequence[str],
    ):
        """Describe the split.

        Args:
            info: of the dataset.
            split: the name of the split, or of a slice.
            raw: the records of the split, read by row.
            contents: what identifies the content of each of the split's files.
        """
        self._raw = raw
        self._feature_names = tfds_features.feature_names(info)
        features = {
            key: info.features[name] for key, name in self._feature_names.items()
        }
        image = features.get('video', features.get('image'))
        frames = 0
        if 'video' in features:
            frames = None
            # Encoded frames are stored as texts are. TFDS cannot skip decoding in a sequence.
            features['video'] = tfds.features.Sequence(
                tfds.features.Text(), length=image.shape[0]
            )
        self._features = tfds.features.FeaturesDict(
            {self._feature_names[key]: feature for key, feature in features.items()}
        )
        self._decoders = {
            name: tfds.decode.SkipDecoding()
            for key, name in self._feature_names.items()
            if key in ('image', 'semantic')
            and isinstance(features[key], tfds.features.Image)
        }
        self._reading: Reading | None = None
        self.info = SourceInfo(
            name=info.full_name,
            split=split,
            class_names=tfds_features.class_names(features),
            image_shape=tfds_features.image_shape(image),
            multi_label=False,
            fingerprint=fingerprint(info.full_name, _listing(info, split), contents),
            holds=tfds_features.held_keys(self._feature_names),
            frames=frames,
            notes=tfds_objects.NOTES if 'objects' in features else (),
        )

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, row: int) -> Example:
        return self.read([row])[0]

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`.

        Raises:
            Unreadable: A record is damaged, or its label is not known (-1).
        """
        return [self._example(record) for record in self._records(rows)]

    def labels(self) -> Labels:
        """int32 [N], the class of each row, -1 where it is not known.

        Each call reads all records. The dataset has to have labels: `info.has_labels`.
        """
        labels = [
            self._labels_of(range(start, min(start + 1000, len(self))))
            for start in range(0, len(self), 1000)
        ]
        return np.concatenate([np.empty(0, np.int32), *labels])

    def first_label(self) -> int:
        """The label of the first row, -1 if it is not known. There has to be a row."""
        return int(self._labels_of(range(1))[0])

    def first_have_boxes(self) -> bool:
        """Whether one of the first 100 rows has a box; a secret test split has none."""
        rows = range(min(len(self), _FIRST_ROWS))
        return any(len(example['boxes']) for example in self.read(rows))

    def first_has_classes(self) -> bool:
        """Whether the label map of the first row has a pixel of a class."""
        return bool((self[0]['semantic'] != IGNORED).any())

    def with_reading(self, reading: Reading) -> 'TfdsSource':
        """The source whose label maps are read in a way."""
        source = copy.copy(self)
        source._reading = reading
        names = self.info.class_names or reading.names
        hashed = tfds_masks.fingerprint_of(reading)
        source.info = dataclasses.replace(
            self.info,
            class_names=names,
            semantic_names=reading.names,
            fingerprint=fingerprint(self.info.fingerprint, hashed),
            notes=(*self.info.notes, *reading.notes),
            doubts=(*self.info.doubts, *reading.doubts),
        )
        return source

    def without(self, keys: Sequence[str]) -> 'TfdsSource':
        """The source whose examples lack some keys. Only label maps are left out."""
        if 'semantic' not in keys:
            return self
        source = copy.copy(self)
        source._reading = None
        source.info = self.info.without(['semantic'])
        return source

    def encoded_mask(self, row: int) -> bytes:
        """The label map of a row as it is stored. Nothing else is decoded."""
        name = self._feature_names['semantic']
        mask_only = tfds.features.FeaturesDict({name: self._features[name]})
        (record,) = self._records([row])
        decoders = {name: tfds.decode.SkipDecoding()}
        return mask_only.deserialize_example_np(record, decoders=decoders)[name]

    def _labels_of(self, rows: Rows) -> Int[np.ndarray, 'n']:
        """The labels of some rows, without decoding anything else."""
        name = self._feature_names['label']
        label_only = tfds.features.FeaturesDict({name: self._features[name]})
        labels = [
            label_only.deserialize_example_np(record)[name]
            for record in self._records(rows)
        ]
        return np.array(labels, np.int32)

    def _records(self, rows: Rows) -> list[bytes]:
        try:
            return self._raw.__getitems__([int(row) for row in rows])
        except (ValueError, RuntimeError, OSError) as error:
            raise Unreadable(f'its record is damaged ({error})') from error

    def _example(self, record: bytes) -> Example:
        values = self._features.deserialize_example_np(record, decoders=self._decoders)
        example = {key: values[name] for key, name in self._feature_names.items()}
        if 'label' in example:
            example['label'] = np.int32(example['label'])
            if example['label'] < 0:
                raise Unreadable('its label is not known: it is -1')
        if 'captions' in example:
            example['captions'] = tfds_features.texts(example['captions'])
        if 'semantic' in example:
            encoded = example.pop('semantic')
            if self._reading:
                image = example['image']
                example['semantic'] = tfds_masks.semantic(self._reading, encoded, image)
        if 'objects' in example:
            objects = example.pop('objects')
            example |= tfds_objects.example(example['image'], objects)
        return example


def _overlap(a, b) -> bool:
    """Whether two parts of files have an example in common."""
    if a.filename != b.filename:
        return False
    return a.skip < b.skip + b.take and b.skip < a.skip + a.take


def _listing(info: tfds.core.DatasetInfo, split: str) -> list[tuple]:
    """The files of a split and which examples of each it has."""
    return [
        (Path(file.filename).name, file.skip, file.take, file.examples_in_shard)
        for file in info.splits[split].file_instructions
    ]


def find(source: str, data_dir: str = '', others: Iterable[str] = ()) -> Path:
    """Find the folder of the newest prepared version of a dataset. Nothing is prepared.

    Args:
        source: `NAME[/CONFIG][:VERSION]` of TFDS. The version may have stars, as in 3.*.*.
        data_dir: the folder of datasets, '' for the default of TFDS ($TFDS_DATA_DIR or
            ~/tensorflow_datasets).
        others: what `data.source` may be besides a name of TFDS, for messages.

    Raises:
        UserError: There is no such dataset, or it has several prepared configurations
            and none is named. Or it is not prepared, and the message tells how to
            prepare it.
    """
    match = _NAME.fullmatch(source)
    if not match:
        raise UserError(
            f'data.source={source!r} is no data set: name one of TFDS (cifar10, '
            f'name/config:version), or one of {", ".join(others)}'
            f'{_did_you_mean(source.partition(":")[0], others)}'
        )
    name = match['name']
    config = match['config']
    version = match['version'] or '*.*.*'
    root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    prepared = [
        path.parent
        for path in sorted((root / name).glob('**/features.json'))
        if tfds.core.Version.is_valid(path.parent.name)
    ]
    matching = [
        folder
        for folder in prepared
        if _version(folder).match(version) and config in (None, folder.parent.name)
    ]
    if not matching:
        raise UserError(_how_to_prepare(source, name, root, prepared, others))
    if len({folder.parent for folder in matching}) > 1:
        configs = sorted({f'{name}/{folder.parent.name}' for folder in matching})
        raise UserError(
            f'{name} is prepared in several configurations; name one: '
            f'{", ".join(configs)}'
        )
    return max(matching, key=_version)


def _version(folder: Path) -> tfds.core.Version:
    return tfds.core.Version(folder.name)


def _how_to_prepare(
    source: str, name: str, root: Path, prepared: Sequence[Path], others: Iterable[str]
) -> str:
    """Why there is no folder of a dataset, and the command that prepares one.

    Args:
        source: as for `find`.
        name: the part of `source` that names a dataset of TFDS.
        root: the folder of datasets.
        prepared: the folders of other versions and configurations.
        others: as for `find`.
    """
    known = tfds.list_builders(with_community_datasets=False)
    present = ', '.join(str(folder.relative_to(root)) for folder in prepared)
    if name in known:
        only = ''
        if present:
            only = f', only {present}'
        return (
            f'{source} is not prepared in {root}{only}; prepare it once{_TOOLS}\n'
            f'    tfds build {source} --file_format=array_record '
            f'--data_dir={shlex.quote(str(root))}'
        )
    if present:
        return f'{source} is not in {root}, only {present}'
    return (
        f'{name} is no data set of TFDS, and {root} has no folder of that name'
        f'{_did_you_mean(name, [*known, *others])}'
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at similar names. The path in SCHEME:PATH does not count."""
    by_name = {candidate.partition(':')[0]: candidate for candidate in known}
    near = difflib.get_close_matches(name, by_name, n=3)
    if not near:
        return ''
    return f'; did you mean {" or ".join(by_name[name] for name in near)}?'


def _check_format(builder: tfds.core.DatasetBuilder, folder: Path) -> None:
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise UserError(
            f'{folder} holds {builder.info.file_format.value}, which cannot be read by row; '
            f'convert it once{_TOOLS}\n    tfds convert_format --out_file_format=array_record '
            f'--dataset_version_dir={shlex.quote(str(folder))}'
        )
