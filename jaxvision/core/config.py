"""Configs: load a config file, override fields, check, compare, and restore from a run.

A config file is Python with a function `get_config(argument='')`. The function starts from
`default(task)` and sets only the fields that matter to it. The command line can override every
field, such as `--config.optimizer.lr=0.1`.
"""

import difflib
import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.field_texts import KINDS, literal, parse
from jaxvision.core.fields import (
    AUTO,
    COMMON,
    Config,
    Field,
    Fields,
    by_path,
    defaults,
    is_declaration,
)
from jaxvision.core.registry import resolve
from jaxvision.core.types import Json, Value, Values

# Fields that may change when a run resumes. They decide where and how the run is executed and
# what is written, but not what is learned. (data.on_corrupt: not up to the resumed step.)
FREE_FIELDS = (
    'data.dir',
    'data.images',
    'data.threads',
    'data.on_corrupt',
    'parallel.fsdp',
    'parallel.cpu_devices',
    'parallel.deterministic',
    'parallel.memory',
    'train.log_every',
    'train.checkpoint_every',
    'train.keep',
    'train.profile',
)


def declared(task: str) -> dict[str, Field]:
    """Collect the declarations of all fields of a config, by dotted path.

    The fields of every run come first, then the fields of the task as 'task.NAME'.
    `task.name` itself is not declared.

    Raises:
        UserError: There is no such task, or its module declares no `FIELDS`.
    """
    return {**by_path(COMMON), **by_path(_fields_of(task), 'task.')}


def _fields_of(task: str) -> Fields:
    module = resolve('tasks', task)
    task_fields = getattr(module, 'FIELDS', None)
    if not is_declaration(task_fields):
        raise UserError(
            f'{module.__name__}: expected FIELDS = {{name: Field(default, sentence)}}, the '
            'config fields of the task. Write FIELDS = {} if the task has none'
        )
    return task_fields


def default(task: str) -> Config:
    """Make the config of a task with the default of every field, locked.

    A locked config takes no new fields. The field `task.name` is the given task.

    Raises:
        UserError: There is no such task, or its module declares no `FIELDS`.
    """
    task_group = {'name': task, **defaults(_fields_of(task))}
    return ConfigDict({**defaults(COMMON), 'task': task_group}).lock()


def reference(config: Config) -> str:
    """List the fields of a config with value, sentence and bounds, for `--help`.

    Returns:
        Lines of text. Each field has its value, sentence, and choices or bounds.
    """
    values = fields(config)
    lines = [f'  --config.task.name={config.task.name}', '      The task.']
    for name, field in declared(config.task.name).items():
        # An open group of options is flattened into its entries.
        entries = {
            path: value for path, value in values.items() if path.startswith(f'{name}.')
        }
        if not entries:
            entries[name] = values[name]
        for path, value in entries.items():
            if isinstance(value, Mapping | ConfigDict):
                lines.append(f'  --config.{path}.NAME=VALUE')
            else:
                lines.append(f'  --config.{path}={value}')
        sentence = field.doc
        if field.bounds:
            sentence += f' [{field.bounds}]'
        lines.append(f'      {sentence}')
    return '\n'.join(lines)


def stored(values: Json) -> Config:
    """Restore the config of a run from its JSON form, locked and checked.

    Fields that are newer than the run get their defaults.

    Raises:
        UserError: The config is damaged, has a field that no longer exists, or a value
            that is out of bounds.
    """
    try:
        config = default(values['task']['name'])
        with config.unlocked(), config.ignore_type():
            _update(config, values, '')
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            'config.json is damaged, or of another version of jaxvision '
            f'({type(error).__name__}: {error}). Restore the file, or train the run again'
        ) from error
    try:
        # A trial of a sweep is stored before it is trained.
        check(config, can_be_found=True)
    except UserError as error:
        problem = str(error).rstrip('.')
        raise UserError(
            f'config.json: {problem}. Restore the file, or train the run again'
        ) from error
    return config


def _update(config: Config, values: Values, path: str) -> None:
    """Set the fields of a config from nested mappings, in place."""
    for name, value in values.items():
        if name == 'options':  # An open group, as in `override`.
            config[name] = ConfigDict(dict(value))
        elif name not in config:
            raise UserError(
                'config.json is of another version of jaxvision: there is no field '
                f'{path}{name} now. Train the run again'
            )
        elif isinstance(config[name], ConfigDict):
            if not isinstance(value, Mapping):
                raise TypeError(f'{path}{name}={value!r}: expected a group of fields')
            _update(config[name], value, f'{path}{name}.')
        else:
            config[name] = value


