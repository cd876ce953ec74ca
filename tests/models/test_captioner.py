import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.models.backbones import cnn
from jaxvision.models.sequence import captioner


@pytest.fixture(scope='module')
def captioner_and_images():
    encoder = cnn.make('4x1-6x1', num_classes=0)
    model = captioner.Captioner(
        encoder, 'stage2', 12, hidden=8, embedding=5, attention=7, places=8
    )
    images = jax.random.uniform(jax.random.key(0), (2, 16, 12, 3))
    captions = jnp.zeros(2, jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(1), images, captions)
    return model, variables, images


def test_one_step_equals_section_3_1_2_of_the_paper(captioner_and_images):
    """The attention, its gate, the LSTM of equation 1 and the output of equation 7, in NumPy."""
    model, variables, images = captioner_and_images
    p = jax.tree.map(np.float64, variables['params'])

    def dense(name, x):
        return x @ p[name]['kernel'] + p[name].get('bias', 0)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    (features, key), (cell, output) = model.apply(variables, images, method='see')
    features, cell, output = map(np.float64, (features, cell, output))
    assert features.shape == (2, 8, 6, 6 + 8)

    energy = dense(
        'energy',
        np.tanh(dense('key', features) + dense('query', output)[:, None, None]),
    )
    weights = np.exp(energy) / np.exp(energy).sum((1, 2), keepdims=True)
    context = sigmoid(dense('gate', output)) * (weights * features).sum((1, 2))
    word = p['word']['embedding'][[3, 9]]
    x = np.concatenate([word, context], -1)
    i, f, g, o = (
        x @ p['lstm'][f'i{gate}']['kernel']
        + output @ p['lstm'][f'h{gate}']['kernel']
        + p['lstm'][f'h{gate}']['bias']
        for gate in 'ifgo'
    )
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    output = sigmoid(o) * np.tanh(cell)
    logits = dense(
        'head', word + dense('of_state', output) + dense('of_context', context)
    )

    seen, start = model.apply(variables, images, method='see')
    (_, computed_output), computed_logits, computed_weights = model.apply(
        variables, seen, start, jnp.array([3, 9]), method='say'
    )
    np.testing.assert_allclose(computed_output, output, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(computed_logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(computed_weights, weights[..., 0], rtol=1e-4, atol=1e-6)


def test_every_position_has_a_different_code():
    code = captioner.place_code(16, 16, 32).reshape(256, 32)
    gaps = np.linalg.norm(code[:, None] - code[None], axis=-1) + 10 * np.eye(256)
    assert gaps.min() > 0.1
    # Cosines of half a period change their sign when mirrored, so left differs from right.
    assert (
        captioner.place_code(4, 6, 8)[:, ::-1] != captioner.place_code(4, 6, 8)
    ).any()


def test_only_feature_maps_can_be_attended_to(captioner_and_images):
    encoder = cnn.make('4x1-6x1', num_classes=0)
    for layer in ('pooled', 'stage3'):
        with pytest.raises(UserError, match='stage1'):
            captioner.Captioner(encoder, layer, 12).init(
                jax.random.key(0), captioner_and_images[2], jnp.zeros(2, jnp.int32)
            )


def test_a_model_without_classes_has_no_head(captioner_and_images):
    assert 'head' not in captioner_and_images[1]['params']['encoder']
