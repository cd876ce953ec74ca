"""Corruptions beside the published code's libraries, and laws of all fifteen."""

import functools
import io

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats
from skimage import color as skimage_color
from skimage.data import astronaut

from jaxvision.image.corruptions import blur, digital, noise, published, weather
from jaxvision.image.corruptions.published import CORRUPTIONS

PHOTO = cv2.resize(astronaut()[:400, 50:450], (32, 28), interpolation=cv2.INTER_AREA)
IMAGE = jnp.asarray(PHOTO, jnp.float32) / 255
LARGE = cv2.resize(astronaut(), (96, 96), interpolation=cv2.INTER_AREA) / 255
PIXELS = np.asarray(IMAGE, np.float64)


@functools.cache
def corrupted(name, severity):
    """Two images, corrupted in a batch by two keys."""
    keys = jax.random.split(jax.random.key(0), 2)
    corrupt = functools.partial(published.corrupt, name=name, severity=severity)
    batch = jnp.stack([IMAGE, IMAGE[::-1, ::-1]])
    return np.asarray(jax.jit(jax.vmap(corrupt))(keys, batch))


def parameters(name):
    corruption = CORRUPTIONS[name]
    return [*corruption.large, *corruption.small]


@pytest.mark.parametrize(('radius', 'alias'), parameters('defocus_blur'))
def test_defocus_equals_opencv(radius, alias):
    half = 8 if radius <= 8 else int(radius)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float64)
    side = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (side, side), alias)
    expected = cv2.filter2D(LARGE, -1, kernel)
    got = blur.convolve(
        jnp.asarray(LARGE, jnp.float32), blur.disk_kernel(radius, alias)
    )
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize('distance', [1, 4])
def test_glass_moves_pixels_as_one_after_the_other_does(distance):
    height, width = 14, 11
    rng = np.random.default_rng(distance)
    offsets = rng.integers(-distance, distance, (2, height, width))
    places = np.arange(height * width).reshape(height, width)
    expected = places.copy()
    for y in range(height - distance, distance, -1):
        for x in range(width - distance, distance, -1):
            dy, dx = offsets[:, y, x]
            expected[y, x] = expected[y + dy, x + dx]
    got = blur._replacements(jnp.asarray(offsets), distance)
    np.testing.assert_array_equal(got.reshape(height, width), expected)
    assert (expected != places).mean() > 0.1


@pytest.mark.parametrize(
    ('radius', 'sigma', 'degrees'), [(4, 2.0, 30.0), (3, 1.0, -70.0)]
)
def test_motion_equals_a_correlation_with_a_line(radius, sigma, degrees):
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    kernel = np.zeros((4 * radius + 1,) * 2)
    for step, weight in zip(steps, weights, strict=True):
        y = int(np.ceil(step * np.sin(np.deg2rad(degrees)) - 0.5))
        x = int(np.ceil(step * np.cos(np.deg2rad(degrees)) - 0.5))
        kernel[2 * radius + y, 2 * radius + x] += weight
    expected = ndimage.correlate(PIXELS, kernel[..., None], mode='nearest')
    got = jax.jit(blur.motion_blur, static_argnums=(1, 2))(
        IMAGE, radius, sigma, degrees
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize('factor', [1.0, 1.01, 1.13, 1.26, 2.5, 4.5])
def test_zoom_equals_scipy(factor):
    pixels = PIXELS[:28, :28]
    crop = int(np.ceil(28 / factor))
    top = (28 - crop) // 2
    inner = pixels[top : top + crop, top : top + crop]
    zoomed = ndimage.zoom(inner, (factor, factor, 1), order=1)
    trim = (len(zoomed) - 28) // 2
    expected = zoomed[trim : trim + 28, trim : trim + 28]
    got = blur.zoom(IMAGE[:28, :28], factor)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_zoom_blur_averages_the_magnifications():
    factors = [1.0, 1.1, 1.2]
    expected = (IMAGE + sum(blur.zoom(IMAGE, factor) for factor in factors)) / 4
    np.testing.assert_allclose(blur.zoom_blur(IMAGE, factors), expected, atol=1e-6)


@pytest.mark.parametrize('amount', [0.1, 0.5])
def test_brightness_equals_the_value_of_hsv(amount):
    pixels = PIXELS.copy()
    pixels[0, 0] = 0
    hsv = skimage_color.rgb2hsv(pixels)
    hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0, 1)
    expected = skimage_color.hsv2rgb(hsv)
    got = digital.brighten(jnp.asarray(pixels, jnp.float32), amount)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    gray = digital.brighten(IMAGE[..., :1], amount)
    expected = np.clip(PIXELS[..., 0] + amount, 0, 1)
    np.testing.assert_allclose(gray[..., 0], expected, atol=1e-6)


