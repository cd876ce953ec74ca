"""Config fields with the value 'auto', whose number training finds before its first step."""

from collections.abc import Mapping

from jaxvision.core.config import declared, fields
from jaxvision.core.fields import AUTO, Config
from jaxvision.core.types import Value


def names(config: Config) -> list[str]:
    """List the fields with the value 'auto' instead of a number, by their dotted names."""
    values = fields(config)
    return [
        name
        for name, field in declared(config.task.name).items()
        if field.can_be_found and values.get(name) == AUTO
    ]


def with_values(config: Config, values: Mapping[str, Value]) -> Config:
    """Make a locked copy of a config with other values of some fields.

    Args:
        config: the config, which is not changed.
        values: {dotted name of a field: value}, of any type.
    """
    copy = config.copy_and_resolve_references().lock()
    for path, value in values.items():
        *parents, name = path.split('.')
        group = copy
        for parent in parents:
            group = group[parent]
        with group.ignore_type():
            group[name] = value
    return copy


def with_defaults(config: Config) -> Config:
    """Make a locked copy of a config with the default in place of each 'auto'."""
    defaults = declared(config.task.name)
    values = {name: defaults[name].default for name in names(config)}
    return with_values(config, values)
