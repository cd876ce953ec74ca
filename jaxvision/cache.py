"""Where what is made once is kept for the next time: the user's cache."""

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The cache's folder of embedded data sets ('data'), networks ('runs') or programs ('xla')."""
    return (
        Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        / 'jaxvision'
        / name
    )