def test_contrast_scales_the_difference_from_the_mean_of_a_channel():
    means = PIXELS.mean((0, 1))
    expected = (PIXELS - means) * 0.4 + means
    got = digital.reduce_contrast(IMAGE, 0.4)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(digital.reduce_contrast(IMAGE, 1.0), PIXELS, atol=1e-6)


@pytest.mark.parametrize('fraction', parameters('pixelate'))
def test_pixelate_equals_pillow(fraction):
    plane = Image.fromarray(PIXELS[..., 0].astype(np.float32), 'F')
    size = (int(plane.width * fraction), int(plane.height * fraction))
    small = plane.resize(size, Image.Resampling.BOX)
    expected = np.asarray(small.resize(plane.size, Image.Resampling.BOX))
    got = digital.pixelate(IMAGE[..., :1], fraction)
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-6)


def test_jpeg_is_that_of_pillow():
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, 'JPEG', quality=40)
    expected = np.asarray(Image.open(file)) / 255
    got = corrupted('jpeg_compression', 5)[0]
    assert np.abs(got - expected).mean() < 0.5 / 255
    assert np.abs(got - PIXELS).mean() > 4 / 255


def test_elastic_equals_opencv_and_scipy():
    displacement, sigma, corner = 3.0, 2.0, 2.5
    key = jax.random.key(5)
    corner_key, field_key = jax.random.split(key)
    height, width, _ = PIXELS.shape
    shifts = jax.random.uniform(corner_key, (3, 2), jnp.float32, -corner, corner)
    fields = jax.random.uniform(field_key, (2, height, width), jnp.float32, -1, 1)
    half = min(height, width) // 3
    centre = np.array([width // 2, height // 2])
    corners = centre + half * np.array([[1, 1], [1, -1], [-1, -1]])
    matrix = cv2.getAffineTransform(
        (corners + np.asarray(shifts)).astype(np.float32), corners.astype(np.float32)
    )
    y, x = np.mgrid[:height, :width]
    x_source, y_source = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), 1)
    dx, dy = (
        displacement
        * ndimage.gaussian_filter(np.asarray(field), sigma, mode='reflect', truncate=3)
        for field in fields
    )
    channels = []
    for channel in np.moveaxis(PIXELS, -1, 0):
        warped = ndimage.map_coordinates(
            channel, [y_source, x_source], order=1, mode='mirror'
        )
        channels.append(
            ndimage.map_coordinates(warped, [y + dy, x + dx], order=1, mode='reflect')
        )
    distort = jax.jit(digital.elastic_transform, static_argnums=(2, 3, 4))
    got = distort(key, IMAGE, displacement, sigma, corner)
    np.testing.assert_allclose(got, np.stack(channels, -1), atol=1e-4)
    still = distort(key, IMAGE, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(still, PIXELS, atol=1e-5)


def test_shot_noise_has_the_statistics_of_photons():
    image = jnp.full((60, 60, 1), 0.4)
    shoot = jax.jit(noise.shot_noise, static_argnums=2)
    shot = np.asarray(shoot(jax.random.key(0), image, 25.0)) * 25
    np.testing.assert_allclose(shot, np.round(shot), atol=1e-4)
    # The sum of 3,600 numbers of mean 10 has a Poisson distribution.
    total = stats.poisson(3600 * 10.0)
    assert total.ppf(1e-6) < shot.sum() < total.isf(1e-6)
    assert shot.var() == pytest.approx(10.0, rel=0.15)
    black = shoot(jax.random.key(0), jnp.zeros((60, 60, 1)), 25.0)
    assert not black.any()


def test_impulses_are_black_and_white_in_equal_parts():
    image = jnp.full((40, 40, 3), 0.4)
    noisy = np.asarray(noise.impulse_noise(jax.random.key(1), image, 0.3))
    numbers = stats.binom(noisy.size, 0.15)
    for value in (0.0, 1.0):
        count = (noisy == value).sum()
        assert numbers.ppf(1e-6) < count < numbers.isf(1e-6)
    assert (noisy == np.float32(0.4)).mean() == pytest.approx(0.7, abs=0.05)
    # Each channel has impulses of its own.
    is_white = noisy == 1
    assert (is_white.any(-1) & ~is_white.all(-1)).sum() > 200


def test_plasma_is_that_of_the_published_code():
    size, decay = 8, 1.7
    key = jax.random.key(2)
    numbers = np.asarray(jax.random.uniform(key, (size**2,), minval=-1))
    heights = np.zeros((size, size))
    step, wibble = size, 100.0
    while step >= 2:
        cells = size // step
        random = numbers[cells**2 : 4 * cells**2].reshape(3, cells, cells)
        middle, row, column = wibble * wibble * random
        half = step // 2
        corner = heights[::step, ::step]
        squares = corner + np.roll(corner, -1, 0)
        squares = squares + np.roll(squares, -1, 1)
        heights[half::step, half::step] = squares / 4 + middle
        centre = heights[half::step, half::step]
        upper = centre + np.roll(centre, 1, 0) + corner + np.roll(corner, -1, 1)
        heights[::step, half::step] = upper / 4 + row
        left = centre + np.roll(centre, 1, 1) + corner + np.roll(corner, -1, 0)
        heights[half::step, ::step] = left / 4 + column
        step, wibble = half, wibble / decay
    heights -= heights.min()
    expected = heights / heights.max()
    got = jax.jit(weather.plasma, static_argnums=(1, 2))(key, size, decay)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_fog_keeps_the_brightest_value():
    key = jax.random.key(0)

    @jax.jit
    def fog_and_plasma(image):
        return weather.fog(key, image, 1.5, 2.0), weather.plasma(key, 32, 2.0)

    got, plasma = fog_and_plasma(IMAGE)
    plasma = np.asarray(plasma)[:28, :32, None]
    brightest = PIXELS.max()
    expected = (PIXELS + 1.5 * plasma) * brightest / (brightest + 1.5)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_snow_whitens_an_image_and_adds_flakes():
    snow = jax.jit(
        functools.partial(
            weather.snow, mean=0.1, std=0.3, magnification=2.0, radius=3, sigma=2.0
        )
    )
    key = jax.random.key(0)
    clear = snow(key, IMAGE, threshold=9.0, weight=jnp.float32(0.6))
    luma = PIXELS @ [0.299, 0.587, 0.114]
    white = np.maximum(PIXELS, 1.5 * luma[..., None] + 0.5)
    expected = np.clip(0.6 * PIXELS + 0.4 * white, 0, 1)
    np.testing.assert_allclose(clear, expected, atol=1e-5)
    snowy = snow(key, IMAGE, threshold=0.5, weight=jnp.float32(0.6))
    flakes = np.asarray(snowy - clear)
    # Flakes are there, and they do not cover the image.
    assert flakes.min() > -1e-6 and flakes.max() > 0.2
    assert 0.02 < (flakes > 1e-3).mean() < 0.9


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_the_distance_grows_from_the_first_to_the_last_severity(name):
    distances = []
    for severity in (1, 5):
        images = corrupted(name, severity)
        assert images.min() >= 0 and images.max() <= 1
        distances.append(np.abs(images[0] - PIXELS).mean())
    assert distances[0] > 1e-4
    # The affine map of elastic_transform shrinks while its field becomes rougher.
    assert name == 'elastic_transform' or distances[0] < distances[1]


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_a_batch_equals_its_single_images(name):
    keys = jax.random.split(jax.random.key(0), 2)
    corrupt = jax.jit(functools.partial(published.corrupt, name=name, severity=5))
    single = np.asarray(corrupt(keys[0], IMAGE))
    # JPEG rounds, and a difference in the last bit may move a value by a step.
    is_near = np.abs(single - corrupted(name, 5)[0]) < 1e-5
    assert is_near.mean() > 0.99
    is_random = CORRUPTIONS[name].kind == 'noise' or name in (
        'glass_blur',
        'motion_blur',
        'snow',
        'frost',
        'fog',
        'elastic_transform',
    )
    other = np.asarray(corrupt(keys[1], IMAGE))
    assert is_random == bool((other != single).any())


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_every_severity_keeps_shape_and_dtype(name):
    key = jax.random.key(0)
    for severity in published.SEVERITIES:
        corrupt = functools.partial(published.corrupt, name=name, severity=severity)
        for shape in ((8, 8, 1), (224, 230, 3)):
            image = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
            answer = jax.eval_shape(corrupt, key, image)
            assert answer.shape == shape and answer.dtype == jnp.bfloat16


def test_the_table_follows_the_size():
    key = jax.random.key(0)
    small = published.corrupt(key, IMAGE, 'contrast', 1)
    np.testing.assert_allclose(small, digital.reduce_contrast(IMAGE, 0.75), atol=1e-6)
    large = jnp.asarray(LARGE, jnp.float32)
    got = published.corrupt(key, large, 'contrast', 1)
    np.testing.assert_allclose(got, digital.reduce_contrast(large, 0.4), atol=1e-6)


@pytest.mark.parametrize(('name', 'severity'), [('fogg', 1), ('fog', 0), ('fog', 6)])
def test_what_does_not_exist_is_refused(name, severity):
    with pytest.raises(ValueError, match='fog|expected 1 to 5'):
        published.corrupt(jax.random.key(0), IMAGE, name, severity)
