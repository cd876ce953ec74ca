"""The U-Net for inpainting: its three kinds of convolution, on images of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.generators import unet

RNG = np.random.default_rng(0)
KINDS = pytest.mark.parametrize('convolution', unet.CONVOLUTIONS)


def pictures(height=13, width=10, channels=3):
    image = jnp.asarray(RNG.uniform(size=(2, height, width, channels)), jnp.float32)
    hole = np.zeros((2, height, width, 1), bool)
    hole[0, 3:9, 2:9] = hole[1, :, 5:] = True
    return image, jnp.asarray(hole)


def build(convolution, image, hole, variant='4-6-8', **options):
    channels = image.shape[-1]
    model = unet.make(variant, channels=channels, convolution=convolution, **options)
    return model, random_leaves(
        jax.eval_shape(model.init, jax.random.key(0), image, hole)
    )


@KINDS
def test_the_output_has_the_size_of_the_image_and_starts_at_zero(convolution):
    image, hole = pictures()
    model, variables = build(convolution, image, hole)
    output, tensors = jax.jit(model.apply)(variables, image, hole)
    assert output.shape == image.shape and np.abs(output).max() > 0.01
    assert {name: x.shape[1:3] for name, x in tensors.items()} == {
        'stage1': (13, 10),
        'stage2': (7, 5),
        'stage3': (4, 3),
        'up2': (7, 5),
        'up1': (13, 10),
        'output': (13, 10),
    }
    start = jax.jit(model.init)(jax.random.key(0), image, hole)
    assert not np.asarray(jax.jit(model.apply)(start, image, hole)[0]).any()


@KINDS
def test_every_parameter_has_a_gradient(convolution):
    image, hole = pictures()
    model, variables = build(convolution, image, hole)
    gradient = jax.jit(
        jax.grad(
            lambda variables: jnp.square(
                model.apply(variables, image, hole)[0] - 1
            ).sum()
        )
    )(variables)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@KINDS
def test_training_updates_the_batch_statistics(convolution):
    image, hole = pictures()
    model, variables = build(convolution, image, hole, norm='batch')
    (_, tensors), new = jax.jit(
        lambda variables: model.apply(
            variables, image, hole, train=True, mutable=['batch_stats']
        )
    )(variables)
    assert all(
        (a != b).any()
        for a, b in zip(
            jax.tree.leaves(variables['batch_stats']),
            jax.tree.leaves(new['batch_stats']),
            strict=True,
        )
    )
    assert all(np.isfinite(x).all() for x in tensors.values())


@KINDS
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float64])
def test_the_model_computes_in_its_dtype(convolution, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        param_dtype = jnp.promote_types(dtype, jnp.float32)
        image, hole = pictures()
        image = image.astype(dtype)
        model, _ = build(convolution, image, hole, dtype=dtype, param_dtype=param_dtype)
        variables = jax.eval_shape(model.init, jax.random.key(0), image, hole)
        output, tensors = jax.eval_shape(model.apply, variables, image, hole)
    assert output.dtype == param_dtype and tensors['stage3'].dtype == dtype


def test_only_partial_convolutions_ignore_pixels_in_the_hole():
    image, hole = pictures()
    other = jnp.where(hole, 7.0, image)
    for convolution, same in (('partial', True), ('plain', False)):
        model, variables = build(convolution, image, hole)
        answers = [jax.jit(model.apply)(variables, x, hole)[0] for x in (image, other)]
        assert np.allclose(*answers, atol=1e-6) == same, convolution


def partial_convolution(x, known, kernel, bias):
    """Equations 1 and 2 of Liu et al., a pixel at a time; x [H, W, C], known [H, W, C]."""
    height, width, _ = x.shape
    x, known = (np.pad(array, ((1, 1), (1, 1), (0, 0))) for array in (x, known))
    y, updated = (
        np.zeros((height, width, kernel.shape[-1])),
        np.zeros((height, width, 1)),
    )
    for i, j in np.ndindex(height, width):
        window = known[i : i + 3, j : j + 3]
        if window.sum():
            product = np.einsum('yxc,yxcn->n', x[i : i + 3, j : j + 3] * window, kernel)
            y[i, j], updated[i, j] = product * window.size / window.sum() + bias, 1
    return np.where(y > 0, y, 0.2 * y), updated


def test_partial_convolution_equals_the_paper_for_two_maps_with_masks():
    masks = [RNG.random((8, 7, 1)) < fraction for fraction in (0.02, 0.06)]
    maps = [
        RNG.normal(size=(8, 7, c)) * mask for c, mask in zip((2, 3), masks, strict=True)
    ]
    known = np.concatenate(
        [mask.repeat(c, -1) for c, mask in zip((2, 3), masks, strict=True)], -1
    )
    x, joined = unet._joined(
        *(
            jnp.asarray(a, jnp.float32)[None]
            for a in (maps[0], masks[0], maps[1], masks[1])
        )
    )
    conv = unet.PartialConv(4)
    variables = random_leaves(jax.eval_shape(conv.init, jax.random.key(0), x, joined))
    y, updated = conv.apply(variables, x, joined)
    params = variables['params']
    expected, expected_mask = partial_convolution(
        np.concatenate(maps, -1),
        known,
        np.asarray(params['conv']['kernel']),
        np.asarray(params['bias']),
    )
    np.testing.assert_allclose(y[0], expected, atol=1e-5)
    np.testing.assert_array_equal(updated[0], expected_mask)
    assert 0 < expected_mask.mean() < 1


def test_a_closed_gate_gives_zero():
    x = jnp.asarray(RNG.normal(size=(1, 5, 5, 3)), jnp.float32)
    conv = unet.GatedConv(4)
    params = random_leaves(jax.eval_shape(conv.init, jax.random.key(0), x))['params'][
        'conv'
    ]

    def gated(gate):
        return conv.apply(
            {
                'params': {
                    'conv': {
                        'kernel': params['kernel'].at[..., 4:].set(0),
                        'bias': params['bias'].at[4:].set(gate),
                    }
                }
            },
            x,
        )

    features = unet.PlainConv(4).apply(
        {
            'params': {
                'conv': {
                    'kernel': params['kernel'][..., :4],
                    'bias': params['bias'][:4],
                }
            }
        },
        x,
    )
    np.testing.assert_allclose(gated(-100.0), 0, atol=1e-20)
    np.testing.assert_allclose(gated(0.0), features / 2, atol=1e-5)


@pytest.mark.parametrize(
    'variant, options, message',
    [
        ('32-', {}, "Write them as '16-32-64'"),
        (
            '32',
            {'convolution': 'dilated'},
            "expected one of 'gated', 'partial', 'plain'",
        ),
        ('32', {'norm': 'layer'}, "expected one of 'none', 'batch'"),
    ],
)
def test_an_unknown_variant_or_option_is_an_error_that_lists_the_choices(
    variant, options, message
):
    with pytest.raises(UserError, match=message):
        unet.make(variant, channels=1, **options)
