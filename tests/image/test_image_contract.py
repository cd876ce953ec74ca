"""Every function on one image keeps its dtype and range, and works under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.image import augment, color, degrade, geometry, resize

RANDOM = {
    'random_flip': geometry.random_flip,
    'random_translate': lambda key, x: geometry.random_translate(key, x, 2),
    'random_rotate': lambda key, x: geometry.random_rotate(key, x, 30.0),
    'random_color_jitter': lambda key, x: color.random_color_jitter(
        key, x, 0.8, 0.8, 0.8, 0.2
    ),
    'random_resized_crop': lambda key, x: resize.random_resized_crop(key, x, (10, 6)),
    'bicubic crop': lambda key, x: resize.random_resized_crop(
        key, x, (16, 16), method='bicubic'
    ),
    'randaugment': augment.randaugment,
    'cutout': lambda key, x: augment.cutout(key, x, 3),
    'random_dihedral': lambda key, x: geometry.random_dihedral(key, x[:8]),
    'degrade': lambda key, x: degrade.degrade(key, x[:8], 2, 1.0, 0.1, 40),
}
PLAIN = {
    'flip_left_right': geometry.flip_left_right,
    'translate': lambda x: geometry.translate(x, 1, -2),
    'rotate': lambda x: geometry.rotate(x, 33.0),
    'shear': lambda x: geometry.shear(x, 0.1, 0.2, None),
    'normalize': lambda x: color.normalize(x, [0.5] * x.shape[-1], [0.2] * x.shape[-1]),
    'grayscale': color.grayscale,
    'adjust_hue': lambda x: color.adjust_hue(x, 0.1),
    'adjust_sharpness': lambda x: color.adjust_sharpness(x, 1.5),
    'autocontrast': color.autocontrast,
    'equalize': color.equalize,
    'posterize': lambda x: color.posterize(x, 4),
    'solarize': lambda x: color.solarize(x, 0.5),
    'resize': lambda x: resize.resize(x, (5, 7), 'lanczos3'),
}
ALL = {name: lambda key, x, f=f: f(x) for name, f in PLAIN.items()} | RANDOM
# DiffAugment does not clip, so it may leave [0, 1].
ALL['diffaugment'] = augment.diffaugment


@pytest.mark.parametrize('name', RANDOM)
def test_a_batch_equals_its_single_images_in_0_to_1(name):
    function = RANDOM[name]
    images = jnp.array(np.random.default_rng(0).random((6, 9, 8, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 6)
    batch = jax.jit(jax.vmap(function))(keys, images)
    single = jax.jit(function)
    loop = np.stack(
        [single(key, image) for key, image in zip(keys, images, strict=True)]
    )
    np.testing.assert_allclose(batch, loop, atol=1e-6)
    assert loop.min() >= 0 and loop.max() <= 1


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', ALL)
def test_the_dtype_and_the_channels_are_kept(name, channels, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        image = jax.ShapeDtypeStruct((9, 8, channels), dtype)
        answer = jax.eval_shape(ALL[name], jax.random.key(0), image)
    assert answer.dtype == dtype
    assert answer.shape[-1] == (1 if name == 'grayscale' else channels)


@pytest.mark.parametrize('mix', [augment.mixup, augment.cutmix])
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float64])
def test_mixing_keeps_the_dtype(mix, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        images, targets = (
            jax.ShapeDtypeStruct((4, 9, 8, 3), dtype),
            jnp.eye(4, dtype=jnp.float32),
        )
        keys = jax.random.split(jax.random.key(0), 4)
        mixed = jax.eval_shape(lambda *batch: mix(*batch, 1.0), keys, images, targets)
        assert [x.dtype for x in mixed] == [dtype, jnp.float32]


@pytest.mark.parametrize(
    'name', ['random_translate', 'random_rotate', 'random_color_jitter', 'diffaugment']
)
def test_a_key_has_the_same_effect_on_any_dtype(name):
    image = np.random.default_rng(0).random((9, 8, 3))
    function = jax.jit(ALL[name])
    single = function(jax.random.key(3), jnp.array(image, jnp.float32))
    with jax.enable_x64(True):
        double = function(jax.random.key(3), jnp.array(image))
    np.testing.assert_allclose(single, double, atol=1e-5)
