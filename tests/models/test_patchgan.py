"""The patch discriminator: its map, its receptive field, and that its layers stretch nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.models.generators import patchgan

IMAGE = jax.random.normal(jax.random.key(0), (2, 28, 28, 3))


@pytest.fixture(scope='module')
def built():
    """A model, its variables and its compiled application."""
    model = patchgan.make('4-8')
    variables = jax.jit(model.init)(jax.random.key(1), IMAGE)
    return model, variables, jax.jit(model.apply)


def test_every_pixel_of_the_last_map_has_a_score(built):
    model, variables, _ = built
    scores, tensors = jax.eval_shape(model.apply, variables, IMAGE)
    assert scores.shape == (2, 7, 7)
    assert {name: x.shape for name, x in tensors.items()} == {
        'stage1': (2, 14, 14, 4),
        'stage2': (2, 7, 7, 8),
        'scores': (2, 7, 7),
    }


def test_a_score_depends_on_its_patch_alone(built):
    model, variables, _ = built

    def score(image):
        return model.apply(variables, image)[0][0, 3, 3]

    seen = jax.jit(jax.grad(score))(IMAGE)
    rows = np.flatnonzero(np.abs(seen[0]).max((1, 2)))
    assert (
        len(rows) == 5 + 2 * 4
    )  # two 5x5 layers, the second on a map of half the pixels
    assert not seen[1].any()


def test_training_normalises_the_largest_singular_value_to_one(built):
    model, variables, _ = built
    step = jax.jit(
        lambda statistics: model.apply(
            {**variables, 'batch_stats': statistics},
            IMAGE,
            train=True,
            mutable=['batch_stats'],
        )[1]
    )
    statistics = variables['batch_stats']
    for _ in range(60):
        statistics = step(statistics)['batch_stats']
    for name, sigmas in statistics.items():
        (layer,) = {key.split('/')[0] for key in sigmas}
        kernel = np.asarray(variables['params'][layer]['kernel'])
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[
            0
        ]
        assert sigmas[f'{layer}/kernel/sigma'] == pytest.approx(largest, rel=1e-3), name


def test_scaling_the_kernels_does_not_change_the_scores(built):
    _, variables, apply = built

    def scale(path, x):
        return 3 * x if path[-1].key == 'kernel' else x

    scaled = {
        **variables,
        'params': jax.tree_util.tree_map_with_path(scale, variables['params']),
    }
    np.testing.assert_allclose(
        apply(scaled, IMAGE)[0],
        apply(variables, IMAGE)[0],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float64])
def test_the_model_computes_in_its_dtype(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        param_dtype = jnp.promote_types(dtype, jnp.float32)
        image = IMAGE.astype(dtype)
        model = patchgan.make('4-8', dtype=dtype, param_dtype=param_dtype)
        variables = jax.eval_shape(model.init, jax.random.key(1), image)
        scores, tensors = jax.eval_shape(model.apply, variables, image)
        assert scores.dtype == param_dtype and tensors['stage2'].dtype == dtype
        assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(param_dtype)}


def test_a_malformed_variant_is_an_error_with_an_example():
    message = "^task.discriminator='32-x': expected .* Write them as '16-32-64'"
    with pytest.raises(UserError, match=message):
        patchgan.make('32-x')
