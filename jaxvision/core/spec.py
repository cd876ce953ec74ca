"""What a run knows of its data: shapes, class names, preprocessing, required networks.

A run's spec.json holds its `Spec`. A task adds what only it needs as a frozen dataclass
`Details` in its own module. Tuples of a dataclass come back from JSON as tuples.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jaxvision.core.errors import UserError
from jaxvision.core.types import Json

SCHEMA = 3  # of spec.json

ResizeRule = Literal[
    'none', 'pad', 'stretch', 'center_crop', 'central_square', 'shorter_side'
]
_RESIZED = {
    'none': 'as they are',
    'pad': 'padded',
    'stretch': 'stretched',
    'center_crop': 'the central 7/8 of the shorter side',
    'central_square': 'the central square',
}
# An instance of the frozen dataclass `Details` of a task, or None.
Details = Any


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """The shape and dtype of one example's array."""

    shape: tuple[int, ...]
    dtype: str = 'uint8'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input: resized, cropped, normalised.

    Attributes:
        size: (height, width) of the input, pixels.
        resize: how an image of another size is brought to `size`: 'none' (the dataset's
            images have it), 'pad' (zeros around it), 'stretch' (stretched), 'center_crop'
            (7/8 of the shorter side), 'central_square' (all of the shorter side), or
            'shorter_side' (to `shorter` pixels, then the central square).
        shorter: pixels of the shorter side before the crop; 0: the whole image is stretched.
        interpolation: of 'shorter_side': 'bilinear' or 'bicubic'.
        mean: per channel, of images in [0, 1]; empty: images are not normalised.
        std: per channel, likewise.
        recipe: name of the recipe of pretrained weights that this is, or ''.
    """

    size: tuple[int, int]
    resize: ResizeRule = 'none'
    shorter: int = 0
    interpolation: str = ''
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    recipe: str = ''

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError(
                f'mean {self.mean} and std {self.std}: expected one number per channel each, '
                'every std above 0'
            )

    @classmethod
    def of_dataset(
        cls, image_shape: Sequence[int | None], largest: int, resize: ResizeRule
    ) -> 'Preprocessing':
        """Keep images that have one size and are small; otherwise resize them to squares.

        Args:
            image_shape: (height, width, channels) of all images, None where they differ.
            largest: sides up to this are kept, pixels; the side of the squares otherwise.
            resize: how images of another size become squares.
        """
        height, width, _ = image_shape
        if height is None or width is None or max(height, width) > largest:
            return cls(size=(largest, largest), resize=resize)
        return cls(size=(height, width))

    def describe(self) -> str:
        """The preprocessing in one line, for the screen."""
        height, width = self.size
        if self.shorter:
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
        if self.mean:
            mean = ', '.join(f'{value:.3g}' for value in self.mean)
            std = ', '.join(f'{value:.3g}' for value in self.std)
            text += f'; mean {mean}, std {std}'
        return text

    def resize_in_words(self) -> str:
        """How images get their size, whatever it is, in words."""
        if self.resize != 'shorter_side':
            return _RESIZED[self.resize]
        if not self.shorter:
            return f'stretched, {self.interpolation}'
        kept = min(self.size) / self.shorter
        return f'the central {kept:.3g} of the shorter side, {self.interpolation}'

    def with_statistics(
        self, mean: Sequence[float], std: Sequence[float]
    ) -> 'Preprocessing':
        """Replace the mean and std, one number per channel."""
        return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))

    def resized(self, size: tuple[int, int]) -> 'Preprocessing':
        """The same for an input of another size, (height, width) in pixels."""
        return dataclasses.replace(self, size=size)

    def by_rule(self, resize: ResizeRule) -> 'Preprocessing':
        """The same by another rule than 'shorter_side', which alone has a recipe."""
        return dataclasses.replace(
            self, resize=resize, shorter=0, interpolation='', recipe=''
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network that a run requires.

    Attributes:
        config: the config that the network was trained with; empty where its weights are
            of another origin.
        spec: the spec of its run, or None.
        hash: of its variables; '' until they are known.
    """

    config: Json = dataclasses.field(default_factory=dict)
    spec: 'Spec | None' = None
    hash: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """What a run knows of its data.

    Attributes:
        inputs: what `Task.predict` takes, an example's arrays by name.
        targets: the other arrays of a training batch.
        class_names: in the order of the labels; empty where there are no classes.
        multi_label: whether an example has several labels.
        preprocessing: of the images or video frames; None where the task has its own way.
        examples: number of training examples.
        data: {split: fingerprint of its content}; 'validation' only if there is one.
        networks: the networks that the task requires, by name.
        initial: hash of the parameters that the run began with, '' if they were drawn.
        details: what only this task needs: an instance of its `Details`. Its `vocabulary`,
            if it has one, names the outputs of a task without classes.
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
        return dataclasses.replace(self, **changes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs: the classes, or the words of a vocabulary."""
        return self.class_names or getattr(self.details, 'vocabulary', ())

    def with_another_name(self) -> 'Spec':
        """The same spec with one class or word more, last."""
        another = '<another>'
        if self.class_names:
            return self.replace(class_names=(*self.class_names, another))
        vocabulary = (*self.details.vocabulary, another)
        return self.replace(
            details=dataclasses.replace(self.details, vocabulary=vocabulary)
        )

    def to_json(self) -> Json:
        """The spec as a dict that JSON holds, with the number of its schema."""
        return {'schema': SCHEMA, **_as_json(self)}


