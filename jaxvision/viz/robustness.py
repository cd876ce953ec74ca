"""Pictures of robustness: accuracy over the size of a change, and changed images."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.viz import canvas, figures
from jaxvision.viz.canvas import Picture

Images = Float[np.ndarray, 'n h w c']
Bytes = UInt8[np.ndarray, 'n h w c']


def curve(
    eps: Sequence[float],
    values: Sequence[float],
    title: str,
    label: str = 'robust accuracy',
) -> Picture:
    """Draw a metric over the size of the change.

    Args:
        eps: sizes in pixels of [0, 1], ascending, from 0.
        values: the metric within each size, in [0, 1].
        title: the title.
        label: the name of the metric.
    """
    figure = canvas.empty(5.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(eps, values, marker='o')
    axes.set(
        xlabel='eps',
        ylabel=label,
        ylim=(0, 1.02),
        xlim=(0, None),
        title=title,
    )
    axes.grid(alpha=0.3)
    return canvas.render(figure)


def certified_curve(
    radii: Sequence[float], accuracies: Sequence[float], title: str
) -> Picture:
    """Draw the certified accuracy over the radius.

    Args:
        radii: radii in the L2 norm, in pixels of [0, 1], ascending, from 0.
        accuracies: the certified accuracy within each radius, in [0, 1].
        title: the title.
    """
    figure = canvas.empty(5.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(radii, accuracies)
    axes.set(
        xlabel='radius (L2, pixels in [0, 1])',
        ylabel='certified accuracy',
        ylim=(0, 1.02),
        xlim=(0, None),
        title=title,
    )
    axes.grid(alpha=0.3)
    return canvas.render(figure)


def corruption_errors(
    errors: Mapping[str, float], clean: float, reference: Mapping[str, float]
) -> Picture:
    """Draw the error of each corruption as a bar, and the error without one as a line.

    Args:
        errors: {corruption: error in [0, 1]}.
        clean: the error without a corruption.
        reference: {corruption: error of the reference}; empty: there is none.
    """
    figure = canvas.empty(6.0, 1.2 + 0.3 * len(errors))
    axes = figure.add_subplot()
    places = np.arange(len(errors))
    height = 0.8
    if reference:
        height = 0.4
        others = [reference[name] for name in errors]
        axes.barh(places + height / 2, others, height, color='0.75', label='reference')
    axes.barh(places - height * bool(reference) / 2, list(errors.values()), height)
    axes.axvline(clean, color='black', linewidth=1, label='without corruption')
    axes.set_yticks(places, [name.replace('_', ' ') for name in errors])
    axes.invert_yaxis()
    axes.set(xlabel='error, mean over severities', xlim=(0, None))
    axes.legend(loc='best', fontsize=8)
    axes.grid(alpha=0.3, axis='x')
    return canvas.render(figure)


def corruptions(
    originals: Bytes,
    corrupted: Mapping[str, Sequence[Bytes]],
    severities: Sequence[int],
) -> Picture:
    """Draw each corruption in a row: every image, with the severities from left to right.

    Args:
        originals: uint8 [N, H, W, 1 or 3].
        corrupted: {corruption: the images at each severity}.
        severities: the severities.
    """
    count, height, width, _ = originals.shape
    blank = np.full_like(originals, 255)
    lines = [_line([originals, *[blank] * (len(severities) - 1)])]
    lines += [_line(images) for images in corrupted.values()]
    montage = np.concatenate(lines)
    columns = count * len(severities)
    figure = canvas.empty(2.0 + 0.8 * columns, 0.8 + 0.8 * height / width * len(lines))
    axes = figure.add_subplot()
    axes.imshow(np.broadcast_to(montage, (*montage.shape[:2], 3)))
    names = ['original', *(name.replace('_', ' ') for name in corrupted)]
    axes.set_yticks((np.arange(len(lines)) + 0.5) * height - 0.5, names)
    axes.set_xticks((np.arange(columns) + 0.5) * width - 0.5, [*severities] * count)
    axes.set_xlabel('severity')
    axes.tick_params(length=0)
    return canvas.render(figure)


def _line(images: Sequence[Bytes]) -> np.ndarray:
    """All severities of the first image, then those of the next one, side by side."""
    stacked = np.stack(images, 1)
    return np.concatenate(np.concatenate(stacked, 0), 1)


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
