"""Measures of explanations: is the map right about the model, and about the object?

Every function takes one image or one map on the host. The mean over images is the caller's.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from jaxvision.attribution import perturbation, shapley
from jaxvision.attribution.types import HostImage, HostMap, HostMask, HostScore
from jaxvision.core.types import Tree

# The importance of each pixel; maps of a model in float32 too.
AnyMap = Num[np.ndarray, 'h w']


class Curve(NamedTuple):
    """Scores of an image while its pixels are replaced.

    Attributes:
        fractions: of the pixels that are replaced, from 0 to 1.
        scores: at these fractions.
        area: under the scores, by trapezoids: their mean over the fractions.
    """

    fractions: Float[np.ndarray, 'n']
    scores: Float[np.ndarray, 'n']
    area: float


def deletion(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    map_: AnyMap,
    rng: np.random.Generator,
    *,
    steps: int = 32,
    batch: int = 32,
) -> Curve:
    """Replace the most important pixels first: a good map has a small area.

    Petsiuk et al., "RISE", 2018, section 4.3. Pixels of equal importance are replaced in random
    order, because an order of rows would favour maps with many zeros.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`, such as a probability.
        image: in [0, 1].
        baseline: the image that replaced pixels show.
        map_: importance of each pixel, [H, W].
        rng: of this image alone.
        steps: parts of nearly equal size in which the pixels are replaced.
        batch: images that `score` gets at once.
    """
    return _replace(score, (image, baseline), map_, rng, steps, batch)


def insertion(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    map_: AnyMap,
    rng: np.random.Generator,
    *,
    steps: int = 32,
    batch: int = 32,
) -> Curve:
    """Show the most important pixels first, on the baseline: a good map has a large area.

    Petsiuk et al., "RISE", 2018, section 4.3.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`, such as a probability.
        image: in [0, 1].
        baseline: the image that begins.
        map_: importance of each pixel, [H, W].
        rng: of this image alone.
        steps: parts of nearly equal size in which the pixels are shown.
        batch: images that `score` gets at once.
    """
    return _replace(score, (baseline, image), map_, rng, steps, batch)


def pointing_game(map_: AnyMap, mask: HostMask) -> float:
    """Whether the maximum of a map lies inside a mask: 1 or 0.

    Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016, without tolerance. If
    several pixels have the maximum, it is the fraction of them inside. So a constant map gets the
    fraction of the mask, wherever it is.

    Args:
        map_: importance of each pixel.
        mask: the pixels of the object.
    """
    is_largest = map_ == map_.max()
    return float(mask[is_largest].mean())


def energy_inside(map_: AnyMap, mask: HostMask) -> float:
    """Fraction of the positive importance that lies inside a mask.

    Wang et al., "Score-CAM", 2019, section 4.3. A map without positive values has the fraction of
    the mask, like a constant map.

    Args:
        map_: importance of each pixel. Negative values count as 0.
        mask: the pixels of the object.
    """
    positive = np.maximum(map_, 0).astype(np.float64)
    total = positive.sum()
    if total == 0:
        return float(mask.mean())
    return float(positive[mask].sum() / total)


def infidelity(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    map_: AnyMap,
    rng: np.random.Generator,
    *,
    samples: int = 256,
    cells: int = 7,
    probability: float = 0.1,
    batch: int = 32,
) -> float:
    """Fraction of the changes of the score that sums over the hidden pixels do not explain.

    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", 2019, definition 2.1, with
    random parts of a grid as perturbations. The map is scaled as fits best (section 2.4), and the
    error is divided by the mean squared change.

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`, such as a logit.
        image: in [0, 1].
        baseline: the image that hidden pixels show instead.
        map_: contribution of each pixel to the score.
        rng: of this image alone.
        samples: number of perturbations.
        cells: rows and columns of the grid.
        probability: with which each part of the grid is hidden, in (0, 1).
        batch: images that `score` gets at once.

    Returns:
        A number in [0, 1]; 0 for the exact contributions of a linear score.
    """
    size = image.shape[:2]
    rows = min(cells, size[0])
    columns = min(cells, size[1])
    segments = shapley.grid_segments(size, rows, columns)

    def kept() -> Iterator[perturbation.Kept]:
        for _ in range(samples):
            keeps = rng.random(rows * columns) >= probability
            yield keeps[segments][None].astype(np.float32)

    whole = perturbation.score_in_batches(score, [image], batch)[0]
    exact_map = map_.astype(np.float64)
    changes = []
    sums = []
    for scores, masks in perturbation.masked_scores(
        score, image, baseline, kept(), batch
    ):
        changes.append(whole - scores)
        hidden = 1.0 - masks
        sums.append(np.tensordot(hidden, exact_map, 2))
    return _unexplained(np.concatenate(changes), np.concatenate(sums))


def rank_correlation(map_: AnyMap, other: AnyMap) -> float:
    """Spearman's correlation of the absolute values of two maps, in [-1, 1]; 0 if one is constant.

    Adebayo et al., "Sanity Checks for Saliency Maps", 2018, compare maps of a trained model with
    those of random parameters. A map that hardly changes does not explain the model.

    Args:
        map_: importance of each pixel.
        other: the same with other parameters.
    """
    from scipy import stats

    first = np.abs(map_).ravel()
    second = np.abs(other).ravel()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def cascade(params: Tree, random: Tree, order: Sequence[str]) -> Iterator[Tree]:
    """Replace the parameters of one module after the other by random ones.

    Adebayo et al. 2018, section 3.1, from the logits down to the image.

    Args:
        params: trained parameters, {module: its parameters}.
        random: initial parameters of the same shapes.
        order: the modules, that of the logits first.

    Yields:
        The parameters with the first 1, 2, ... modules of `order` random.
    """
    replaced = dict(params)
    for name in order:
        replaced = {**replaced, name: random[name]}
        yield replaced


def center_map(size: tuple[int, int]) -> HostMap:
    """A map that is largest in the centre, which says nothing of the image: a baseline."""
    height, width = size
    rows = _centers(height)[:, None]
    columns = _centers(width)
    return 1 - np.hypot(rows, columns)


def brightness_map(image: HostImage) -> HostMap:
    """Distance of each pixel from the median colour of its image: a baseline without a model."""
    median = np.median(image, axis=(0, 1))
    distance = np.abs(image - median).sum(axis=-1)
    return distance.astype(np.float64)


def _centers(length: int) -> Float[np.ndarray, '{length}']:
    """Centres of pixels along an axis, as fractions from -0.5 to 0.5."""
    fractions = (np.arange(length) + 0.5) / length
    return fractions - 0.5


def _replace(
    score: HostScore,
    images: tuple[HostImage, HostImage],
    map_: AnyMap,
    rng: np.random.Generator,
    steps: int,
    batch: int,
) -> Curve:
    """Replace the pixels of a first image by those of a second, the most important first."""
    first, second = images
    ranks = _ranks(map_, rng)
    fractions = np.arange(steps + 1) / steps

    def kept() -> Iterator[perturbation.Kept]:
        for fraction in fractions:
            is_kept = ranks >= round(fraction * ranks.size)
            yield is_kept[None].astype(np.float32)

    parts = perturbation.masked_scores(score, first, second, kept(), batch)
    scores = np.concatenate([part for part, _ in parts])
    area = np.trapezoid(scores, fractions)
    return Curve(fractions, scores, float(area))


def _ranks(map_: AnyMap, rng: np.random.Generator) -> Num[np.ndarray, 'h w']:
    """The place of each pixel by falling importance, from 0; equal ones in random order."""
    shuffled = rng.permutation(map_.size)
    falling = np.argsort(-map_.ravel()[shuffled], kind='stable')
    order = shuffled[falling]
    ranks = np.empty(map_.size, np.int64)
    ranks[order] = np.arange(map_.size)
    return ranks.reshape(map_.shape)


def _unexplained(
    changes: Float[np.ndarray, 'n'], sums: Float[np.ndarray, 'n']
) -> float:
    """Squared error of the best multiple of `sums`, over the sum of squared changes."""
    energy = (changes**2).sum()
    if energy == 0:
        return 0.0
    squares = (sums**2).sum()
    explained = 0.0
    if squares > 0:
        products = (changes * sums).sum()
        explained = products**2 / (squares * energy)
    return float(np.clip(1 - explained, 0, 1))
