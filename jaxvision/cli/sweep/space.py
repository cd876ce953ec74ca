"""The search space of a sweep: the values that each config field may take."""

import dataclasses
import decimal
import json
import math
import re

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import Value, Values

# {field: value} of one trial.
Point = dict[str, Value]

# Fields that decide what is measured. Metrics of different values are not comparable.
FIXED = (
    'task.name',
    'data.source',
    'data.train_split',
    'data.validation',
    'data.test_split',
    'train.best',
)
# The largest number of whole numbers of a field that are all checked.
MOST_CHECKED = 1000
_RANGE = re.compile(r'(log|uniform|int|range)\((.*)\)')
_FORMS = 'a,b,c or a JSON list, or log(a,b), uniform(a,b), int(a,b), range(a,b,step)'


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field with a list of values, in the order of the user.

    Attributes:
        values: the values, without repetition.
    """

    values: tuple[Value, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    def at(self, fraction: float) -> Value:
        """The value at a fraction in [0, 1) of the list."""
        return self.values[min(int(fraction * self.size), self.size - 1)]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A field with any number between two bounds.

    Attributes:
        low: the smallest value.
        high: the largest value.
        is_log: whether logarithms of the values are spread evenly.
    """

    low: float
    high: float
    is_log: bool

    @property
    def size(self) -> None:
        """None: there are more values than a sweep can try."""
        return None

    def at(self, fraction: float) -> float:
        """The value at a fraction in [0, 1) of the interval."""
        if self.is_log:
            low = math.log(self.low)
            value = math.exp(low + fraction * (math.log(self.high) - low))
        else:
            value = self.low + fraction * (self.high - self.low)
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A field with any whole number between two bounds, both included.

    Attributes:
        low: the smallest value.
        high: the largest value.
    """

    low: int
    high: int

    @property
    def size(self) -> int:
        """Number of values."""
        return self.high - self.low + 1

    def at(self, fraction: float) -> int:
        """The value at a fraction in [0, 1) of the numbers."""
        return min(self.low + int(fraction * self.size), self.high)


Dimension = Choice | Interval | Whole
# {field: its values}, in the order of the user.
Space = dict[str, Dimension]


def read(config: Config, texts: Values) -> Space:
    """Read a search space, and check its values against the declarations of the fields.

    Every choice is checked, and both ends of every range.

    Args:
        config: the config that the sweep starts from.
        texts: {field: values} in a form of the command line, such as 'log(1e-4,1e-2)'
            or 'sgd,adamw'. A list is taken as choices.

    Raises:
        UserError: The space is empty, a field does not exist or may not be swept, the
            values have no such form, or a value is not allowed.
    """
    if not texts:
        raise UserError(
            'the search space is empty: expected a field to search over. Give '
            "--sweep.FIELD=VALUES, such as --sweep.optimizer.lr='log(1e-4,1e-2)'."
        )
    declared = configs.declared(config.task.name)
    space = {}
    for field, text in texts.items():
        _check_field(field)
        try:
            dimension = _dimension(config, field, text)
            if field in declared:
                for value in _checked_values(config, field, dimension):
                    declared[field].check(field, value)
        except UserError as error:
            problem = str(error).rstrip('.')
            raise UserError(f'--sweep.{field}={text}: {problem}.') from None
        space[field] = dimension
    return space


def _check_field(field: str) -> None:
    """Refuse fields that change no result, or change what is measured."""
    if field in FIXED:
        raise UserError(
            f'--sweep.{field}: expected a field that leaves the data and the metric as they '
            f'are. Run one sweep for each value of --config.{field}.'
        )
    if field in configs.FREE_FIELDS:
        raise UserError(
            f'--sweep.{field}: expected a field that changes the result. Set '
            f'--config.{field} instead.'
        )


def _dimension(config: Config, field: str, text: Value) -> Dimension:
    """Read the values of one field."""
    if isinstance(text, list | tuple):
        return _choice(config, field, list(text))
    if not isinstance(text, str):
        raise UserError(f'expected {_FORMS}')
    text = text.strip()
    match = _RANGE.fullmatch(text)
    if match:
        return _of_range(config, field, match[1], match[2])
    if not text.startswith('['):
        return _choice(config, field, text.split(','))
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f'expected a JSON list: {error}') from None
    return _choice(config, field, values)


def _of_range(config: Config, field: str, kind: str, inside: str) -> Dimension:
    """Read log(a,b), uniform(a,b), int(a,b) or range(a,b,step)."""
    parts = [part.strip() for part in inside.split(',')]
    expected = {'range': 'range(a,b,step)'}.get(kind, f'{kind}(a,b)')
    try:
        numbers = [decimal.Decimal(part) for part in parts]
    except decimal.InvalidOperation:
        raise UserError(f'expected {expected} with numbers') from None
    count = 3 if kind == 'range' else 2
    if len(numbers) != count or not all(number.is_finite() for number in numbers):
        raise UserError(f'expected {expected} with finite numbers')
    if numbers[0] >= numbers[1]:
        raise UserError(f'expected {expected} with a < b')
    if kind == 'range':
        return _choice(config, field, _steps(*numbers))
    low, high = numbers[:2]
    if kind == 'int':
        if low % 1 or high % 1:
            raise UserError('expected int(a,b) with whole numbers')
        return Whole(int(low), int(high))
    if kind == 'log' and low <= 0:
        raise UserError('expected log(a,b) with a > 0')
    return Interval(float(low), float(high), kind == 'log')


def _steps(
    low: decimal.Decimal, high: decimal.Decimal, step: decimal.Decimal
) -> list[str]:
    """List the numbers from `low` to `high`, which is included, in exact decimals."""
    if step <= 0:
        raise UserError('expected range(a,b,step) with step > 0')
    count = int((high - low) / step) + 1
    if count > MOST_CHECKED:
        raise UserError(f'expected at most {MOST_CHECKED} numbers. Use uniform(a,b)')
    return [str(low + place * step) for place in range(count)]


def _choice(config: Config, field: str, values: list[Value]) -> Choice:
    """Convert values to the type of a field, and refuse repeated ones."""
    converted = []
    for value in values:
        text = value.strip() if isinstance(value, str) else value_text(value)
        typed = typed_value(config, field, text)
        if typed in converted:
            raise UserError(f'expected each value once, and {text} stands twice')
        converted.append(typed)
    if not converted:
        raise UserError(f'expected at least one value: {_FORMS}')
    return Choice(tuple(converted))


def _checked_values(config: Config, field: str, dimension: Dimension) -> list[Value]:
    """List the values that are checked, in the type of the field."""
    if isinstance(dimension, Choice):
        return list(dimension.values)
    ends = [dimension.low, dimension.high]
    if isinstance(dimension, Whole) and dimension.size <= MOST_CHECKED:
        ends = list(range(dimension.low, dimension.high + 1))
    return [typed_value(config, field, value_text(end)) for end in ends]


def value_text(value: Value) -> str:
    """Write a value as on the command line. A float is exact, to its last bit."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


def plain(dimension: Dimension, value: Value) -> bool | int | float | str:
    """A value that other programs can store.

    Args:
        dimension: the values of its field.
        value: one of them.

    Returns:
        The value itself. Its text if it is a list or the like, and where the types of a
        choice are mixed.
    """
    is_mixed = False
    if isinstance(dimension, Choice):
        is_mixed = len({type(each) for each in dimension.values}) > 1
    if is_mixed or not isinstance(value, bool | int | float | str):
        return value_text(value)
    return value


def typed_value(config: Config, field: str, text: str) -> Value:
    """Convert a text to the type of a field, as `--config.FIELD=TEXT` does.

    Raises:
        UserError: There is no such field, or the text is no value of its type.
    """
    copy = config.copy_and_resolve_references().lock()
    configs.override(copy, field, text)
    return value_at(copy, field)


def value_at(config: Config, field: str) -> Value:
    """The value of a field, or a group of fields, by its dotted name."""
    for name in field.split('.'):
        config = config[name]
    return config


def with_point(config: Config, point: Point) -> Config:
    """Make a locked copy of a config with the values of a trial."""
    copy = config.copy_and_resolve_references().lock()
    for field, value in point.items():
        configs.override(copy, field, value_text(value))
    return copy
