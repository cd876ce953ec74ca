import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.models.sequence import frame_scorer


@pytest.fixture(scope='module')
def scorer():
    """A scorer for three features of each frame, and random weights."""
    model = frame_scorer.make('', hidden=5)
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, 4, 3)), jnp.ones((1, 4), bool)
    )
    rng = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda x: jnp.array(rng.normal(size=x.shape), jnp.float32), shapes
    )


def lstm(weights, frames):
    """An LSTM cell with a forget gate, frame by frame in float64."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def gate(name, x, hidden):
        return (
            x @ np.float64(weights[f'i{name}']['kernel'])
            + hidden @ np.float64(weights[f'h{name}']['kernel'])
            + np.float64(weights[f'h{name}']['bias'])
        )

    hidden = cell = np.zeros(5)
    states = []
    for x in frames:
        i, f, g, o = (gate(name, x, hidden) for name in 'ifgo')
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


@pytest.mark.parametrize('length', [1, 4, 7])
def test_both_directions_equal_a_loop_over_the_valid_frames(scorer, length):
    model, variables = scorer
    rng = np.random.default_rng(1)
    # The padding is noise.
    video = rng.normal(size=(2, 7, 3)).astype(np.float32)
    mask = np.arange(7) < np.array([[length], [7]])
    logits, tensors = jax.jit(model.apply)(variables, video, mask)
    weights = variables['params']
    for i, frames in ((0, video[0, :length]), (1, video[1])):
        norm = (frames - frames.mean(1, keepdims=True)) / np.sqrt(
            frames.var(1, keepdims=True) + 1e-6
        )
        norm = norm * weights['norm']['scale'] + weights['norm']['bias']
        states = np.concatenate(
            [lstm(weights['before'], norm), lstm(weights['after'], norm[::-1])[::-1]], 1
        )
        expected = states @ weights['head']['kernel'][:, 0] + weights['head']['bias']
        np.testing.assert_allclose(logits[i, : len(frames)], expected, atol=2e-5)


def test_shapes_with_an_image_model():
    model = frame_scorer.make('4-4', hidden=3, features=6, patch=2)
    video, mask = jnp.ones((2, 5, 8, 8, 1)), jnp.ones((2, 5), bool)
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), video, mask)[0]
    assert shape[0].shape == (2, 5) and shape[1]['features'].shape == (2, 5, 6)
    assert shape[1]['states'].shape == (2, 5, 6)


def test_options_without_an_image_model_are_an_error():
    with pytest.raises(UserError, match="'patch'"):
        frame_scorer.make('', patch=2)
