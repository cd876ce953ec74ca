"""Explanations by hidden pixels: occlusion and RISE.

They ask for scores only, so the model may be exported, or any function on the host. An image is
explained alone, by many copies of it.
"""

import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.attribution.types import HostImage, HostMap, HostScore
from jaxvision.core.errors import UserError
from jaxvision.image import resize
from jaxvision.image.types import Size

# The fraction of each pixel that is kept, in [0, 1]; the rest is the baseline.
Kept = Float[np.ndarray, 'n h w']


def occlusion(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    *,
    window: Size,
    stride: Size,
    batch: int = 32,
) -> HostMap:
    """Mean loss of score over the windows that hide each pixel.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013. Windows begin
    at multiples of the stride. The last window of a row or a column may be cut by the border.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`.
        image: in [0, 1].
        baseline: the image that windows show instead.
        window: (height, width) of a window, pixels.
        stride: (rows, columns) from one window to the next, at most the window.
        batch: images that `score` gets at once. Fewer are padded.

    Raises:
        UserError: The stride exceeds the window, so that no window hides some pixels.
    """
    height, width = window
    if stride[0] > height or stride[1] > width:
        raise UserError(
            f'stride={stride}: expected at most the window {window}, so that every pixel is '
            'hidden once. Choose a smaller stride.'
        )
    size = image.shape[:2]
    rows = _window_starts(size[0], height, stride[0])
    columns = _window_starts(size[1], width, stride[1])

    def kept() -> Iterator[Kept]:
        for top in rows:
            for left in columns:
                mask = np.ones((1, *size), image.dtype)
                bottom = top + height
                right = left + width
                mask[0, top:bottom, left:right] = 0
                yield mask

    whole = score_in_batches(score, [image], batch)[0]
    total = np.zeros(size)
    count = np.zeros(size)
    for scores, masks in masked_scores(score, image, baseline, kept(), batch):
        losses = whole - scores
        hidden = 1.0 - masks
        total += np.tensordot(losses, hidden, 1)
        count += hidden.sum(axis=0)
    return total / count


def rise(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    rng: np.random.Generator,
    *,
    masks: int = 2000,
    cells: int = 7,
    probability: float = 0.5,
    batch: int = 32,
) -> HostMap:
    """Mean score of random masks that keep a pixel, less the mean score of all masks.

    Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018.
    The paper does not subtract the mean score. That changes the map by a constant, in the limit of
    many masks, and reduces its noise.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`.
        image: in [0, 1].
        baseline: the image that hidden pixels show instead.
        rng: of this image alone.
        masks: number of random masks.
        cells: rows and columns of a mask before it is enlarged.
        probability: with which a cell is kept, in (0, 1).
        batch: images that `score` gets at once.
    """
    size = image.shape[:2]

    def kept() -> Iterator[Kept]:
        for start in range(0, masks, batch):
            number = min(batch, masks - start)
            yield rise_masks(rng, number, size, cells, probability)

    weighted = np.zeros(size)
    weight = np.zeros(size)
    total = 0.0
    for scores, kept_masks in masked_scores(score, image, baseline, kept(), batch):
        exact_masks = kept_masks.astype(np.float64)
        weighted += np.tensordot(scores, exact_masks, 1)
        weight += exact_masks.sum(axis=0)
        total += scores.sum()
    mean_where_kept = weighted / np.maximum(weight, 1e-12)
    return mean_where_kept - total / masks


def rise_masks(
    rng: np.random.Generator, number: int, size: Size, cells: int, probability: float
) -> Kept:
    """Enlarge random grids bilinearly, each shifted by a random part of a cell.

    Args:
        rng: of the image.
        number: of masks.
        size: (height, width) of the image, pixels.
        cells: rows and columns of a grid.
        probability: with which a cell is kept.

    Returns:
        Masks [number, height, width] in [0, 1].
    """
    grids = rng.random((number, cells, cells)) < probability
    height, width = size
    cell_height = -(-height // cells)
    cell_width = -(-width // cells)
    # One more cell along each axis leaves room for the shifts.
    larger = ((cells + 1) * cell_height, (cells + 1) * cell_width)
    channels = np.moveaxis(grids, 0, -1).astype(np.float32)
    enlarged = np.asarray(_enlarged(jnp.asarray(channels), larger))
    tops = rng.integers(cell_height, size=number)
    lefts = rng.integers(cell_width, size=number)
    masks = np.empty((number, height, width), np.float32)
    for place, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        bottom = top + height
        right = left + width
        masks[place] = enlarged[top:bottom, left:right, place]
    return masks


def masked_scores(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    kept: Iterable[Kept],
    batch: int,
) -> Iterator[tuple[Float[np.ndarray, 'n'], Kept]]:
    """Score copies of an image with hidden pixels.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`.
        image: in [0, 1].
        baseline: the image that hidden pixels show instead.
        kept: masks, any number at a time up to `batch`.
        batch: images that `score` gets at once.

    Yields:
        (scores [N], masks [N, H, W]) of up to `batch` masks, in their order.
    """
    waiting = []
    count = 0
    for masks in kept:
        if count + len(masks) > batch:
            together = np.concatenate(waiting)
            yield _score_masks(score, image, baseline, together, batch)
            waiting = []
            count = 0
        waiting.append(masks)
        count += len(masks)
    if waiting:
        together = np.concatenate(waiting)
        yield _score_masks(score, image, baseline, together, batch)


def score_in_batches(
    score: HostScore, images: Iterable[HostImage], batch: int
) -> Float[np.ndarray, 'n']:
    """Score images in batches of one size, so that one compiled program serves all.

    Args:
        score: `(images [batch, H, W, C]) -> scores [batch]`.
        images: of one size.
        batch: images that `score` gets at once. The last one is repeated to complete a batch.

    Returns:
        The scores as float64.
    """
    stacked = np.stack(list(images))
    scores = []
    for start in range(0, len(stacked), batch):
        part = stacked[start : start + batch]
        count = len(part)
        padding = part[-1:].repeat(batch - count, axis=0)
        whole = np.concatenate([part, padding])
        part_scores = np.asarray(score(whole), np.float64)
        scores.append(part_scores[:count])
    return np.concatenate(scores)


def _score_masks(
    score: HostScore, image: HostImage, baseline: HostImage, masks: Kept, batch: int
) -> tuple[Float[np.ndarray, 'n'], Kept]:
    weights = masks[..., None].astype(image.dtype)
    # Kept pixels stay equal to the bit, since 1 * a + 0 * b = a.
    images = weights * image
    images = images + (1 - weights) * baseline
    return score_in_batches(score, images, batch), masks


def _window_starts(length: int, window: int, stride: int) -> range:
    """Where windows begin along an axis, so that they cover it."""
    if length <= window:
        return range(1)
    last = -(-(length - window) // stride) * stride
    return range(0, last + 1, stride)


@functools.partial(jax.jit, static_argnums=1)
def _enlarged(
    grids: Float[jax.Array, 'h w n'], size: Size
) -> Float[jax.Array, 'y x n']:
    """Resize grids, stacked along the last axis."""
    return resize.resize(grids, size)
