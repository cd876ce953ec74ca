"""Generators and discriminators: sizes, classes, and what their papers promise of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.generators import dcgan, r3gan, sngan

SMALL = {
    'dcgan': (dcgan, '8-4', {}),
    'sngan': (sngan, '8-4', {}),
    'r3gan': (r3gan, '8x2-6-4', {}),
    'r3gan_patch': (r3gan, '8-4', {'patch': 2, 'norm': 'batch'}),
}


def players(name, classes, size=16, channels=3):
    module, variant, options = SMALL[name]
    generator, discriminator = module.make(
        variant, num_classes=classes, image_shape=(size, size, channels), **options
    )
    latent, label = (
        jax.random.normal(jax.random.key(0), (4, 5)),
        jnp.arange(4) % max(classes, 1),
    )

    def drawn(model, *inputs):
        return random_leaves(
            jax.eval_shape(partial(model.init, train=True), jax.random.key(1), *inputs)
        )

    made = drawn(generator, latent, label)
    image = jax.random.normal(jax.random.key(2), (4, size, size, channels))
    return (
        generator,
        made,
        latent,
        label,
        discriminator,
        drawn(discriminator, image, label),
        image,
    )


@pytest.mark.parametrize('name', SMALL)
def test_shapes_and_that_the_class_matters(name):
    generator, made, latent, label, discriminator, judged, image = players(name, 3)
    generate, judge = jax.jit(generator.apply), jax.jit(discriminator.apply)
    fake = generate(made, latent, label)
    assert fake.shape == image.shape
    assert not np.allclose(fake, generate(made, latent, (label + 1) % 3), atol=1e-6)
    scores, named = judge(judged, image, label)
    assert scores.shape == (4,) and named['pooled'].ndim == 2
    assert not np.allclose(scores, judge(judged, image, (label + 1) % 3)[0])


@pytest.mark.parametrize('name', SMALL)
def test_without_classes_the_label_is_not_looked_at(name):
    generator, made, latent, label, discriminator, judged, image = players(name, 0)
    assert not any(
        'of_class' in jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path((made, judged))
    )
    program = jax.make_jaxpr(generator.apply)(made, latent, label).jaxpr
    assert not any(
        program.invars[-1] is read for step in program.eqns for read in step.invars
    )


def test_dcgan_is_as_large_as_its_paper_draws_it():
    generator, discriminator = dcgan.make(
        '512-256-128-64', num_classes=0, image_shape=(64, 64, 3)
    )

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree['params']))

    made = jax.eval_shape(
        lambda: generator.init(jax.random.key(0), jnp.zeros((1, 100)))
    )
    judged = jax.eval_shape(
        lambda: discriminator.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    )
    widths = [512, 256, 128, 64]
    norms = 2 * sum(widths)
    kernels = 25 * (512 * 256 + 256 * 128 + 128 * 64)
    assert count(made) == 100 * 16 * 512 + kernels + 25 * 64 * 3 + 3 + norms
    assert count(judged) == 25 * 3 * 64 + 64 + kernels + norms - 2 * 64 + 16 * 512 + 1


def test_a_block_of_r3gan_starts_as_the_identity():
    block = r3gan.Block(2.0, 1, 4, jnp.float32, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    np.testing.assert_array_equal(block.init_with_output(jax.random.key(1), x)[0], x)


def test_sngans_kernels_have_norm_one_after_enough_iterations():
    _, _, _, label, discriminator, variables, image = players('sngan', 3)
    stats, params = {'batch_stats': variables['batch_stats']}, variables['params']
    iterate = jax.jit(
        lambda stats: discriminator.apply(
            {'params': params, **stats},
            image,
            label,
            train=True,
            mutable=['batch_stats'],
        )[1]
    )
    for _ in range(300):
        stats = iterate(stats)
    sigmas = {
        path[-1].key: value
        for path, value in jax.tree_util.tree_leaves_with_path(stats)
        if path[-1].key.endswith('sigma')
    }
    assert (
        len(sigmas) == 3 * 2 + 1 + 2
    )  # blocks' convolutions, a shortcut, the score's two
    for name, sigma in sigmas.items():
        kernel = params
        for part in name.split('/')[:-1]:
            kernel = kernel[part]
        kernel = np.asarray(kernel).reshape(-1, kernel.shape[-1])
        assert sigma == pytest.approx(
            np.linalg.svd(kernel, compute_uv=False)[0], rel=1e-3
        )


@pytest.mark.parametrize(
    'module, variant', [(dcgan, '8-4-2'), (r3gan, '8-4-2-2'), (sngan, '8')]
)
def test_a_variant_that_makes_another_size_is_refused(module, variant):
    with pytest.raises(UserError, match='variant'):
        module.make(variant, num_classes=0, image_shape=(16, 16, 1))
