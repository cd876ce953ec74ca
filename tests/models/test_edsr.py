import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.models.generators import edsr


def build(variant, scale=2, channels=3, **options):
    return edsr.make(variant, scale=scale, channels=channels, **options)


def image(channels=3, height=7, width=6):
    return jax.random.uniform(jax.random.key(0), (2, height, width, channels))


@pytest.mark.parametrize(
    'variant, scale, count',
    [
        ('baseline', 2, 1_369_859),
        ('baseline', 3, 1_554_499),
        ('baseline', 4, 1_517_571),  # EDSR
        # 33 biases fewer than the paper's, before a batch norm, and a PReLU slope a channel.
        ('srresnet', 4, 1_549_462 - 33 * 64 + 19 * 63),
        ('6x32', 2, 3 * 288 + 32 + 13 * (9 * 32 * 32 + 32) + 9 * 32 * 12 + 12),
    ],
)
def test_parameter_counts_equal_the_papers(variant, scale, count):
    variables = jax.eval_shape(build(variant, scale).init, jax.random.key(0), image())
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == count


@pytest.mark.parametrize(
    'variant, scale', [('baseline', 3), ('srresnet', 4), ('1x4', 2)]
)
def test_the_output_has_the_right_size_and_starts_as_bicubic(variant, scale):
    model = build(variant, scale).clone(blocks=1, width=4)
    pixels = image()
    variables = jax.jit(model.init)(jax.random.key(0), pixels)
    apply = jax.jit(model.apply)
    answer, tensors = apply(variables, pixels)
    assert answer.shape == (2, 7 * scale, 6 * scale, 3)
    assert set(tensors) == {'head', 'block1', 'body'}
    pillow = Image.fromarray(np.asarray(pixels[0, ..., 0])).resize(
        (6 * scale, 7 * scale), 3
    )
    np.testing.assert_allclose(answer[0, ..., 0], pillow, atol=1e-6)
    learned, _ = apply(random_leaves(variables), pixels)
    assert np.abs(learned - answer).max() > 0.01


def test_activations_of_sixteen_blocks_neither_explode_nor_vanish():
    _, tensors = jax.jit(build('16x8').init_with_output)(
        jax.random.key(0), image(height=16, width=16)
    )[0]
    first, last = (float(tensors[f'block{i}'].std()) for i in (1, 16))
    assert first / 2 < last < 3 * first


@pytest.mark.parametrize('variant', ['1x4', 'srresnet'])
def test_it_trains_in_bfloat16_and_on_grey_images(variant):
    model = build(variant, 2, 1, dtype=jnp.bfloat16).clone(blocks=1, width=4)
    variables = random_leaves(jax.eval_shape(model.init, jax.random.key(0), image(1)))

    @jax.jit
    def gradient(params):
        def loss(params):
            (answer, _), new = model.apply(
                {**variables, 'params': params},
                image(1),
                train=True,
                mutable=['batch_stats'],
            )
            return jnp.square(answer - 0.3).mean(), (answer, new)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (answer, new) = gradient(variables['params'])
    assert answer.dtype == jnp.float32 and answer.shape == (2, 14, 12, 1)
    assert ('batch_stats' in new) == (variant == 'srresnet')
    assert all(np.abs(gradients[name]['kernel']).max() > 0 for name in ('head', 'last'))


@pytest.mark.parametrize(
    'variant, scale, message',
    [
        ('large', 2, "expected 'baseline', 'srresnet', or the blocks and the width"),
        ('0x32', 2, '6x32'),
        ('6x32', 8, 'scale=8: expected one of 2, 3, 4'),
    ],
)
def test_an_unknown_variant_or_scale_is_an_error_that_lists_the_choices(
    variant, scale, message
):
    with pytest.raises(UserError, match=message):
        build(variant, scale)


@pytest.mark.parametrize(
    'batch_norm, direct, scale',
    [
        (False, True, 3),
        (False, False, 2),
        (False, False, 4),
        (True, False, 3),
        (True, False, 4),
    ],
)
def test_reach_is_the_radius_of_the_receptive_field(batch_norm, direct, scale):
    model = edsr.EDSR(scale, 1, 1, 4, batch_norm, direct)
    side = 2 * model.reach + 5
    pixels = jax.random.uniform(jax.random.key(0), (1, side, side, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(1), pixels)
    variables = jax.tree.map(lambda x: np.abs(x) + 0.1, random_leaves(shapes))
    middle = slice(scale * (side // 2), scale * (side // 2 + 1))

    def answer(x):
        return model.apply(variables, x)[0][:, middle, middle].sum()

    rows = np.nonzero(np.any(jax.jit(jax.grad(answer))(pixels)[0, :, :, 0], 1))[0]
    assert rows[0] == side // 2 - model.reach and rows[-1] == side // 2 + model.reach
