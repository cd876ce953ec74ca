import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage
from PIL import Image

from jaxvision.image import degrade

PHOTO = skimage.data.astronaut()[:90, 150:285]  # 90 x 135


def photo(channels=3):
    return jnp.array(PHOTO[..., :channels] / 255, jnp.float32)


degraded = jax.jit(degrade.degrade, static_argnums=(2, 3, 4, 5))


def imresize(image, scale):
    """MATLAB's imresize(image, 1 / scale), its defaults, by its formula, in numpy."""

    def kernel(x):  # Keys, a = -1/2
        x = np.abs(x)
        return np.where(
            x <= 1,
            1.5 * x**3 - 2.5 * x**2 + 1,
            np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0),
        )

    def along_rows(image):
        length = len(image)
        u = np.arange(1, length // scale + 1) * scale + 0.5 * (
            1 - scale
        )  # counted from 1
        taps = np.ceil(4 * scale) + 2
        index = np.floor(u - 2 * scale)[:, None] + np.arange(taps)
        weights = kernel((u[:, None] - index) / scale) / scale
        weights /= weights.sum(1, keepdims=True)
        mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        return np.einsum(
            'ot,ot...->o...',
            weights,
            image[mirrored[(index.astype(int) - 1) % (2 * length)]],
        )

    return along_rows(along_rows(image).swapaxes(0, 1)).swapaxes(0, 1)


@pytest.mark.parametrize('scale', [2, 3])
def test_downscale_equals_pillow_and_inside_also_matlab(scale):
    image = photo()[: 90 // scale * scale, : 135 // scale * scale]
    ours = np.asarray(jax.jit(degrade.downscale, static_argnums=1)(image, scale))
    height, width, _ = ours.shape
    pillow = np.stack(
        [
            np.asarray(
                Image.fromarray(np.asarray(image[..., c])).resize((width, height), 3)
            )
            for c in range(3)
        ],
        -1,
    )
    np.testing.assert_allclose(ours, pillow, atol=1e-6)
    matlab = imresize(np.asarray(image, np.float64), scale)
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(ours[inside], matlab[inside], atol=1e-6)
    assert np.abs(ours - matlab).max() > 1e-4  # so MATLAB's edges do differ


def test_downscale_by_no_divisor_is_an_error():
    with pytest.raises(
        ValueError,
        match='scale=4: expected a divisor of both sides of the image of 90x135',
    ):
        degrade.downscale(photo(), 4)


@pytest.mark.parametrize('sigma', [0.6, 2.5])
def test_blur_equals_scipy(sigma):
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(photo(), np.float64), (sigma, sigma, 0), mode='nearest'
    )
    ours = jax.jit(degrade.gaussian_blur, static_argnums=1)(photo(), sigma)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_noise_has_its_std_and_stays_in_range():
    grey = jnp.full((200, 200, 3), 0.5)
    noise = degrade.gaussian_noise(jax.random.key(0), grey, 0.1) - grey
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert float(jnp.abs(noise.mean())) < 0.001
    loud = degrade.gaussian_noise(jax.random.key(0), grey, 2.0)
    assert (loud.min(), loud.max()) == (0, 1)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('quality', [10, 50, 90])
def test_jpeg_is_close_to_pillow(quality, channels):
    """Sides that are no multiple of a block; libjpeg's arithmetic is of whole numbers."""
    file = io.BytesIO()
    pixels = PHOTO[:85, :, :channels].squeeze()
    Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
    expected = np.asarray(Image.open(file), np.float32).reshape(85, 135, channels)
    ours = 255 * np.asarray(
        jax.jit(degrade.jpeg_compression)(photo(channels)[:85], quality)
    )
    loss = np.abs(expected - pixels.reshape(expected.shape)).mean()
    difference = np.abs(ours - expected)
    assert difference.mean() < min(0.1 * loss, 0.3)
    assert np.percentile(difference, 99) < 3.01


def test_only_noise_changes_a_constant_image():
    image = jnp.full((24, 24, 3), 128 / 255)
    worse = degraded(jax.random.key(0), image, 2, 1.5, 0.0, 40)
    assert worse.shape == (12, 12, 3)
    np.testing.assert_allclose(worse, 128 / 255, atol=1e-6)


def test_zero_switches_a_part_off_and_the_result_has_8_bits():
    key, image = jax.random.key(1), photo()[:24, :36]
    parts = [(1, 0.0, 0.0, 0), (1, 1.0, 0.0, 0), (1, 0.0, 0.05, 0), (1, 0.0, 0.0, 30)]
    answers = [degraded(key, image, *part) for part in parts]
    np.testing.assert_allclose(answers[0], image, atol=1e-6)
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(255 * answer, np.round(255 * answer), atol=1e-4)
        assert all(np.abs(answer - other).max() > 0.02 for other in answers[:i])


def test_the_parts_are_applied_in_order():
    key, image = jax.random.key(1), photo()[:24, :36]

    @jax.jit
    def by_hand(image):
        small = degrade.downscale(degrade.gaussian_blur(image, 0.8), 3)
        noisy = degrade.gaussian_noise(key, jnp.clip(small, 0, 1), 0.02)
        return degrade.jpeg_compression(noisy, 60)

    ours = degraded(key, image, 3, 0.8, 0.02, 60)
    np.testing.assert_allclose(ours, by_hand(image), atol=1e-6)
