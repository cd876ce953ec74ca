"""The figures of runs, whose drawing takes longer than a run of a few steps."""

import contextlib
import types

import numpy as np
import pytest

from jaxvision.viz import canvas, detection_figures, figures

_OF_RUNS = (figures, detection_figures)


def _blank(figure):
    """A white picture of the size of the figure."""
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    return np.full((height, width, 3), 255, np.uint8)


_WITHOUT_DRAWING = types.SimpleNamespace(
    empty=canvas.empty, message=canvas.message, render=_blank
)


def left_out():
    """A context in which figures are put together, but stay white."""
    return _drawing_on(_WITHOUT_DRAWING)


def done():
    """A context in which figures are drawn, as for a user."""
    return _drawing_on(canvas)


@contextlib.contextmanager
def _drawing_on(module_of_canvas):
    with pytest.MonkeyPatch.context() as patch:
        for module in _OF_RUNS:
            patch.setattr(module, 'canvas', module_of_canvas)
        yield
