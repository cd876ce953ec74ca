"""Generators and discriminators: sizes, classes, and properties from their papers."""

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


def networks(name, classes, size=16, channels=3):
    module, variant, options = SMALL[name]
    generator, discriminator = module.make(
        variant, num_classes=classes, image_shape=(size, size, channels), **options
    )
    latent = jax.random.normal(jax.random.key(0), (4, 5))
    label = jnp.arange(4) % max(classes, 1)

    def random_variables(model, *inputs):
        return random_leaves(
            jax.eval_shape(partial(model.init, train=True), jax.random.key(1), *inputs)
        )

    generator_variables = random_variables(generator, latent, label)
    image = jax.random.normal(jax.random.key(2), (4, size, size, channels))
    return (
        generator,
        generator_variables,
        latent,
        label,
        discriminator,
        random_variables(discriminator, image, label),
        image,
    )


@pytest.mark.parametrize('name', SMALL)
def test_shapes_are_right_and_outputs_depend_on_the_class(name):
    (
        generator,
        generator_variables,
        latent,
        label,
        discriminator,
        discriminator_variables,
        image,
    ) = networks(name, 3)
    generate = jax.jit(generator.apply)
    discriminate = jax.jit(discriminator.apply)
    fake = generate(generator_variables, latent, label)
    assert fake.shape == image.shape
    assert not np.allclose(
        fake, generate(generator_variables, latent, (label + 1) % 3), atol=1e-6
    )
    scores, intermediates = discriminate(discriminator_variables, image, label)
    assert scores.shape == (4,) and intermediates['pooled'].ndim == 2
    assert not np.allclose(
        scores, discriminate(discriminator_variables, image, (label + 1) % 3)[0]
    )


@pytest.mark.parametrize('name', SMALL)
def test_without_classes_outputs_do_not_depend_on_the_label(name):
    (
        generator,
        generator_variables,
        latent,
        label,
        discriminator,
        discriminator_variables,
        image,
    ) = networks(name, 0)
    assert not any(
        'of_class' in jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(
            (generator_variables, discriminator_variables)
        )
    )
    program = jax.make_jaxpr(generator.apply)(generator_variables, latent, label).jaxpr
    assert not any(
        program.invars[-1] is read for step in program.eqns for read in step.invars
    )


def test_parameter_counts_of_dcgan_equal_the_paper():
    generator, discriminator = dcgan.make(
        '512-256-128-64', num_classes=0, image_shape=(64, 64, 3)
    )

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree['params']))

    generator_variables = jax.eval_shape(
        lambda: generator.init(jax.random.key(0), jnp.zeros((1, 100)))
    )
    discriminator_variables = jax.eval_shape(
        lambda: discriminator.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    )
    widths = [512, 256, 128, 64]
    norms = 2 * sum(widths)
    kernels = 25 * (512 * 256 + 256 * 128 + 128 * 64)
    assert (
        count(generator_variables) == 100 * 16 * 512 + kernels + 25 * 64 * 3 + 3 + norms
    )
    assert (
        count(discriminator_variables)
        == 25 * 3 * 64 + 64 + kernels + norms - 2 * 64 + 16 * 512 + 1
    )


def test_a_block_of_r3gan_starts_as_the_identity():
    block = r3gan.Block(2.0, 1, 4, jnp.float32, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    np.testing.assert_array_equal(block.init_with_output(jax.random.key(1), x)[0], x)


def test_power_iteration_finds_the_largest_singular_values_of_sngan():
    _, _, _, label, discriminator, variables, image = networks('sngan', 3)
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
    # Two convolutions in each of three blocks, a shortcut, and two layers of the score.
    assert len(sigmas) == 3 * 2 + 1 + 2
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
def test_a_variant_for_another_image_size_is_an_error(module, variant):
    with pytest.raises(UserError, match='variant'):
        module.make(variant, num_classes=0, image_shape=(16, 16, 1))


@pytest.mark.parametrize('module, variant', [(dcgan, '8-4'), (sngan, '8-4')])
def test_a_number_of_layers_is_refused_where_a_stage_has_one(module, variant):
    make = partial(module.make, num_classes=0, image_shape=(16, 16, 1))
    assert make('8x1-4') == make(variant)
    with pytest.raises(UserError, match="variant='8x2-4': expected .* without an 'x'"):
        make('8x2-4')


@pytest.mark.parametrize('name', SMALL)
def test_images_that_are_not_square_are_refused(name):
    module, variant, options = SMALL[name]
    with pytest.raises(UserError, match=r'image_shape=\(16, 32, 3\): expected square'):
        module.make(variant, num_classes=0, image_shape=(16, 32, 3), **options)


@pytest.mark.parametrize('discriminator', ['8-x', '8-4'])
def test_a_wrong_discriminator_of_r3gan_is_named_by_its_option(discriminator):
    field = f"^model.options.discriminator='{discriminator}': expected"
    with pytest.raises(UserError, match=field):
        r3gan.make(
            '8-6-4', num_classes=0, image_shape=(16, 16, 1), discriminator=discriminator
        )


def test_an_unknown_norm_of_the_generator_of_r3gan_is_refused():
    generator, _ = r3gan.make('8-4', num_classes=0, image_shape=(8, 8, 1))
    with pytest.raises(
        UserError, match="norm='group': expected one of 'none', 'batch'"
    ):
        jax.eval_shape(
            generator.clone(norm='group').init, jax.random.key(0), jnp.zeros((1, 5))
        )
