import jax
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.models.blocks.conv_lstm import ConvLSTM

CLIP = jax.random.normal(jax.random.key(0), (2, 4, 6, 5, 3))


@pytest.fixture(scope='module')
def cell():
    model = ConvLSTM(width=4)
    return model, random_leaves(jax.eval_shape(model.init, jax.random.key(0), CLIP))


def test_conv_lstm_equals_keras(cell):
    keras = pytest.importorskip('keras')
    model, variables = cell
    layer = keras.layers.ConvLSTM2D(
        4,
        3,
        padding='same',
        recurrent_activation='sigmoid',
        return_sequences=True,
        return_state=True,
    )
    layer.build(CLIP.shape)
    params = variables['params']
    layer.set_weights(
        [
            np.asarray(weights)
            for weights in (
                params['from_input']['kernel'],
                params['from_hidden']['kernel'],
                params['from_input']['bias'],
            )
        ]
    )
    # The gates of Keras have the order i, f, c, o.
    expected, last, memory = layer(np.asarray(CLIP))
    (c, h), answers = jax.jit(model.apply)(variables, CLIP)
    np.testing.assert_allclose(answers, expected, atol=2e-6)
    np.testing.assert_allclose(h, last, atol=2e-6)
    np.testing.assert_allclose(c, memory, atol=2e-6)


def test_single_steps_equal_the_loop_over_frames(cell):
    model, variables = cell
    expected_state, expected = jax.jit(model.apply)(variables, CLIP)
    step = jax.jit(lambda state, x: model.apply(variables, state, x, method='step'))
    state = model.blank(CLIP)
    for time in range(4):
        state, answer = step(state, CLIP[:, time])
        np.testing.assert_allclose(answer, expected[:, time], atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, expected_state
    )


def test_a_clip_can_continue_from_a_state(cell):
    model, variables = cell
    state, _ = model.apply(variables, CLIP[:, :2])
    _, second = model.apply(variables, CLIP[:, 2:], state)
    np.testing.assert_allclose(
        second, model.apply(variables, CLIP)[1][:, 2:], atol=1e-6
    )


def test_forget_gates_start_with_a_bias_of_one(cell):
    variables = ConvLSTM(width=2).init(jax.random.key(0), CLIP)
    assert variables['params']['from_input']['bias'].tolist() == [
        0,
        0,
        1,
        1,
        0,
        0,
        0,
        0,
    ]
