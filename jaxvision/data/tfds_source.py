"""TFDS data sets, read by row from their prepared files: no TensorFlow, no data set's own code.

Only of videos TFDS's own feature imports TensorFlow, for the name of a type.
"""

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxvision.core.errors import UserError
from jaxvision.data.protocol import (
    Example,
    Labels,
    Rows,
    SourceInfo,
    Unreadable,
    fingerprint,
)

_EMBEDDED = (
    'digits',
    'mnist5k',
    'photos',
    'digit_pairs',
    'digit_scenes',
    'moving_digits',
)
_NAME = re.compile(r'(?P<name>\w+)(/(?P<config>[^:/]+))?(:(?P<version>[\d.*]+))?')

# TFDS 4.9.10 imports these in its command but does not depend on them.
_TOOLS = ' (pip install tensorflow apache-beam mlcroissant) with'


class Catalogue:
    """A prepared TFDS data set, from the folder of one of its versions."""

    def __init__(self, folder: Path):
        try:
            self._builder = tfds.builder_from_directory(folder)
        except (
            Exception
        ) as error:  # whatever is wrong in the files, the person needs their path
            raise UserError(f'cannot read the data set in {folder}: {error}') from error
        self._info = self._builder.info
        _check_format(self._builder, folder)
        self.splits = tuple(self._info.splits)

    def open(self, split: str) -> 'CatalogueSource':
        try:
            raw = self._builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except ValueError as error:
            raise self._no_split(split) from error
        return CatalogueSource(self._info, split, raw)

    def overlap(self, split: str, other: str) -> bool:
        return any(
            a.filename == b.filename
            and a.skip < b.skip + b.take
            and b.skip < a.skip + a.take
            for a in self._files(split)
            for b in self._files(other)
        )

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


class CatalogueSource:
    """A split of a TFDS data set: encoded images, or videos as lists of them, and their classes, or
    captions, or both."""

    def __init__(self, info: tfds.core.DatasetInfo, split: str, raw: Sequence[bytes]):
        self._raw = raw
        self._keys = _parts(info)
        features = {name: info.features[key] for name, key in self._keys.items()}
        kind = 'video' if 'video' in features else 'image'
        image, label = features[kind], features.get('label')
        if kind == 'video':
            # Texts are stored as encoded frames are; of a sequence no decoding can be skipped.
            features[kind] = tfds.features.Sequence(
                tfds.features.Text(), length=image.shape[0]
            )
        self._features = tfds.features.FeaturesDict(
            {key: features[name] for name, key in self._keys.items()}
        )
        self._decoders = (
            {self._keys[kind]: tfds.decode.SkipDecoding()}
            if isinstance(image, tfds.features.Image)
            else None
        )
        files = [
            (Path(file.filename).name, file.skip, file.take, file.examples_in_shard)
            for file in info.splits[split].file_instructions
        ]
        self.info = SourceInfo(
            name=info.full_name,
            split=split,
            class_names=_class_names(label),
            image_shape=_image_shape(image),
            multi_label=False,
            fingerprint=fingerprint(
                info.full_name, files, info.splits.total_num_examples
            ),
            holds=tuple(self._keys),
            frames=None if kind == 'video' else 0,
        )

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, row: int) -> Example:
        return self.read([row])[0]

    def read(self, rows: Rows) -> list[Example]:
        return [self._example(record) for record in self._records(rows)]

    def labels(self) -> Labels:
        self.info.check_holds('label')
        key = self._keys['label']
        label_only = tfds.features.FeaturesDict({key: self._features[key]})
        labels = np.empty(len(self), np.int32)
        for start in range(0, len(self), 1000):
            rows = range(start, min(start + 1000, len(self)))
            for row, record in zip(rows, self._records(rows)):
                labels[row] = label_only.deserialize_example_np(record)[key]
        return labels

    def where(self, row: int) -> str:
        return f'{self.info.name} {self.info.split}, row {row}'

    def _records(self, rows: Rows) -> list[bytes]:
        try:
            return self._raw.__getitems__([int(row) for row in rows])
        except (ValueError, RuntimeError, OSError) as error:
            raise Unreadable(f'its record is damaged ({error})') from error

    def _example(self, record: bytes) -> Example:
        parts = self._features.deserialize_example_np(record, decoders=self._decoders)
        example = {name: parts[key] for name, key in self._keys.items()}
        if 'label' in example:
            example['label'] = np.int32(example['label'])
        if 'captions' in example:
            example['captions'] = _texts(example['captions'])
        return example


