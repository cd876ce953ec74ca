"""One device, as in every other test of this process."""

import jax
import pytest


@pytest.fixture(autouse=True, scope='session')
def started_jax():
    """Start JAX before a command that a test calls can split the CPU into several devices."""
    jax.devices()
