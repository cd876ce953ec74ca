import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxvision.metrics import restoration

REFERENCE = dict(
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
)


def pair(channels, height=24, width=31):
    """A crop of a photograph with noise, and without, float64."""
    truth = (
        skimage.data.astronaut()[100 : 100 + height, 180 : 180 + width, :channels] / 255
    )
    noise = np.random.default_rng(0).normal(0, 0.1, truth.shape)
    return np.clip(truth + noise, 0, 1), truth


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('border', [0, 2])
def test_psnr_and_ssim_equal_scikit_image(channels, border):
    image, truth = pair(channels)
    inside = (slice(border, 24 - border), slice(border, 31 - border))
    error = restoration.squared_error(jnp.array(image), jnp.array(truth), border)
    expected = peak_signal_noise_ratio(truth[inside], image[inside], data_range=1)
    assert float(restoration.psnr(error)) == pytest.approx(expected, abs=1e-10)
    ssim = restoration.ssim(jnp.array(image), jnp.array(truth), border)
    expected = structural_similarity(
        truth[inside], image[inside], channel_axis=-1, **REFERENCE
    )
    assert float(ssim) == pytest.approx(expected, abs=1e-10)


def test_a_peak_of_255_is_the_same_psnr():
    image, truth = pair(3)
    ours = restoration.psnr(
        restoration.squared_error(jnp.array(image), jnp.array(truth))
    )
    of_bytes = restoration.squared_error(jnp.array(255 * image), jnp.array(255 * truth))
    assert float(restoration.psnr(of_bytes, 255.0)) == pytest.approx(
        float(ours), abs=1e-9
    )
    assert restoration.psnr(0.0) == np.inf


def test_luma_equals_matlab():
    image, _ = pair(3)
    expected = skimage.color.rgb2ycbcr(image)[..., :1] / 255
    np.testing.assert_allclose(restoration.luma(jnp.array(image)), expected, atol=1e-12)
    black, white = (
        float(restoration.luma(jnp.full((1, 1, 3), value))[0, 0, 0])
        for value in (0.0, 1.0)
    )
    assert (255 * black, 255 * white) == pytest.approx((16, 235))
    grey = jnp.array(image[..., :1])
    assert restoration.luma(grey) is grey


def test_float32_under_vmap_is_near():
    image, truth = (np.stack([x, x[::-1]]) for x in pair(3))
    single = [jnp.array(x, jnp.float32) for x in (image, truth)]
    for function in (restoration.squared_error, restoration.ssim):
        ours = jax.jit(jax.vmap(function))(*single)
        expected = [
            function(jnp.array(a), jnp.array(b))
            for a, b in zip(image, truth, strict=True)
        ]
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_small_images_and_wrong_channels_are_errors():
    image = jnp.zeros((12, 20, 3))
    with pytest.raises(ValueError, match='8x16'):
        restoration.ssim(image, image, border=2)
    with pytest.raises(ValueError, match='border=6: expected less than half'):
        restoration.squared_error(image, image, border=6)
    with pytest.raises(ValueError, match='has 4'):
        restoration.luma(jnp.zeros((2, 2, 4)))
