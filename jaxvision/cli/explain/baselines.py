"""Images without information, which stand for the absence of something."""

from collections.abc import Sequence

import numpy as np

from jaxvision.attribution.types import HostImage
from jaxvision.core.errors import not_a_choice

NAMES = ('mean', 'black', 'white', 'grey', 'blur')

# Of the blurred image, as a fraction of its longer side.
_BLUR = 0.125


def default(method: str) -> str:
    """The baselines of a method, joined by '+'.

    Integrated gradients give nothing to pixels that are equal in image and baseline, so they are
    averaged over black and white.
    """
    return 'black+white' if method == 'integrated_gradients' else 'mean'


def check(names: str) -> None:
    """Check the names of baselines, joined by '+'; '' is right.

    Raises:
        UserError: There is no such baseline.
    """
    for name in filter(None, names.split('+')):
        if name not in NAMES:
            raise not_a_choice('--baseline', name, NAMES)


def make(
    names: str, image: HostImage, mean: float | Sequence[float]
) -> dict[str, HostImage]:
    """Make the baselines of an image.

    Args:
        names: some of `NAMES`, joined by '+', see `check`.
        image: in [0, 1].
        mean: colour of the dataset in [0, 1], one number or one for each channel; (): grey.

    Returns:
        {name: image}, each of the size of `image`.
    """
    return {name: _make(name, image, mean) for name in names.split('+')}


def _make(name: str, image: HostImage, mean: float | Sequence[float]) -> HostImage:
    if name == 'blur':
        from scipy import ndimage

        std = _BLUR * max(image.shape[:2])
        return ndimage.gaussian_filter(image, (std, std, 0), mode='nearest')
    colors = {'mean': mean or 0.5, 'black': 0.0, 'white': 1.0, 'grey': 0.5}
    color = np.asarray(colors[name], image.dtype)
    return np.broadcast_to(color, image.shape).copy()