def installed() -> dict[str, Path]:
    """Find the config files that come with the package: {name without .py: file}."""
    package = Path(__file__).parents[1]
    in_wheel = package / 'configs'
    in_checkout = package.parent / 'configs'
    folder = in_wheel
    if not in_wheel.is_dir() and in_checkout.is_dir():
        folder = in_checkout
    return {path.stem: path for path in sorted(folder.glob('*.py'))}


def load(config_and_argument: str) -> Config:
    """Load a config by running its Python file.

    Args:
        config_and_argument: 'NAME', 'FILE.py', 'NAME:ARGUMENT' or 'FILE.py:ARGUMENT'. NAME is
            an installed config. ARGUMENT is passed to `get_config`.

    Returns:
        The config, locked. Its values are not checked yet; `check` does this.

    Raises:
        UserError: There is no such config, or the text after ':' is empty. Or the file
            has no `get_config`, or `get_config` returns no config. A mistake of the
            file, such as a SyntaxError or NameError, is named with its line. Other
            errors of the file pass unchanged.
    """
    name, colon, argument = config_and_argument.partition(':')
    if colon and not argument:
        raise UserError(
            f"--config={config_and_argument}: expected an argument after ':'. Leave the "
            'colon out to use the default'
        )
    file = str(_file_of(name))
    arguments = [argument] if argument else []
    functions = _functions(file)
    if 'get_config' not in functions:
        raise UserError(
            f"{file} has no function get_config. Define get_config(argument=''), which "
            'returns a config'
        )
    config = _call(file, functions['get_config'], *arguments)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f'{file}: get_config returned {type(config).__name__}, expected a config. '
            'Return the config that configs.default(task) makes'
        )
    return config.lock()


def load_sweep(config_and_argument: str) -> dict[str, Value]:
    """Call the function `sweep` of a config file, which declares a search space.

    Args:
        config_and_argument: as for `load`. The argument is not used.

    Returns:
        {field: values}, as the function returns it; {} without such a function.

    Raises:
        UserError: There is no such config, or its file has a mistake.
    """
    file = str(_file_of(config_and_argument.partition(':')[0]))
    functions = _functions(file)
    if 'sweep' not in functions:
        return {}
    space = _call(file, functions['sweep'])
    if not isinstance(space, dict):
        kind = type(space).__name__
        raise UserError(f'{file}: sweep returned {kind}, expected {{field: values}}')
    return space


def _functions(file: str) -> dict[str, Any]:
    """Run a config file and return everything that it defines, by name."""
    try:
        return runpy.run_path(file)
    except (SyntaxError, ImportError, NameError) as error:
        raise _mistake_in(file, error) from error


def _call(file: str, function: Callable[..., Any], *arguments: str) -> Any:
    """Call a function of a config file, and name the line of a mistake in it."""
    try:
        return function(*arguments)
    except UserError:
        raise
    # A locked ConfigDict raises AttributeError, KeyError and TypeError.
    except (AttributeError, KeyError, NameError, TypeError, ValueError) as error:
        raise _mistake_in(file, error) from error


