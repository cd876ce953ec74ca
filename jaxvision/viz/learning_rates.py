"""A picture of a learning-rate range test."""

import numpy as np
from jaxtyping import Float

from jaxvision.viz import canvas
from jaxvision.viz.canvas import Picture

Curve = Float[np.ndarray, ' steps']


def range_test(rates: Curve, losses: Curve, smooth: Curve, chosen: float) -> Picture:
    """Draw the loss over the learning rate, and the chosen rate as a line.

    Args:
        rates: the rate of each step, ascending.
        losses: the loss of each step.
        smooth: the losses, smoothed.
        chosen: the chosen rate.
    """
    figure = canvas.empty(6.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color='0.75', linewidth=1, label='loss of a step')
    axes.plot(rates, smooth, color='tab:blue', label='smoothed')
    axes.axvline(chosen, color='tab:red', label=f'chosen: {chosen:g}')
    axes.set(xscale='log', xlabel='learning rate', ylabel='training loss')
    # The losses of far too high rates would hide the fall.
    low = float(smooth.min())
    fall = float(smooth[0]) - low
    axes.set_ylim(low - 0.3 * fall, low + 1.5 * fall)
    axes.grid(alpha=0.3)
    axes.legend()
    return canvas.render(figure)