def from_json(value: Json, details_of: Callable[[str], type | None], task: str) -> Spec:
    """Read a spec from its JSON form.

    Args:
        value: as `Spec.to_json` returns it.
        details_of: `details_of(task name)`, the type of a task's details.
        task: the name of the run's task.

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
            f'spec.json is damaged, or of another version of jaxvision '
            f'({type(error).__name__}: {error}). Train the run again'
        ) from error


def _spec_from_json(
    value: Json, details_of: Callable[[str], type | None], task: str
) -> Spec:
    fields = {name: item for name, item in value.items() if name != 'schema'}
    networks = {
        name: NetworkSpec(
            config=network['config'],
            spec=_network_spec(network, details_of),
            hash=network['hash'],
        )
        for name, network in fields.pop('networks').items()
    }
    details = fields.pop('details')
    details_type = details_of(task)
    if details is not None and details_type is not None:
        details = _from_json(details_type, details)
    spec = _from_json(Spec, fields)
    return spec.replace(networks=networks, details=details)


def _network_spec(
    network: Json, details_of: Callable[[str], type | None]
) -> Spec | None:
    if network['spec'] is None:
        return None
    return from_json(network['spec'], details_of, network['config']['task']['name'])


def _as_json(value: Any) -> Any:
    """Dataclasses as dicts of their fields, tuples as lists."""
    if isinstance(value, Spec):
        fields = dataclasses.fields(value)
        plain = {field.name: _as_json(getattr(value, field.name)) for field in fields}
        networks = value.networks.items()
        plain['networks'] = {
            name: _network_as_json(network) for name, network in networks
        }
        return plain
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: _as_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _network_as_json(network: NetworkSpec) -> Json:
    spec = network.spec.to_json() if network.spec else None
    return {'config': network.config, 'spec': spec, 'hash': network.hash}


def _from_json(kind: Any, value: Any) -> Any:
    """The value of a type hint from its JSON form."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = [option for option in arguments if option is not type(None)]
        return None if value is None else _from_json(kind, value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f'{value!r} is no list')
        item = arguments[0]
        return tuple(_from_json(item, element) for element in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = arguments[1]
        return {name: _from_json(item, element) for name, element in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        arguments = {
            name: _from_json(hints[name], item) for name, item in value.items()
        }
        return kind(**arguments)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f'{value!r} is none of {", ".join(map(str, arguments))}')
    elif kind is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f'{value!r} is no number')
    elif kind in (str, int, bool) and type(value) is not kind:
        raise TypeError(f'{value!r} is no {kind.__name__}')
    return value
