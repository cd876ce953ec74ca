import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.image import resize

PILLOW = {'bilinear': 2, 'bicubic': 3, 'lanczos3': 1}
PHOTO = np.random.default_rng(0).random((375, 500), np.float32)


resized = jax.jit(resize.resize, static_argnums=(1, 2))
crop_and_resize = jax.jit(resize.crop_and_resize, static_argnums=(2, 3))
box = jax.jit(resize.random_resized_box, static_argnums=(1, 2, 3, 4))


def pillow(image, size, method):
    return np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[method]))


@pytest.mark.parametrize('method', PILLOW)
@pytest.mark.parametrize('size', [(224, 224), (400, 501), (375, 500), (1, 700)])
def test_resize_equals_pillow(size, method):
    ours = resized(jnp.array(PHOTO)[..., None], size, method)[..., 0]
    np.testing.assert_allclose(ours, pillow(PHOTO, size, method), atol=1e-5)


@pytest.mark.parametrize('method', PILLOW)
def test_crop_and_resize_equals_pillow(method):
    for top, left, height, width in [
        (0, 0, 375, 500),
        (100, 300, 23, 181),
        (374, 499, 1, 1),
    ]:
        box = jnp.array([top, left, height, width])
        ours = crop_and_resize(jnp.array(PHOTO)[..., None], box, (64, 48), method)[
            ..., 0
        ]
        crop = PHOTO[top : top + height, left : left + width]
        np.testing.assert_allclose(ours, pillow(crop, (64, 48), method), atol=1e-5)


def test_float64_is_precise():
    ramp = np.linspace(0, 1, 9)
    with jax.enable_x64(True):
        ours = resized(jnp.array(ramp)[:, None, None], (18, 1))[:, 0, 0]
        assert ours.dtype == np.float64
    # Linear interpolation keeps a ramp, sampled at quarter pixels and held at both ends.
    expected = np.interp((np.arange(18) + 0.5) / 2 - 0.5, np.arange(9), ramp)
    np.testing.assert_allclose(ours, expected, atol=1e-14)


def inception_box(uniforms, height, width, scale, ratio):
    """The rule as a plain loop over Python floats."""
    for area_u, ratio_u, top_u, left_u in uniforms.tolist():
        area = height * width * (scale[0] + area_u * (scale[1] - scale[0]))
        aspect = math.exp(math.log(ratio[0]) + ratio_u * math.log(ratio[1] / ratio[0]))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(top_u * (height - h + 1)), int(left_u * (width - w + 1)), h, w
    if width / height < ratio[0]:
        h, w = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        h, w = height, round(height * ratio[1])
    else:
        h, w = height, width
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize('height, width', [(375, 500), (20, 31), (10, 90), (90, 10)])
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_box_is_the_first_attempt_that_fits(height, width, seed):
    uniforms = np.random.default_rng(seed).random((10, 4))
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    expected = inception_box(uniforms, height, width, scale, ratio)
    # In float64, as the loop's: float32 may round a side near a half the other way.
    with jax.enable_x64(True):
        ours = box(jnp.array(uniforms), height, width, scale, ratio)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize('height, width', [(10, 90), (90, 10), (40, 40)])
def test_box_falls_back_to_the_central_crop(height, width):
    uniforms = np.full((10, 4), 0.999, np.float32)
    scale, ratio = (2.0, 3.0), (3 / 4, 4 / 3)
    expected = inception_box(uniforms, height, width, scale, ratio)
    np.testing.assert_array_equal(box(uniforms, height, width, scale, ratio), expected)


def test_box_of_the_largest_uniforms_is_inside():
    uniforms = np.full((10, 4), np.nextafter(np.float32(1), np.float32(0)))
    top, left, height, width = box(uniforms, 3000, 4000, (0.08, 0.5), (3 / 4, 4 / 3))
    assert top + height <= 3000 and left + width <= 4000


def test_random_resized_crops_cover_scale_and_ratio():
    uniforms = np.random.default_rng(0).random((500, 10, 4), np.float32)
    boxes = jax.jit(jax.vmap(lambda u: resize.random_resized_box(u, 300, 300)))(
        uniforms
    )
    height, width = np.asarray(boxes, float).T[2:]
    area, ratio = height * width / 300**2, width / height
    assert area.min() + 0.005 >= 0.08 and area.min() < 0.1 and area.max() > 0.95
    assert 0.74 < ratio.min() < 0.78 and 1.28 < ratio.max() < 1.35
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.03)


def test_random_resized_crop_is_a_part_of_the_image():
    """An image of coordinates shows which box was cropped, and that it was a single one."""
    y, x = np.mgrid[:64, :96] / 96
    image = jnp.array(np.stack([y, x], -1), jnp.float32)
    crop = jax.jit(jax.vmap(lambda key: resize.random_resized_crop(key, image, (8, 8))))
    crops = np.asarray(crop(jax.random.split(jax.random.key(0), 50)))
    ys, xs = crops[..., 0], crops[..., 1]
    np.testing.assert_allclose(ys, ys[:, :, :1].repeat(8, 2), atol=1e-5)
    np.testing.assert_allclose(xs, xs[:, :1].repeat(8, 1), atol=1e-5)
    assert (np.diff(ys, axis=1) > 0).all() and (np.diff(xs, axis=2) > 0).all()
    assert len(np.unique(ys[:, 0, 0])) > 25
