"""Configs: the fields that every run shares, reading a config file, overriding, comparing.

A config file is Python with `get_config(argument='')`; it starts from `default(task)` and sets only
what matters to it. Every field can be overridden on the command line (`--config.optimizer.lr=0.1`).
"""

import ast
import inspect
import math
import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import (
    COMMON,
    INTERVAL,
    Config,
    Field,
    Fields,
    by_path,
    defaults,
    is_declaration,
)
from jaxvision.core.registry import resolve
from jaxvision.core.types import Json, Value, Values

Made = TypeVar('Made')

# Fields that may differ when a run goes on in its old folder: they change where and how a run is
# carried out and what is written about it, not what is learned (on_corrupt: not up to where it is).
FREE_FIELDS = (
    'data.dir',
    'data.threads',
    'data.on_corrupt',
    'parallel.fsdp',
    'parallel.cpu_devices',
    'parallel.deterministic',
    'train.log_every',
    'train.checkpoint_every',
    'train.keep',
    'train.profile',
)


def declared(task: str) -> dict[str, Field]:
    """The declarations of a task's config: {'optimizer.lr': Field, ..., 'task.crop': Field}."""
    return {**by_path(COMMON), **by_path(_fields_of(task), 'task.')}


def _fields_of(task: str) -> Fields:
    module = resolve('tasks', task)
    task_fields = getattr(module, 'FIELDS', None)
    if not is_declaration(task_fields):
        raise UserError(
            f'{module.__name__}: expected FIELDS = {{name: Field(default, sentence)}}, the '
            "task's config fields. Give {} if it has none"
        )
    return task_fields


def default(task: str) -> Config:
    """The config of a task with the default of every field."""
    task_group = {'name': task, **defaults(_fields_of(task))}
    return ConfigDict({**defaults(COMMON), 'task': task_group}).lock()


def reference(config: Config) -> str:
    """Every field of a config with its value, its sentence, and its choices or bounds."""
    values = fields(config)
    lines = [f'  --config.task.name={config.task.name}', '      The task.']
    for name, field in declared(config.task.name).items():
        options = {
            path: value for path, value in values.items() if path.startswith(f'{name}.')
        }
        for path, value in (options or {name: values[name]}).items():
            is_open = isinstance(value, Mapping | ConfigDict)
            path = f'{path}.NAME=VALUE' if is_open else f'{path}={value}'
            lines.append(f'  --config.{path}')
        bounds = f' [{field.bounds}]' if field.bounds else ''
        lines.append(f'      {field.doc}{bounds}')
    return '\n'.join(lines)


def stored(values: Json) -> Config:
    """The config that a run has kept; fields that are newer than it have their defaults.

    Raises:
        UserError: it has a field that there no longer is.
    """
    try:
        config = default(values['task']['name'])
        with config.unlocked(), config.ignore_type():
            _lay_over(config, values, '')
        check(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            'config.json is damaged, or of another version of jaxvision '
            f'({type(error).__name__}: {error}). Train the run again'
        ) from error
    return config


def _lay_over(config: Config, values: Values, path: str) -> None:
    for name, value in values.items():
        if name == 'options':  # open, as `override` says
            config[name] = ConfigDict(dict(value))
        elif name not in config:
            raise UserError(
                f'a run of another version of jaxvision: there is no {path}{name} now'
            )
        elif isinstance(value, Mapping):
            _lay_over(config[name], value, f'{path}{name}.')
        else:
            config[name] = value


def installed() -> dict[str, Path]:
    """Return the config files that come with the package, by name."""
    package = Path(__file__).parents[1]
    folders = (
        package / 'configs',
        package.parent / 'configs',
    )  # A wheel's, a checkout's.
    folder = next(filter(Path.is_dir, folders), folders[0])
    return {path.stem: path for path in sorted(folder.glob('*.py'))}


def load(config_and_argument: str) -> Config:
    """Load a config, locked, from 'NAME', 'FILE.py', 'NAME:ARGUMENT' or 'FILE.py:ARGUMENT'.

    NAME is that of a file in `configs/`, which is installed with the package.

    Raises:
        UserError: There is no such config, or its `get_config` fails.
    """
    name, colon, argument = config_and_argument.partition(':')
    if colon and not argument:
        raise UserError(
            f"--config={config_and_argument}: expected an argument after ':'. Leave the "
            'colon out to use the default'
        )
    file = str(_file_of(name))
    try:
        module = runpy.run_path(file)
    except (SyntaxError, ImportError, NameError) as error:
        raise _mistake_in(file, error) from error
    if 'get_config' not in module:
        raise UserError(f'{file} has no function get_config(argument)')
    try:
        config = module['get_config'](*([argument] if argument else []))
    # A locked ConfigDict raises these.
    except (AttributeError, KeyError, NameError, TypeError) as error:
        raise _mistake_in(file, error) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f'{file}: get_config returned {type(config).__name__}, expected a config. '
            'Return what configs.default(task) gives'
        )
    return config.lock()


