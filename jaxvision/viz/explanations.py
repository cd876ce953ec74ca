"""Pictures of explanations: an image, the map of its pixels, and the map on the image."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.viz import canvas, text
from jaxvision.viz.canvas import Picture

if TYPE_CHECKING:  # The import of matplotlib is slow, so only drawing imports it.
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

# Blue speaks against the target, white is 0, red speaks for it.
SIGNED_COLORS = 'RdBu_r'
COLORS = 'inferno'

_SIDE = 2.1  # of an image, inches
_TITLE = 34  # characters
_OPACITY = 0.75  # of the largest values on the image
_HUE = 0.75  # of the limit: the value whose colour stands for a sign on the image

ColorImage = UInt8[np.ndarray, 'h w 3']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The colours of values.

    Attributes:
        limit: the value of the strongest colour. Larger values look the same.
        signed: whether the colours are centred at 0, with two hues.
        unit: the meaning of a value.
    """

    limit: float
    signed: bool
    unit: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A map of an image.

    Attributes:
        image: as the model sees it, uint8 [H, W, 1 or 3].
        map: importance of each pixel, [H, W].
        title: what is explained, and how.
        scale: its colours. Rows of one scale share a colour bar.
    """

    image: UInt8[np.ndarray, 'h w _']
    map: Float[np.ndarray, 'h w']
    title: str
    scale: Scale


def draw(rows: Sequence[Row]) -> Picture:
    """Draw each image beside its map and the map on the image, with a colour bar for each scale.

    Rows of one scale must follow each other.
    """
    if not rows:
        return canvas.message('nothing to explain')
    height, width = rows[0].map.shape
    row_height = _SIDE * min(max(height / width, 0.4), 2.0)
    figure = canvas.empty(3 * _SIDE + 1.6, (row_height + 0.35) * len(rows) + 0.2)
    axes = figure.subplots(len(rows), 3, squeeze=False)
    start = 0
    while start < len(rows):
        scale = rows[start].scale
        end = start
        while end < len(rows) and rows[end].scale == scale:
            colors = _draw_row(axes[end], rows[end])
            end += 1
        bar = figure.colorbar(colors, ax=axes[start:end].ravel().tolist(), aspect=18)
        bar.set_label(scale.unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        start = end
    return canvas.render(figure)


def overlay(
    image: UInt8[np.ndarray, 'h w _'], map_: Float[np.ndarray, 'h w'], scale: Scale
) -> ColorImage:
    """Paint a map on the grey image, the stronger the larger its absolute value.

    Args:
        image: uint8 [H, W, 1 or 3].
        map_: importance of each pixel.
        scale: the colours.
    """
    grey = image.astype(np.float64).mean(axis=-1, keepdims=True)
    strength = np.clip(np.abs(map_) / scale.limit, 0, 1)
    # The pale middle of two hues would hide the image.
    hues = map_
    if scale.signed:
        hues = np.sign(map_) * _HUE * scale.limit
    colors = 255 * _colors(scale).to_rgba(hues)[..., :3]
    opacity = _OPACITY * strength[..., None]
    mixed = (1 - opacity) * grey + opacity * colors
    return np.round(mixed).astype(np.uint8)


def _draw_row(axes: Sequence['Axes'], row: Row) -> 'ScalarMappable':
    """Draw the three pictures of a row; return its colours."""
    for each in axes:
        each.set(xticks=[], yticks=[])
    image = np.broadcast_to(row.image, (*row.image.shape[:2], 3))
    axes[0].imshow(image)
    colors = _colors(row.scale)
    axes[1].imshow(row.map, cmap=colors.cmap, norm=colors.norm)
    axes[2].imshow(overlay(row.image, row.map, row.scale))
    title = text.wrapped(row.title, 3 * _TITLE)
    axes[0].set_title(title, fontsize=9, loc='left', parse_math=False)
    return colors


def _colors(scale: Scale) -> 'ScalarMappable':
    from matplotlib import cm, colors

    if scale.signed:
        norm = colors.Normalize(-scale.limit, scale.limit)
        return cm.ScalarMappable(norm, SIGNED_COLORS)
    return cm.ScalarMappable(colors.Normalize(0, scale.limit), COLORS)
