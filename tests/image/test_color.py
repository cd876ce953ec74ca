import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color
from PIL import Image, ImageEnhance, ImageOps

from jaxvision.image import color

RNG = np.random.default_rng(0)
UINT8 = {
    'noise': RNG.integers(0, 256, (48, 40, 3), np.uint8),
    'dull': RNG.integers(90, 131, (48, 40, 3), np.uint8),
    'two levels': RNG.choice(np.array([40, 200], np.uint8), (48, 40, 3)),
    'constant': np.full((48, 40, 3), 77, np.uint8),
}


def levels(image):
    return np.round(np.asarray(image) * 255).astype(int)


def check(function, reference, tolerance, *arguments):
    """`function` on floats against Pillow on 8 bits, in 8-bit levels, colour and grey."""
    function = jax.jit(function)
    for name, image in UINT8.items():
        for pixels in (image, image[..., 0]):
            expected = np.asarray(reference(Image.fromarray(pixels))).reshape(
                48, 40, -1
            )
            ours = function(
                color.to_float(jnp.array(pixels).reshape(48, 40, -1)), *arguments
            )
            assert np.abs(levels(ours) - expected.astype(int)).max() <= tolerance, name


def test_to_float_takes_bytes_and_floats():
    image = UINT8['noise']
    np.testing.assert_allclose(color.to_float(jnp.array(image)), image / 255, atol=1e-7)
    as_float = color.to_float(jnp.array(image, jnp.float32), jnp.bfloat16)
    assert as_float.dtype == jnp.bfloat16
    np.testing.assert_allclose(as_float.astype(np.float32), image / 255, rtol=2**-8)


def test_normalize_uses_the_mean_and_std_of_each_channel():
    image = color.to_float(jnp.array(UINT8['noise']).reshape(2, 24, 40, 3))
    mean, std = image.mean((0, 1, 2)), image.std((0, 1, 2))
    normal = color.normalize(image, mean.tolist(), std.tolist())
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(normal.std((0, 1, 2)), 1, atol=1e-6)
    with pytest.raises(
        ValueError, match='one number for each of 3 channels, but mean has 1'
    ):
        color.normalize(image, [0.5], [0.5])


def test_grayscale_equals_pillow():
    check(color.grayscale, lambda image: image.convert('L'), 1)
    assert color.grayscale(jnp.ones((1, 1, 3))).item() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match='the image has 4'):
        color.grayscale(jnp.ones((1, 1, 4)))


@pytest.mark.parametrize('factor', [0.0, 0.4, 1.0, 1.9])
@pytest.mark.parametrize(
    'name, enhance',
    [
        ('brightness', ImageEnhance.Brightness),
        ('contrast', ImageEnhance.Contrast),
        ('saturation', ImageEnhance.Color),
        ('sharpness', ImageEnhance.Sharpness),
    ],
)
def test_adjustments_equal_pillow(name, enhance, factor):
    # Pillow rounds the degenerate image to 8 bits, then the blend.
    function = getattr(color, f'adjust_{name}')
    check(
        function,
        lambda image: enhance(image).enhance(factor),
        0 if factor == 1 else 2,
        factor,
    )


@pytest.mark.parametrize('size', [(1, 5), (2, 2)])
def test_sharpness_keeps_the_border_as_pillow_does(size):
    image = color.to_float(jnp.array(UINT8['noise'][: size[0], : size[1]]))
    np.testing.assert_allclose(color.adjust_sharpness(image, 0.1), image, atol=1e-6)


CORNERS = np.stack(np.meshgrid(*3 * [[0, 0.5, 1]]), -1).reshape(
    9, 3, 3
)  # grey, pure, with ties


@pytest.mark.parametrize('delta', [-1.3, -0.3, 0.0, 0.5, 1.0, 2.25])
@pytest.mark.parametrize(
    'image', [UINT8['noise'] / 255, CORNERS], ids=['noise', 'corners']
)
def test_hue_equals_scikit_image(image, delta):
    hue, saturation, value = np.moveaxis(skimage.color.rgb2hsv(image), -1, 0)
    expected = skimage.color.hsv2rgb(
        np.stack([(hue + delta) % 1, saturation, value], -1)
    )
    ours = jax.jit(color.adjust_hue)(jnp.array(image, jnp.float32), delta)
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    grey = jnp.array(image[..., :1], jnp.float32)
    np.testing.assert_array_equal(color.adjust_hue(grey, delta), grey)