def _mistake_in(file: str, error: Exception) -> UserError:
    """An error of a user's file, with its last line in that file."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    line = getattr(error, 'lineno', None) or (lines[-1] if lines else '?')
    return UserError(f'{file}, line {line}: ' + ' '.join(str(error).split()))


def _file_of(name: str) -> Path:
    """Return the file of an installed config, or the path that is given instead of a name."""
    if not name.endswith('.py') and '/' not in name:
        names = installed()
        if name not in names:
            known = [*names, 'or a FILE.py of your own']
            raise unknown('there is no config', name, known)
        return names[name]
    if not Path(name).is_file():
        raise UserError(
            f'--config={name}: expected a file. Give the path of a FILE.py, or a name: '
            + ', '.join(installed())
        )
    return Path(name)


def overrides(arguments: list[str]) -> dict[str, str]:
    """{'optimizer.lr': '0.1'} of ['--config.optimizer.lr=0.1']."""
    found = {}
    for text in arguments:
        field, equals, value = text.partition('=')
        if not field.startswith('--config.') or not equals:
            raise UserError(
                f'what is {text!r}? A field is set with --config.FIELD=VALUE'
            )
        found[field.removeprefix('--config.')] = value
    return found


def override(config: Config, path: str, text: str) -> None:
    """Set the field at a dotted path from its text, in place; the field keeps its type."""
    *parents, name = path.split('.')
    node = config
    for i, parent in enumerate(parents):
        node = _child(node, parent, '.'.join(['config', *parents[:i]]))
    if (
        parents and parents[-1] == 'options'
    ):  # open: checked against a signature when it is used
        value = text if isinstance(node.get(name), str) else _literal(text)
        with node.unlocked(), node.ignore_type():
            node[name] = value
        return
    old = _child(node, name, '.'.join(['config', *parents]))
    if isinstance(old, ConfigDict):
        raise UserError(
            f'config.{path} is a group: set its fields, like --config.{path}.'
            f'{next(iter(old), "NAME")}=VALUE'
        )
    try:
        node[name] = _parse(text, old)
    except (ValueError, SyntaxError, KeyError):
        raise UserError(
            f'config.{path}={text}: expected {_kind(old)}, like {old!r}'
        ) from None


def check(config: Config) -> None:
    """Check every field against its declaration.

    Raises:
        UserError: A value is none of its field's choices, or out of its bounds.
    """
    values = fields(config)
    for name, field in declared(config.task.name).items():
        if name in values:
            field.check(name, values[name])
        # An open group of options is flattened into its entries.
        elif not any(path.startswith(f'{name}.') for path in values):
            raise UserError(f'{name}: the config has no such field')
    first, _, last = config.train.profile.partition(':')
    is_range = first.isdigit() and last.isdigit() and int(first) <= int(last)
    if first and not is_range:
        raise UserError(
            f'train.profile={config.train.profile}: write FIRST:LAST, like 100:105'
        )


def _child(node: Any, name: str, path: str) -> Any:
    names = list(node) if isinstance(node, ConfigDict) else []
    if name not in names:
        raise unknown(f'{path} has no field', name, names)
    return node[name]


def _parse(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    if isinstance(old, bool):
        return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
    return type(old)(text)


def _literal(text: str) -> Any:
    try:
        return {'true': True, 'false': False, 'none': None}[text.lower()]
    except KeyError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _kind(value: Any) -> str:
    return {bool: 'true or false', int: 'a whole number', float: 'a number'}[
        type(value)
    ]


def fields(config: Values | Config, prefix: str = '') -> dict[str, Value]:
    """{'a.b': value} of every leaf, in the config's order; an empty dict is a leaf."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, Mapping | Config) and value:
            flat |= fields(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = value
    return flat


def difference(old: Values, new: Values) -> dict[str, tuple[Value, Value]]:
    """{field: (old, new)} of every field in which two configs differ, by name."""
    old, new = fields(old), fields(new)
    return {
        name: (old.get(name, '(none)'), new.get(name, '(none)'))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    }


def in_examples(interval: str | int, batch_size: int, examples: int) -> int:
    """The number of training examples in an interval.

    Args:
        interval: '300' (steps), '2 epochs' or '5000 examples'.
        batch_size: examples of a step.
        examples: of the training split.
    """
    match = INTERVAL.fullmatch(str(interval))
    if not match:
        raise UserError(
            f'interval {interval!r}: expected a number of steps (300), "2 epochs" or '
            '"5000 examples"'
        )
    epochs, count, unit = match.groups()
    if epochs:
        return math.ceil(float(epochs) * examples)
    return int(count) * (1 if unit and unit.startswith('example') else batch_size)


def steps(interval: str | int, batch_size: int, examples: int) -> int:
    """The number of steps in an interval, rounded up, as `in_examples` takes it."""
    return -(-in_examples(interval, batch_size, examples) // batch_size)


def call(
    function: Callable[..., Made],
    what: str,
    *arguments: Any,
    options: Values | Config,
    **named: Any,
) -> Made:
    """Call a function with options that the user chose, checked against its signature.

    Args:
        function: called as `function(*arguments, **named, **options)`.
        what: what the function makes, for errors.
        *arguments: its first arguments.
        options: {name: value} of the config.
        **named: further arguments, which no option may set.

    Raises:
        UserError: The function has no such option, or an option has the wrong type.
    """
    parameters = list(inspect.signature(function).parameters.values())
    taken = {p.name for p in parameters[: len(arguments)]} | named.keys()
    parameters = parameters[len(arguments) :]
    known = {
        p.name: p.default
        for p in parameters
        if p.name not in named and p.kind is not p.VAR_KEYWORD
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name, value in options.items():
        if name in taken or name not in known and not takes_any:
            raise unknown(f'{what} has no option', name, known)
        default = known.get(name)
        if isinstance(default, bool | int | float | str) and not isinstance(
            value, (int, float) if type(default) is float else type(default)
        ):
            raise UserError(
                f'{what}: option {name}={value!r}, expected something like {default!r}'
            )
    return function(*arguments, **named, **options)
