"""Settings of the tests of attacks."""

import jax
import pytest

from jaxvision.attacks import loops


@pytest.fixture
def float64():
    """Compute in float64 where a closed form is compared."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def short_blocks(monkeypatch):
    """Compile one step instead of ten, which takes most of a test's time."""
    monkeypatch.setattr(loops, 'BLOCK', 1)
