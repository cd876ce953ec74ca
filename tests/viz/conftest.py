"""Here every figure is drawn."""

import pytest


@pytest.fixture(autouse=True)
def every_figure_is_drawn(drawn):
    pass
