"""Configs: the fields that every run shares, reading a config file, overriding, comparing.

A config file is Python with `get_config(argument='')`; it starts from `default(task)` and sets only
what matters to it. Every field can be overridden on the command line (`--config.optimizer.lr=0.1`).
"""

import ast
import difflib
import importlib
import inspect
import math
import pkgutil
import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxvision.errors import UserError

# Fields that may differ when a run goes on in its old folder: they change where and how a run is
# carried out and what is written about it, never what is computed.
FREE_FIELDS = ('data.dir', 'data.threads', 'parallel', 'train.log_every', 'train.checkpoint_every',
               'train.keep', 'train.profile')


def default(task: str) -> ConfigDict:
    """Every field a config of this task has, with its default; cadences are '300' (steps),
    '2 epochs' or '5000 examples'."""
    config = ConfigDict()
    config.seed = 0
    config.data = dict(
        source='',          # TFDS name, embedded data set, or folder:DIR
        dir='',             # where TFDS data sets are; '' is the usual place
        image_size=32,      # larger images, and images of unequal size, are brought to this
        batch_size=128,     # of the whole run, whatever the number of devices
        per_class=0,        # train on a stratified few; 0: all
        train_split='', test_split='',   # '' finds them
        on_corrupt='stop',  # or 'replace': the next readable example, counted
        threads=2)          # that decode
    config.model = dict(name='', variant='', dtype='float32', param_dtype='float32', options={})
    config.task = dict(name=task, **resolve('tasks', task).DEFAULTS)
    config.optimizer = dict(
        name='adamw', lr=1e-3, schedule='cosine', warmup='0', weight_decay=0.0,
        clip=0.0,           # global norm; 0: off
        accumulate=1,       # microbatches a step
        ema=0.0,            # decay of the averaged weights that are evaluated; 0: off
        options={})
    config.train = dict(
        steps='10 epochs', log_every='50', eval_every='1 epoch', checkpoint_every='1 epoch',
        keep=2,             # the last checkpoints kept, beside the best
        best='',            # the metric whose best checkpoint is kept; '-NAME' where less is better
        profile='')         # 'FIRST:LAST' steps to trace into the run's folder
    config.parallel = dict(deterministic=False)  # GPU operations equal to the bit, slower
    config.lock()
    return config


def load(file_and_argument: str) -> ConfigDict:
    """The config of 'FILE.py' or 'FILE.py:ARGUMENT'."""
    file, _, argument = file_and_argument.partition(':')
    if not Path(file).is_file():
        raise UserError(f'there is no config file {file}')
    module = runpy.run_path(file)
    if 'get_config' not in module:
        raise UserError(f'{file} has no function get_config(argument)')
    config = module['get_config'](*([argument] if argument else []))
    config.lock()
    return config


def override(config: ConfigDict, path: str, text: str) -> None:
    """Set the field at a dotted path from its text, in place; the field keeps its type."""
    *parents, name = path.split('.')
    node = config
    for i, parent in enumerate(parents):
        node = _child(node, parent, '.'.join(parents[:i]))
    if parents and parents[-1] == 'options':  # open: checked against a signature when it is used
        with node.unlocked():
            node[name] = _literal(text)
        return
    old = _child(node, name, '.'.join(parents))
    try:
        node[name] = _parse(text, old)
    except (ValueError, SyntaxError, TypeError):
        raise UserError(f'config.{path}={text}: expected {_kind(old)}, like {old!r}') from None


def _child(node: Any, name: str, path: str) -> Any:
    fields = list(node) if isinstance(node, ConfigDict) else []
    if name in fields:
        return node[name]
    near = difflib.get_close_matches(name, fields, 1, 0.4)
    where = f'config.{path}' if path else 'config'
    hint = f'; did you mean {near[0]!r}?' if near else '.'
    raise UserError(f'{where} has no field {name!r}{hint} It has: {", ".join(fields) or "none"}')


def _parse(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    if isinstance(old, bool):
        return {'true': True, 'false': False, '1': True, '0': False}[text.lower()] \
            if text.lower() in ('true', 'false', '1', '0') else _raise(text)
    if isinstance(old, (int, float)):
        return type(old)(text)
    value = ast.literal_eval(text)
    return value if isinstance(value, type(old)) else type(old)([value])


def _raise(text: str):
    raise ValueError(text)


def _literal(text: str) -> Any:
    lowered = {'true': True, 'false': False, 'none': None}
    try:
        return lowered[text.lower()] if text.lower() in lowered else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _kind(value: Any) -> str:
    return {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}.get(
        type(value), f'a {type(value).__name__}')


def fields(config: Mapping | ConfigDict, prefix: str = '') -> dict[str, Any]:
    """{'a.b': value} of every leaf, in the config's order; an empty dict is a leaf."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict) and value:
            flat |= fields(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = value
    return flat


def difference(old: Mapping, new: Mapping) -> list[str]:
    """'field: OLD -> NEW' for every field in which two configs differ, sorted."""
    old, new = fields(old), fields(new)
    return [f'{name}: {old.get(name, "(none)")!r} -> {new.get(name, "(none)")!r}'
            for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def is_free(line: str) -> bool:
    """Whether a line of `difference` is about a field that a run may change on its way."""
    return any(line.startswith((f'{field}:', f'{field}.')) for field in FREE_FIELDS)


def in_examples(cadence: str | int, batch_size: int, examples: int) -> int:
    """How many training examples a cadence lasts: '300' (steps), '2 epochs' or '5000 examples'."""
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*(steps?|epochs?|examples?)?\s*', str(cadence))
    if not match:
        raise UserError(f'{cadence!r} is no cadence: write 300, "2 epochs" or "5000 examples"')
    unit = (match[2] or 'step').rstrip('s')
    return math.ceil(float(match[1]) * {'step': batch_size, 'epoch': examples, 'example': 1}[unit])


def steps(cadence: str | int, batch_size: int, examples: int) -> int:
    """How many steps a cadence lasts, rounded up."""
    return -(-in_examples(cadence, batch_size, examples) // batch_size)


def resolve(package: str, name: str) -> ModuleType:
    """`jaxvision.PACKAGE.NAME`, or a dotted module of the person's own; it has a function `make`."""
    dotted = name if '.' in name else f'jaxvision.{package}.{name}'
    try:
        module = importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if not dotted.startswith(str(error.name)):
            raise  # the module is there; something that it imports is not
        module = None
    if hasattr(module, 'make'):
        return module
    home = importlib.import_module(f'jaxvision.{package}')
    siblings = [importlib.import_module(f'{home.__name__}.{found.name}')
                for found in pkgutil.iter_modules(home.__path__)]
    known = [sibling.__name__.rpartition('.')[2] for sibling in siblings if hasattr(sibling, 'make')]
    raise UserError(f'there is no {package[:-1]} {name!r}. There are: {", ".join(known)}; '
                    'or give the dotted module of your own')


def call(function: Callable, what: str, *arguments, options: Mapping | ConfigDict, **named):
    """`function(*arguments, **named, **options)`, where `options` are a person's: checked first."""
    known = [p.name for p in list(inspect.signature(function).parameters.values())[len(arguments):]
             if p.name not in named]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            raise UserError(f'{what} has no option {name!r}'
                            + (f'; did you mean {near[0]!r}?' if near else '.')
                            + f' It has: {", ".join(known) or "none"}')
    return function(*arguments, **named, **options)
