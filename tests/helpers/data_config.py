"""The fields `data` of a config, without its task."""

from ml_collections import ConfigDict

from jaxvision.core.fields import COMMON, defaults


def data_config(**fields):
    """The defaults, and these fields in their place."""
    return ConfigDict({**defaults(COMMON['data']), **fields})
