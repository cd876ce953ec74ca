"""Models of clips ignore padding. Only models with a memory depend on the order of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.sequence import conv_lstm_net, frame_average, frames, lrcn

CLASSES = 5
RNG = np.random.default_rng(0)
TIME = 6

# model: its file, variant and options
MODELS = {
    'frame_average': (frame_average, '4-6', dict(patch=2)),
    'frame_average-cnn': (frame_average, '4-6', dict(backbone='cnn')),
    'lrcn': (lrcn, '4-6', dict(patch=2, hidden=8, features=7)),
    'lrcn-probabilities': (
        lrcn,
        '4-6',
        dict(patch=2, hidden=8, prediction='probabilities'),
    ),
    'lrcn-last': (
        lrcn,
        '4-6',
        dict(patch=2, hidden=8, change=False, prediction='last'),
    ),
    'lrcn-cnn': (lrcn, '4-6', dict(backbone='cnn', hidden=8)),
    'conv_lstm_net': (conv_lstm_net, '4-6', dict(shrink=2, patch=1, hidden=3)),
}
EVERY_MODEL = pytest.mark.parametrize('name', MODELS)


def clips(lengths=(6, 3), channels=2):
    video = RNG.normal(size=(len(lengths), TIME, 8, 8, channels)).astype(np.float32)
    return jnp.asarray(video), jnp.arange(TIME) < jnp.array(lengths)[:, None]


@pytest.fixture(scope='module')
def built():
    """built(name) -> (apply, variables), compiled once."""
    cache = {}

    def build(name):
        if name not in cache:
            module, variant, options = MODELS[name]
            model = module.make(variant, num_classes=CLASSES, **options)
            shapes = jax.eval_shape(model.init, jax.random.key(0), *clips())
            cache[name] = jax.jit(model.apply), random_leaves(shapes), model
        return cache[name]

    return build


@EVERY_MODEL
def test_padding_does_not_change_the_logits(name, built):
    apply, variables, _ = built(name)
    video, mask = clips()
    logits, _ = apply(variables, video, mask)
    assert logits.shape == (2, 5) and np.std(logits) > 0.01
    filled = jnp.where(mask[..., None, None, None], video, 9.0)
    np.testing.assert_allclose(apply(variables, filled, mask)[0], logits, atol=1e-6)
    # The short clip without its padding has the same logits.
    alone, _ = jax.jit(apply)(variables, video[1:, :3], mask[1:, :3])
    np.testing.assert_allclose(alone[0], logits[1], atol=1e-5)
    assert (
        np.abs(apply(variables, video, jnp.ones_like(mask))[0][1] - logits[1]).max()
        > 1e-3
    )


@EVERY_MODEL
def test_only_models_with_a_memory_depend_on_the_order_of_frames(name, built):
    apply, variables, _ = built(name)
    video, mask = clips((6, 6))
    order = np.array([3, 0, 5, 1, 4, 2])
    logits, shuffled = (apply(variables, x, mask)[0] for x in (video, video[:, order]))
    same = np.allclose(logits, shuffled, atol=1e-5)
    assert same == name.startswith('frame_average')


@EVERY_MODEL
def test_logits_are_the_same_with_and_without_jit_and_in_training(name, built):
    apply, variables, model = built(name)
    video, mask = clips()
    logits, tensors = apply(variables, video, mask)
    np.testing.assert_array_equal(logits, tensors['logits'])
    np.testing.assert_allclose(
        model.apply(variables, video, mask)[0], logits, atol=1e-5
    )
    # The batch norm of the CNN computes otherwise in training.
    if 'cnn' not in name:
        trained, _ = model.apply(variables, video, mask, train=True)
        np.testing.assert_allclose(trained, logits, atol=1e-5)


@pytest.mark.parametrize('name', ['frame_average', 'lrcn', 'conv_lstm_net'])
def test_every_parameter_has_a_gradient(name, built):
    apply, variables, _ = built(name)
    gradient = jax.jit(
        jax.grad(
            lambda variables: jnp.square(apply(variables, *clips())[0][:, 0]).sum()
        )
    )(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path


def test_average_is_the_mean_of_the_frames_probabilities():
    logits, mask = RNG.normal(size=(2, TIME, 5)), np.arange(TIME) < np.array([[6], [3]])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [probabilities[0].mean(0), probabilities[1, :3].mean(0)]
    np.testing.assert_allclose(
        np.exp(frames.average(jnp.asarray(logits), jnp.asarray(mask))),
        expected,
        rtol=1e-5,
    )


def test_the_lstm_equals_keras(built):
    """An independent LSTM, on the features that ours is given."""
    keras = pytest.importorskip('keras')
    apply, variables, _ = built('lrcn')
    _, tensors = apply(variables, *clips())
    params = variables['params']['lstm']

    def gates(side, what):
        return np.concatenate([params[side + gate][what] for gate in 'ifgo'], -1)

    layer = keras.layers.LSTM(8, return_sequences=True)
    layer.build((2, TIME, 7))
    layer.set_weights([gates('i', 'kernel'), gates('h', 'kernel'), gates('h', 'bias')])
    np.testing.assert_allclose(
        tensors['states'], layer(np.asarray(tensors['features'])), atol=1e-5
    )


def test_change_is_the_difference_from_the_previous_frame():
    video, _ = clips()
    channels = np.asarray(frames.with_change(video))
    np.testing.assert_array_equal(channels[..., :2], video)
    np.testing.assert_array_equal(channels[:, 0, ..., 2:], 0)
    np.testing.assert_allclose(
        channels[:, 3, ..., 2:], video[:, 3] - video[:, 2], atol=1e-6
    )


@pytest.mark.parametrize(
    'module, variant, options, message',
    [
        (
            lrcn,
            '4-6',
            {'prediction': 'first'},
            "prediction='first': expected one of 'logits', 'prob",
        ),
        (
            lrcn,
            '4-6',
            {'backbone': 'lenet'},
            "backbone='lenet': expected one of 'strided', 'cnn'",
        ),
        (frame_average, '4-', {}, "Write them as '16-32-64'"),
        (conv_lstm_net, 'x', {}, "conv_lstm_net's stages. Write them as '16-32-64'"),
        (conv_lstm_net, '4x2-6', {}, "variant='4x2-6': expected .* without an 'x'"),
        (frame_average, '4x2-6', {}, "variant='4x2-6': expected .* without an 'x'"),
    ],
)
def test_an_unknown_option_is_an_error_that_lists_the_choices(
    module, variant, options, message
):
    with pytest.raises(UserError, match=message):
        module.make(variant, num_classes=CLASSES, **options)


def test_a_patch_that_does_not_divide_the_frames_is_an_error():
    model = frame_average.make('4', num_classes=CLASSES, patch=3)
    with pytest.raises(
        UserError, match='patch=3: expected images of a multiple of 3 pixels .* 8x8'
    ):
        jax.eval_shape(model.init, jax.random.key(0), *clips())
