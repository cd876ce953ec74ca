"""The U-Net for segmentation: any size of image, any backbone, and what each pixel sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.segmenters import maps, segmentation_unet

CLASSES = 3
ENCODER = 'cnn:4x1-6x1-8x1'


def build(image, variant=ENCODER, **options):
    model = segmentation_unet.make(variant, num_classes=CLASSES, **options)
    return model, random_leaves(jax.eval_shape(model.init, jax.random.key(0), image))


def picture(height=16, width=24):
    pixels = np.random.default_rng(0).standard_normal((2, height, width, 3))
    return jnp.asarray(pixels, jnp.float32)


def test_maps_and_logits_have_the_expected_sizes():
    image = picture()
    model, variables = build(image, depth=1)
    outputs, tensors = jax.eval_shape(model.apply, variables, image)
    assert {name: x.shape for name, x in tensors.items() if len(x.shape) == 4} == {
        'stage1': (2, 16, 24, 4),
        'stage2': (2, 8, 12, 6),
        'stage3': (2, 4, 6, 8),
        'up2': (2, 8, 12, 32),
        'up1': (2, 16, 24, 16),
        'logits': (2, 16, 24, CLASSES),
    }
    assert outputs.keys() == {'logits'}
    joined = variables['params']['up1']['conv1']['conv']['kernel']
    assert joined.shape == (3, 3, 16 + 4, 16)


@pytest.mark.parametrize('options', [{}, {'finest': 2, 'upsampling': 'bilinear'}])
def test_an_image_of_odd_size_is_padded_by_its_last_row_and_column(options):
    image = picture(13, 18)
    padded = np.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0)), mode='edge')
    model, variables = build(image, depth=1, **options)
    apply = jax.jit(model.apply)
    outputs, _ = apply(variables, image)
    of_padded, _ = apply(variables, padded)
    assert outputs['logits'].shape == (2, 13, 18, CLASSES)
    np.testing.assert_array_equal(outputs['logits'], of_padded['logits'][:, :13, :18])


@pytest.mark.parametrize('upsampling', segmentation_unet.ENLARGED)
def test_what_a_pixel_sees_is_centred_on_it(upsampling):
    """With positive weights, the gradient of a logit is the weight of each pixel.

    A pooled cell passes its gradient to one of four equal pixels, so that the centre is
    only known to about a cell.
    """
    image = jnp.ones((1, 64, 96, 3))
    model, variables = build(image, depth=1, upsampling=upsampling)
    variables['params'] = jax.tree.map(jnp.abs, variables['params'])

    @jax.jit
    def seen(row, column):
        def logit(image):
            outputs, _ = model.apply(variables, image)
            return outputs['logits'][0, row, column].sum()

        return jax.grad(logit)(image)[0].sum(-1)

    for row, column in [(33, 46), (20, 61)]:
        weights = seen(row, column)
        rows = weights.sum(1) @ np.arange(64) / weights.sum()
        columns = weights.sum(0) @ np.arange(96) / weights.sum()
        assert abs(rows - row) < 2 and abs(columns - column) < 2


def test_every_parameter_has_a_gradient_and_statistics_change_in_training():
    image = picture()
    model, variables = build(image)

    @jax.jit
    @jax.grad
    def gradient(params):
        rest = {'batch_stats': variables['batch_stats'], 'params': params}
        (outputs, _), _ = model.apply(rest, image, train=True, mutable=['batch_stats'])
        return jnp.square(outputs['logits'] - 1).sum()

    for leaf in jax.tree.leaves(gradient(variables['params'])):
        assert np.abs(leaf).max() > 0


@pytest.mark.parametrize(
    'variant, strides, steps',
    [
        ('resnet:18', (2, 4, 8, 16, 32), '1-16 2-32 4-64 8-128 16-256'),
        ('strided:4-8-8', (4, 8, 16), '1-16 2-32 4-64 8-128'),
    ],
)
def test_any_backbone_with_maps_of_several_strides_is_an_encoder(
    variant, strides, steps
):
    model = segmentation_unet.make(variant, num_classes=CLASSES)
    assert model.strides == strides
    assert ' '.join(f'{stride}-{width}' for stride, width in model.steps) == steps
    image = jnp.zeros((1, 70, 40, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    outputs, _ = jax.eval_shape(model.apply, variables, image)
    assert outputs['logits'].shape == (1, 70, 40, CLASSES)


@pytest.mark.parametrize(
    'variant, options, message',
    [
        ('vit:Ti/16', {}, 'feature maps of at least two sizes'),
        ('resnet', {}, 'expected NAME:VARIANT'),
        (ENCODER, {'finest': 4}, 'finest=4: .* at most half of .* 4'),
        (ENCODER, {'finest': 0}, 'finest=0'),
        (ENCODER, {'widths': '8'}, 'expected 2 numbers, .* strides 1, 2'),
        (ENCODER, {'widths': '8,8'}, "widths='8,8'"),
        (ENCODER, {'upsampling': 'cubic'}, "'cubic'"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_remedy(variant, options, message):
    with pytest.raises(UserError, match=message):
        segmentation_unet.make(variant, num_classes=CLASSES, **options)


def test_resized_logits_have_pixel_centres_at_half_integers():
    """Bilinear interpolation of a ramp is the ramp, but for half a cell at the border."""
    rows, columns = np.mgrid[:6, :5] + 0.5
    ramp = jnp.asarray(rows + 10 * columns, jnp.float32)[None, :, :, None]
    resized = maps.resized(ramp, (24, 15))[0, 2:-2, 2:-2, 0]
    rows, columns = np.mgrid[2:22, 2:13] + 0.5
    np.testing.assert_allclose(resized, rows / 4 + 10 * columns / 3, rtol=1e-5)
    assert maps.resized(ramp, (6, 5)) is ramp
