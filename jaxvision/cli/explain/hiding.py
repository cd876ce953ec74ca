"""Maps of methods that hide pixels and ask for scores alone."""

import numpy as np
from jaxtyping import Float

from jaxvision.attribution import perturbation, shapley
from jaxvision.attribution.types import HostImage, HostScore
from jaxvision.cli.explain.methods import Settings
from jaxvision.core import keys


def map_of(
    method: str,
    score: HostScore,
    image: HostImage,
    blank: HostImage,
    settings: Settings,
    number: int,
) -> Float[np.ndarray, 'h w']:
    """Explain a score by hiding pixels.

    Args:
        method: 'occlusion', 'rise' or 'shapley'.
        score: of images.
        image: in [0, 1].
        blank: shown instead of hidden pixels.
        settings: arguments of the methods.
        number: of the image, which selects its random numbers.
    """
    height, width, _ = image.shape
    parts = settings.parts
    batch = settings.batch_size
    rng = keys.host(settings.seed, f'explain {method}', number)
    if method == 'occlusion':
        window = (-(-height // parts), -(-width // parts))
        stride = (-(-window[0] // 2), -(-window[1] // 2))
        return perturbation.occlusion(
            score, image, blank, window=window, stride=stride, batch=batch
        )
    samples = settings.samples_of(method)
    if method == 'rise':
        return perturbation.rise(
            score, image, blank, rng, masks=samples, cells=parts, batch=batch
        )
    segments = shapley.grid_segments(
        (height, width), min(parts, height), min(parts, width)
    )
    values = shapley.kernel_shap(
        score, image, blank, segments, rng, samples=samples, batch=batch
    )
    return values[segments]
