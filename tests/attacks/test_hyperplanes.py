"""The nearest point of a hyperplane within [0, 1], beside scipy's root of the same equation."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxvision.attacks import hyperplanes

pytestmark = pytest.mark.usefixtures('float64')


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_the_step_ends_on_the_hyperplane_although_pixels_reach_their_bounds(norm):
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(6, 4, 4, 1))
    gradients = rng.normal(size=points.shape)
    slopes = np.abs(gradients)
    room = np.where(gradients < 0, 1 - points, points)
    speeds = slopes if norm == 'l2' else np.ones_like(slopes)
    most = (room * slopes).sum((1, 2, 3))
    # The last value is beyond the corner of the cube.
    values = most * np.array([0.1, 0.3, 0.6, 0.9, 0.99, 1.5])
    step = hyperplanes.step_to_hyperplane(
        jnp.asarray(points), jnp.asarray(gradients), jnp.asarray(values), norm
    )
    for row in range(6):

        def missing(length, row=row):
            reached = np.minimum(length * speeds[row], room[row])
            return (reached * slopes[row]).sum() - values[row]

        length = optimize.brentq(missing, 0, 1e6) if row < 5 else np.inf
        expected = -np.sign(gradients[row]) * np.minimum(
            length * speeds[row], room[row]
        )
        np.testing.assert_allclose(step[row], expected, atol=1e-9)