def _mistake_in(file: str, error: Exception) -> UserError:
    """Make the error for a mistake in a user's file, with the line of the mistake."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    line = getattr(error, 'lineno', None)
    if not line and lines:
        line = lines[-1]
    message = ' '.join(str(error).split())
    return UserError(f'{file}, line {line or "?"}: {message}')


def _file_of(name: str) -> Path:
    """Find the file of an installed config, or check the path of another one."""
    if not name.endswith('.py') and '/' not in name:
        names = installed()
        if name not in names:
            known = [*names, 'or the path of a FILE.py']
            raise unknown('there is no config', name, known)
        return names[name]
    if not Path(name).is_file():
        raise UserError(
            f'--config={name}: expected a file. Give the path of a FILE.py, or a name: '
            + ', '.join(installed())
        )
    return Path(name)


def overrides(arguments: list[str]) -> dict[str, str]:
    """Parse ['--config.optimizer.lr=0.1'] as {'optimizer.lr': '0.1'}.

    The values stay text. The last value of a repeated field counts.

    Raises:
        UserError: An argument has another form. Names of fields are not checked.
    """
    values = {}
    for argument in arguments:
        field, equals, value = argument.partition('=')
        if not field.startswith('--config.') or not equals:
            raise UserError(
                f'{argument}: expected --config.FIELD=VALUE, or an argument of this '
                'command. Run with --help to see the arguments'
            )
        values[field.removeprefix('--config.')] = value
    return values


def override(config: Config, path: str, text: str) -> None:
    """Set one field of a config from text, in place. The field keeps its type.

    A group `options` is open: it takes any NAME. An option that was text stays text.
    Other options are read as Python literals, or as true, false or none, where they can
    be. Choices and bounds are not checked here.

    Args:
        config: the config.
        path: the dotted name of the field, such as 'optimizer.lr'.
        text: the value, as written on the command line. A bool is true, false, 1 or 0.

    Raises:
        UserError: There is no such field, it is a group, or the text is no value of its
            type.
    """
    *parents, name = path.split('.')
    group = config
    for depth, parent in enumerate(parents):
        group = _child(config, group, parents[:depth], parent, path)
    # A group of options is open. The options are checked when the model is built.
    if parents and parents[-1] == 'options':
        value = text if isinstance(group.get(name), str) else literal(text)
        with group.unlocked(), group.ignore_type():
            group[name] = value
        return
    old = _child(config, group, parents, name, path)
    if isinstance(old, ConfigDict):
        first_name = next(iter(old), 'NAME')
        raise UserError(
            f'config.{path} is a group: set its fields, such as '
            f'--config.{path}.{first_name}=VALUE'
        )
    field = declared(config.task.name).get(path)
    if field and field.can_be_found:
        # The value may be a number now and the text `AUTO` before, or the other way round.
        old = AUTO if text == AUTO else field.default
    try:
        value = parse(text, old)
    except (ValueError, SyntaxError, KeyError):
        other = f', or {AUTO}' if field and field.can_be_found else ''
        raise UserError(
            f'config.{path}={text}: expected {KINDS[type(old)]}, like {old!r}{other}'
        ) from None
    with group.ignore_type():
        group[name] = value


def _child(
    config: Config, group: Value, parents: list[str], name: str, path: str
) -> Value:
    """Look up a field of a group; a missing one is an error with the nearest name."""
    names = list(group) if isinstance(group, ConfigDict) else []
    if name in names:
        return group[name]
    parent = '.'.join(['config', *parents])
    elsewhere = _same_last_name(config, path)
    if elsewhere:
        raise UserError(
            f'{parent} has no field {name!r}; did you mean {elsewhere!r}? '
            f'Set --config.{elsewhere}=VALUE'
        )
    raise unknown(f'{parent} has no field', name, names)


def _same_last_name(config: Config, path: str) -> str:
    """Find the field of another group with the last name of a path; '' if there is none."""
    last_name = path.rpartition('.')[2]
    same = [field for field in fields(config) if field.rpartition('.')[2] == last_name]
    nearest = difflib.get_close_matches(path, same, 1, 0)
    return nearest[0] if nearest else ''


def check(config: Config, can_be_found: bool = False) -> None:
    """Check every declared field against its declaration.

    Fields without a declaration pass, and so do all `options`.

    Args:
        config: the config.
        can_be_found: whether a field may have the value 'auto', because training follows,
            which finds its number.

    Raises:
        UserError: A field is missing, or a value is no choice, out of bounds or of a
            wrong form. Or there is no such task.
    """
    values = fields(config)
    for name, field in declared(config.task.name).items():
        if name in values:
            field.check(name, values[name])
            if values[name] == AUTO and field.can_be_found and not can_be_found:
                raise UserError(
                    f'{name}={AUTO}: expected a number, because only `jaxvision train` and '
                    f'trials of a sweep find one. Set --config.{name}=NUMBER'
                )
        # An open group of options is flattened into its entries.
        elif not any(path.startswith(f'{name}.') for path in values):
            raise UserError(
                f'{name}: the config has no such field. Make the config by '
                'configs.default(task)'
            )
    _check_profile(config.train.profile)


def _check_profile(profile: str) -> None:
    if not profile:
        return
    first, _, last = profile.partition(':')
    is_range = first.isdigit() and last.isdigit()
    if not is_range or int(first) > int(last):
        raise UserError(
            f'train.profile={profile}: expected FIRST:LAST, two steps in their order, such '
            'as 100:105'
        )


def fields(config: Values | Config, prefix: str = '') -> dict[str, Value]:
    """Flatten a config to {'a.b': value}, in order. An empty group is kept as a value.

    Args:
        config: a config, or nested mappings.
        prefix: text before every name, such as 'task.'.
    """
    flat = {}
    for name, value in config.items():
        if isinstance(value, Mapping | Config) and value:
            flat |= fields(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = value
    return flat


def difference(old: Values, new: Values) -> dict[str, tuple[Value, Value]]:
    """Compare two configs: {field: (old value, new value)} where they differ.

    Fields are dotted and sorted by name. A field that one config lacks has '(none)'
    there.
    """
    old_values = fields(old)
    new_values = fields(new)
    differences = {}
    for name in sorted({*old_values, *new_values}):
        values = (old_values.get(name, '(none)'), new_values.get(name, '(none)'))
        if values[0] != values[1]:
            differences[name] = values
    return differences