def test_hue_has_a_finite_gradient_at_greys_and_ties():
    def squared(image):
        return jnp.sum(color.adjust_hue(image, 0.1) ** 2)

    gradient = jax.jit(jax.grad(squared))(jnp.array(CORNERS, jnp.float32))
    assert np.isfinite(gradient).all()


def test_hue_does_not_depend_on_rounding():
    # At level 0 a compiler computes a channel twice, which is then equal to the greatest no more.
    image = jnp.array(np.random.default_rng(0).random((9, 8, 3)), jnp.float32)

    def jitter(image):
        return color.random_color_jitter(jax.random.key(3), image, 0.4, 0.4, 0.4, 0.1)

    compiled = (
        jax.jit(jitter)
        .lower(image)
        .compile(compiler_options={'xla_backend_optimization_level': 0})
    )
    np.testing.assert_allclose(compiled(image), jitter(image), atol=1e-5)


def jitter(image, *strengths):
    """The image under 400 keys."""
    keys = jax.random.split(jax.random.key(0), 400)
    many = jax.vmap(
        lambda key: color.random_color_jitter(key, jnp.array(image), *strengths)
    )
    return np.asarray(jax.jit(many)(keys))


def test_jitter_samples_brightness_and_contrast_from_their_whole_range():
    factors = jitter([[[0.5]]], 0.4, 0.0, 0.0, 0.0) / 0.5
    assert factors.min() + 1e-6 >= 0.6 and factors.min() < 0.62
    assert 1.38 < factors.max() <= 1.4 + 1e-6
    contrasts = np.ptp(jitter([[[0.4], [0.6]]], 0.0, 1.5, 0.0, 0.0), axis=2) / 0.2
    assert contrasts.min() < 0.05 and 2.45 < contrasts.max() <= 2.5 + 1e-5


def test_jitter_samples_saturation_and_hue_from_their_whole_range():
    red = [[[0.9, 0.3, 0.3]]]
    saturations = np.ptp(jitter(red, 0.0, 0.0, 0.2, 0.0), axis=-1) / 0.6
    assert saturations.min() + 1e-6 >= 0.8 and saturations.min() < 0.81
    assert saturations.max() == pytest.approx(1.2, abs=0.04)
    # A pure red turned by 0.1 of the circle has 0.6 of green, or of blue.
    turned = jitter([[[1.0, 0.0, 0.0]]], 0.0, 0.0, 0.0, 0.1)
    assert turned.max((0, 1, 2)) == pytest.approx([1, 0.6, 0.6], abs=0.02)


def test_invert():
    check(color.invert, ImageOps.invert, 0)


@pytest.mark.parametrize('threshold', [0, 100, 255])
def test_solarize_equals_pillow(threshold):
    check(
        color.solarize,
        lambda image: ImageOps.solarize(image, threshold),
        0,
        threshold / 255,
    )


@pytest.mark.parametrize('bits', [1, 4, 8])
def test_posterize_equals_pillow(bits):
    check(color.posterize, lambda image: ImageOps.posterize(image, bits), 0, bits)


def test_autocontrast_equals_pillow():
    # Pillow cuts the fraction off.
    check(color.autocontrast, ImageOps.autocontrast, 1)


def test_equalize_equals_pillow():
    check(color.equalize, ImageOps.equalize, 0)


def test_equalize_keeps_an_image_of_few_pixels_as_pillow_does():
    few = UINT8['noise'][:4, :4, 0]
    ours = jax.jit(color.equalize)(color.to_float(jnp.array(few)[..., None]))
    np.testing.assert_array_equal(
        levels(ours)[..., 0], ImageOps.equalize(Image.fromarray(few))
    )
