"""Figures of matplotlib as pixels, without pyplot."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:  # The import of matplotlib is slow, so only drawing imports it.
    from matplotlib.figure import Figure

Picture = UInt8[np.ndarray, 'h w 3']

DOTS_PER_INCH = 100


def empty(width: float, height: float) -> 'Figure':
    """Make an empty figure of a size in inches, with 100 pixels per inch."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=DOTS_PER_INCH, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def render(figure: 'Figure') -> Picture:
    """Draw a figure of matplotlib to pixels, uint8 [h, w, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = np.array(canvas.buffer_rgba())
    return rgba[..., :3].copy()


def message(text: str) -> Picture:
    """Draw a line of text on 400 x 100 pixels, in place of an empty figure.

    A longer text is cut at both ends.
    """
    figure = empty(4.0, 1.0)
    figure.text(0.5, 0.5, text, ha='center', va='center')
    return render(figure)
