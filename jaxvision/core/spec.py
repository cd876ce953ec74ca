"""The spec of a run: shapes, class names, preprocessing and required networks.

The file spec.json of a run holds its `Spec`. A task may add a frozen dataclass `Details`,
which is defined in the module of the task. Tuples survive the way through JSON.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Json

# Version of the format of spec.json.
SCHEMA = 3

ResizeRule = Literal[
    'none',
    'pad',
    'letterbox',
    'top_left',
    'stretch',
    'center_crop',
    'central_square',
    'shorter_side',
    'bounded',
    'unpadded',
]
_RESIZED = {
    'none': 'not resized',
    'pad': 'padded',
    'letterbox': 'resized with their aspect ratio and padded',
    'top_left': 'resized with their aspect ratio, at the top left of grey',
    'stretch': 'stretched',
    'center_crop': 'the central 7/8 of the shorter side',
    'central_square': 'the central square',
    'bounded': 'resized between a shorter and a longer side',
    'unpadded': 'resized between a shorter and a longer side, without padding',
}
# The rules by which the canvas depends on the image.
_SIZES_OF_IMAGES = ('bounded', 'unpadded')
# An instance of the frozen dataclass `Details` of a task, or None.
Details = Any
# `(task) -> the type of its details, or None`
DetailsOf = Callable[[str], type | None]


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """The shape, without a batch axis, and the NumPy dtype of one array of an example.

    Raises:
        ValueError: NumPy does not know the dtype.
    """

    shape: tuple[int, ...]
    dtype: str = 'uint8'

    def __post_init__(self) -> None:
        try:
            np.dtype(self.dtype)
        except TypeError:
            raise ValueError(
                f"dtype={self.dtype!r}: expected a dtype, such as 'uint8'"
            ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, crop and normalisation of an image before the network.

    Attributes:
        size: (height, width) of the network input, in pixels. For 'bounded' and 'unpadded':
            (the shorter side, most pixels of the longer one).
        resize: rule for images of another size. 'none': all images of the dataset have
            the size, and other images are stretched.
            'letterbox': the largest size with the same aspect ratio, grey around it.
            'top_left': the size of 'letterbox', without antialiasing, at the top left,
            with grey to the right and below. 'pad': zeros around a smaller image, which
            is not resized. 'stretch': without keeping the aspect ratio.
            'center_crop': the central square, whose side is 7/8 of the shorter side, is
            resized. 'central_square': its side is the whole shorter side.
            'shorter_side': the shorter side becomes `shorter`, then the centre is
            cropped. 'bounded': resize without antialiasing between the two sides of
            `size`, on a canvas that the image alone determines, with the mean to the
            right and below. 'unpadded': resize between the two sides by Pillow's
            bilinear filter, which antialiases; the canvas is the resized image.
        shorter: for 'shorter_side' only: the shorter side before the crop, in pixels;
            0: stretch the whole image without a crop.
        interpolation: 'bilinear' or 'bicubic', for 'shorter_side' only; otherwise ''.
        mean: mean per channel of images in [0, 1]; empty: no normalisation.
        std: std per channel of images in [0, 1]; empty: no normalisation.
        recipe: name of the preprocessing recipe of pretrained weights, or ''.
        contrast: whether the values of each image are stretched to the whole range before
            everything else, see `image.contrast`.
        window: the centre and the width of the values of volumes and of DICOM files that
            become black to white, before everything else; empty: by the file.

    Raises:
        ValueError: `mean` and `std` differ in length, or a std is not above 0.
    """

    size: tuple[int, int]
    resize: ResizeRule = 'none'
    shorter: int = 0
    interpolation: str = ''
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    recipe: str = ''
    contrast: bool = False
    window: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError(
                f'mean={self.mean}, std={self.std}: expected one number per channel in each, '
                'and every std above 0'
            )

    @classmethod
    def of_dataset(
        cls, image_shape: Sequence[int | None], largest: int, resize: ResizeRule
    ) -> 'Preprocessing':
        """Keep small images of one size, and resize all other images to squares.

        Args:
            image_shape: (height, width, channels) of all images; None where they differ.
            largest: longest side that is kept, and side of the squares, in pixels.
            resize: rule by which other images become squares.

        Returns:
            The preprocessing, without mean and std. Its rule is 'none' for images of
            one size whose sides are at most `largest`.
        """
        height, width, _ = image_shape
        if height is None or width is None or max(height, width) > largest:
            return cls(size=(largest, largest), resize=resize)
        return cls(size=(height, width))

    @property
    def fixes_canvas(self) -> bool:
        """Whether all images get a canvas of one size."""
        return self.resize not in _SIZES_OF_IMAGES

    def describe(self) -> str:
        """Describe the preprocessing in one line, for the screen."""
        height, width = self.size
        if not self.fixes_canvas:
            text = f'shorter side to {height}, longer side to at most {width}'
        elif self.shorter:
            text = (
                f'shorter side to {self.shorter}, central {height}x{width}, '
                f'{self.interpolation}'
            )
        elif self.interpolation:
            text = f'stretched to {height}x{width}, {self.interpolation}'
        else:
            text = f'{height}x{width}, {_RESIZED[self.resize]}'
        if self.recipe:
            text = f'{self.recipe}: {text}'
        if self.contrast:
            text += '; contrast stretched'
        if self.window:
            center, width = self.window
            text += f'; values around {center:g}, {width:g} wide'
        if self.mean:
            mean = ', '.join(f'{value:.3g}' for value in self.mean)
            std = ', '.join(f'{value:.3g}' for value in self.std)
            text += f'; mean {mean}, std {std}'
        return text

    def resize_in_words(self) -> str:
        """Describe the rule of resizing, not the size, such as 'stretched, bicubic'."""
        if self.resize != 'shorter_side':
            return _RESIZED[self.resize]
        if not self.shorter:
            return f'stretched, {self.interpolation}'
        kept = min(self.size) / self.shorter
        return f'the central {kept:.3g} of the shorter side, {self.interpolation}'

    def with_statistics(
        self, mean: Sequence[float], std: Sequence[float]
    ) -> 'Preprocessing':
        """Copy this preprocessing with another mean and std, one number per channel."""
        return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))

    def resized(self, size: tuple[int, int]) -> 'Preprocessing':
        """Copy this preprocessing for another size, (height, width) in pixels.

        Everything else stays, `shorter` and `recipe` too, whatever the size.
        """
        return dataclasses.replace(self, size=size)

    def by_rule(self, resize: ResizeRule) -> 'Preprocessing':
        """Copy this preprocessing with another rule than 'shorter_side'.

        Size, mean and std stay. The copy has no `recipe`, `shorter` and
        `interpolation`.
        """
        return dataclasses.replace(
            self, resize=resize, shorter=0, interpolation='', recipe=''
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network that a run requires.

    Attributes:
        config: the config of the run that trained the network; empty for weights that no
            run trained.
        spec: the spec of that run, or None.
        hash: hash of the variables; '' until they are read.
    """

    config: Json = dataclasses.field(default_factory=dict)
    spec: 'Spec | None' = None
    hash: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """The typed description of the data and the networks of a run.

    Attributes:
        inputs: {name: array of one example} of the inputs of `Task.predict`.
        targets: {name: array of one example} of the other arrays of a training batch.
        class_names: names of the classes in the order of the labels; empty: no classes.
        multi_label: whether an example has several labels.
        preprocessing: preprocessing of the images or video frames; None for a task without
            any, such as super_resolution.
        examples: number of training examples.
        data: {split: fingerprint of its content}. 'validation' is there only if it exists.
        networks: {name: network} of the networks that the task requires.
        initial: hash of the parameters that `train.init_from` set; '' for random parameters.
        details: an instance of the `Details` of the task, or None. A `vocabulary` in it names
            the outputs of a task without classes.
    """

    inputs: Mapping[str, ArraySpec]
    targets: Mapping[str, ArraySpec]
    class_names: tuple[str, ...] = ()
    multi_label: bool = False
    preprocessing: Preprocessing | None = None
    examples: int = 0
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    networks: Mapping[str, NetworkSpec] = dataclasses.field(default_factory=dict)
    initial: str = ''
    details: Details = None

    def replace(self, **changes: Any) -> 'Spec':
        """Copy the spec with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs: classes, else the words of a vocabulary, else ()."""
        return self.class_names or getattr(self.details, 'vocabulary', ())

    def with_another_name(self) -> 'Spec':
        """Copy the spec with one more class or word, '<another>', at the end.

        Without classes the vocabulary grows. One of the two must exist.
        """
        another = '<another>'
        if self.class_names:
            return self.replace(class_names=(*self.class_names, another))
        vocabulary = (*self.details.vocabulary, another)
        return self.replace(
            details=dataclasses.replace(self.details, vocabulary=vocabulary)
        )

    def to_json(self) -> Json:
        """Convert the spec to a JSON object; 'schema' is the version of its form."""
        return {'schema': SCHEMA, **_as_json(self)}


def from_json(value: Json, details_of: DetailsOf, task: str) -> Spec:
    """Read a spec from its JSON form.

    Args:
        value: the result of `Spec.to_json`.
        details_of: `details_of(task)`, the type of the details of a task, or None.
        task: the name of the task.

    Returns:
        The spec, with lists converted back to tuples.

    Raises:
        UserError: The spec is damaged, or another version of jaxvision wrote it.
    """
    if value.get('schema') != SCHEMA:
        raise UserError(
            f'spec.json has schema {value.get("schema")}: expected {SCHEMA}. '
            'Another version of jaxvision wrote this run; train it again'
        )
    try:
        return _spec_from_json(value, details_of, task)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'spec.json is damaged, or of another version of jaxvision ({error}). Restore '
            'the file, or train the run again'
        ) from error


def _spec_from_json(value: Json, details_of: DetailsOf, task: str) -> Spec:
    missing = {field.name for field in dataclasses.fields(Spec)} - value.keys()
    if missing:
        raise ValueError(f'it has no {", ".join(sorted(missing))}')
    fields = {name: item for name, item in value.items() if name != 'schema'}
    networks = {
        name: _network_from_json(network, details_of)
        for name, network in fields.pop('networks').items()
    }
    details = fields.pop('details')
    details_type = details_of(task)
    if details is not None and details_type is not None:
        details = _from_json(details_type, details, 'details')
    spec = _from_json(Spec, fields, '')
    return spec.replace(networks=networks, details=details)


def _network_from_json(network: Json, details_of: DetailsOf) -> NetworkSpec:
    is_network = {'config', 'spec', 'hash'} <= set(network)
    _require(is_network, 'networks', network, 'objects with config, spec and hash')
    spec = None
    if network['spec'] is not None:
        task = network['config']['task']['name']
        spec = from_json(network['spec'], details_of, task)
    return NetworkSpec(config=network['config'], spec=spec, hash=network['hash'])


def _as_json(value: Any) -> Any:
    """Convert dataclasses to dicts of their fields, and tuples to lists."""
    if isinstance(value, NetworkSpec):
        spec = value.spec.to_json() if value.spec else None
        return {'config': value.config, 'spec': spec, 'hash': value.hash}
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: _as_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _from_json(kind: Any, value: Any, path: str) -> Any:
    """Convert a value from its JSON form to a type.

    Args:
        kind: the type hint.
        value: the JSON form.
        path: the dotted field of spec.json, for messages.
    """
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else _from_json(inner, value, path)
    if origin is tuple:
        _require(isinstance(value, list), path, value, 'a list')
        return tuple(_from_json(arguments[0], item, path) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), path, value, 'an object')
        return {
            name: _from_json(arguments[1], item, _joined(path, name))
            for name, item in value.items()
        }
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _require(isinstance(value, Mapping), path, value, 'an object')
        return _dataclass_from_json(kind, value, path)
    if origin is Literal:
        _require(value in arguments, path, value, ' or '.join(map(repr, arguments)))
    elif kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(is_number, path, value, 'a number')
    elif kind in (str, int, bool):
        _require(type(value) is kind, path, value, f'a value of type {kind.__name__}')
    return value


def _dataclass_from_json(kind: Any, value: Json, path: str) -> Any:
    hints = typing.get_type_hints(kind)
    for name in value:
        _require(name in hints, _joined(path, name), value[name], 'no such field')
    arguments = {
        name: _from_json(hints[name], item, _joined(path, name))
        for name, item in value.items()
    }
    try:
        return kind(**arguments)
    # A missing field, or values that do not fit together.
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path or "spec"}: {error}') from error


def _require(is_right: bool, path: str, value: Any, expected: str) -> None:
    if not is_right:
        shown = json.dumps(value)[:80]
        raise ValueError(f'{path}={shown}: expected {expected}')


def _joined(path: str, name: str) -> str:
    return f'{path}.{name}'.lstrip('.')