def find(source: str, data_dir: str = '') -> Path:
    """The folder of the newest prepared version of `name[/config][:version]`.

    Args:
        source: a TFDS name; the version may have stars, as in 3.*.*.
        data_dir: where data sets are; '' is TFDS's own ($TFDS_DATA_DIR, or
            ~/tensorflow_datasets).
    Raises:
        UserError: no such name, or it is not prepared; the message says how to prepare it.
    """
    match = _NAME.fullmatch(source)
    if not match:
        raise UserError(
            f'data.source={source!r} is no data set: name one of TFDS (cifar10, '
            f'name/config:version), an embedded one ({", ".join(_EMBEDDED)}), '
            'folder:DIR, videos:DIR or captions:ANNOTATIONS.json'
        )
    name, config, version = match['name'], match['config'], match['version'] or '*.*.*'
    root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    there = [
        path.parent
        for path in sorted((root / name).glob('**/features.json'))
        if tfds.core.Version.is_valid(path.parent.name)
    ]
    wanted = [
        folder
        for folder in there
        if _version(folder).match(version) and config in (None, folder.parent.name)
    ]
    if not wanted:
        raise UserError(_how_to_prepare(source, name, root, there))
    if len({folder.parent for folder in wanted}) > 1:
        configs = ', '.join(
            sorted({f'{name}/{folder.parent.name}' for folder in wanted})
        )
        raise UserError(
            f'{name} is prepared in several configurations; name one: {configs}'
        )
    return max(wanted, key=_version)


def _version(folder: Path) -> tfds.core.Version:
    return tfds.core.Version(folder.name)


def _how_to_prepare(source: str, name: str, root: Path, there: Sequence[Path]) -> str:
    known = tfds.list_builders(with_community_datasets=False)
    found = ', '.join(str(folder.relative_to(root)) for folder in there)
    if name in known:
        return (
            f'{source} is not prepared in {root}{f", only {found}" if found else ""}; prepare '
            f'it once{_TOOLS}\n    tfds build {source} --file_format=array_record '
            f'--data_dir={shlex.quote(str(root))}'
        )
    if found:
        return f'{source} is not in {root}, only {found}'
    near = difflib.get_close_matches(name, [*known, *_EMBEDDED], n=3)
    guess = f'; did you mean {" or ".join(near)}?' if near else ''
    return (
        f'{name} is no data set of TFDS, and {root} has no folder of that name{guess}'
    )


def _check_format(builder: tfds.core.DatasetBuilder, folder: Path) -> None:
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise UserError(
            f'{folder} holds {builder.info.file_format.value}, which cannot be read by row; '
            f'convert it once{_TOOLS}\n    tfds convert_format --out_file_format=array_record '
            f'--dataset_version_dir={shlex.quote(str(folder))}'
        )


def _parts(info: tfds.core.DatasetInfo) -> dict[str, str]:
    """What an example has of 'image' or 'video', 'label' and 'captions', and which feature is each."""
    features = dict(info.features)
    captions = {'captions': 'captions'} if _is_text(features.get('captions')) else {}

    def kind(key):
        return 'video' if isinstance(features[key], tfds.features.Video) else 'image'

    pair = info.supervised_keys
    if pair and len(pair) == 2 and all(isinstance(key, str) for key in pair):
        image, label = pair
        if _is_image(features[image]) and isinstance(
            features[label], tfds.features.ClassLabel
        ):
            return {kind(image): image, 'label': label, **captions}
    images = [key for key in features if _is_image(features[key])]
    labels = [
        key for key in features if isinstance(features[key], tfds.features.ClassLabel)
    ]
    if len(images) == 1 and captions and not labels:
        return {kind(images[0]): images[0], **captions}
    if len(images) != 1 or len(labels) != 1:
        found = ', '.join(
            f'{key}: {type(features[key]).__name__}' for key in sorted(features)
        )
        raise UserError(
            f'{info.full_name} is no data set of one image or video and one class, or '
            f'of `captions`; its features are {found}'
        )
    return {kind(images[0]): images[0], 'label': labels[0], **captions}


def _is_text(feature) -> bool:
    """Whether it is a text, several, or several of which each has a `text`, as COCO's have."""
    each = getattr(feature, 'feature', feature)
    if isinstance(each, tfds.features.FeaturesDict):
        each = dict(each).get('text')
    return each is not None and np.dtype(each.np_dtype) == object


def _texts(captions) -> list[str]:
    texts = captions['text'] if isinstance(captions, dict) else captions
    return [text.decode() for text in ([texts] if isinstance(texts, bytes) else texts)]


def _is_image(feature) -> bool:
    """Or a video, which is a sequence of images."""
    if isinstance(feature, tfds.features.Video):
        return feature.np_dtype == np.uint8
    if not isinstance(feature, tfds.features.Image | tfds.features.Tensor):
        return False
    return feature.np_dtype == np.uint8 and len(feature.shape) == 3


def _image_shape(feature) -> tuple[int | None, int | None, int]:
    height, width, channels = feature.shape[-3:]
    return height, width, 1 if channels == 1 else 3


def _class_names(label: tfds.features.ClassLabel | None) -> tuple[str, ...]:
    if label is None:
        return ()
    return tuple(label.names or map(str, range(label.num_classes)))
