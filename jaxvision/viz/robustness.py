"""Pictures of attacks: accuracy over the size of the change, and adversarial images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxvision.viz import canvas, figures
from jaxvision.viz.canvas import Picture

Images = Float[np.ndarray, 'n h w c']


def curve(eps: Sequence[float], accuracies: Sequence[float], title: str) -> Picture:
    """Draw the robust accuracy over the size of the change.

    Args:
        eps: sizes in pixels of [0, 1], ascending, from 0.
        accuracies: the accuracy within each size, in [0, 1].
        title: the title.
    """
    figure = canvas.empty(5.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(eps, accuracies, marker='o')
    axes.set(
        xlabel='eps',
        ylabel='robust accuracy',
        ylim=(0, 1.02),
        xlim=(0, None),
        title=title,
    )
    axes.grid(alpha=0.3)
    return canvas.render(figure)


def comparison(
    originals: Images,
    images: Images,
    before: Sequence[str],
    after: Sequence[str],
) -> Picture:
    """Draw each original, its change and the adversarial image in a row.

    Changes are scaled to the largest one of the row; grey is no change.

    Args:
        originals: in [0, 1].
        images: adversarial images, in [0, 1].
        before: captions of the originals.
        after: captions of the adversarial images.
    """
    pictures = []
    captions = []
    for row, (original, image) in enumerate(zip(originals, images, strict=True)):
        change = image - original
        largest = float(np.abs(change).max())
        scaled = 0.5 + 0.5 * change / max(largest, 1e-12)
        pictures += [_pixels(original), _pixels(scaled), _pixels(image)]
        captions += [before[row], f'change, at most {largest:.3g}', after[row]]
    return figures.gallery(pictures, captions, columns=3)


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
