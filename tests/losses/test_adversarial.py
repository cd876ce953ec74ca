import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.losses import adversarial
from jaxvision.models.blocks import convolution, pooling

REAL = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -4.0]])
FAKE = np.array([[-3.0, 1.5, 0.5], [0.0, -0.25, 2.0]])


def minus_log_sigmoid(x):
    return -np.log(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize(
    'kind, discriminator, generator',
    [
        # The papers' forms: a cross-entropy, a maximum, an expectation.
        (
            'non_saturating',
            minus_log_sigmoid(REAL) + minus_log_sigmoid(-FAKE),
            minus_log_sigmoid(FAKE),
        ),
        ('hinge', np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE), -FAKE),
        ('wasserstein', FAKE - REAL, -FAKE),
        (
            'relativistic',
            minus_log_sigmoid(REAL - FAKE),
            minus_log_sigmoid(FAKE - REAL),
        ),
    ],
)
def test_losses_equal_the_formulas_of_the_papers(kind, discriminator, generator):
    real, fake = jnp.array(REAL, jnp.float32), jnp.array(FAKE, jnp.float32)
    np.testing.assert_allclose(
        adversarial.discriminator(kind, real, fake), discriminator, 1e-6
    )
    np.testing.assert_allclose(adversarial.generator(kind, real, fake), generator, 1e-6)


@pytest.mark.parametrize('kind', adversarial.KINDS)
@pytest.mark.parametrize('loss', [adversarial.discriminator, adversarial.generator])
def test_gradients_move_scores_in_the_right_direction(kind, loss):
    """The discriminator separates the scores. The generator raises the fake one alone."""
    real, fake = jax.grad(lambda pair: loss(kind, *pair))(
        (jnp.array(0.1), jnp.array(0.2))
    )
    if loss is adversarial.discriminator:
        assert real < 0 < fake
    else:
        assert fake < 0 <= real


@pytest.mark.parametrize('kind', adversarial.KINDS)
@pytest.mark.parametrize('loss', [adversarial.discriminator, adversarial.generator])
def test_losses_of_large_or_bfloat16_scores_are_finite_and_exact(kind, loss):
    real = jnp.array([-1e4, 3.0], jnp.bfloat16)
    fake = jnp.array([1e4, 1.01], jnp.bfloat16)
    losses = loss(kind, real, fake)
    assert losses.dtype == jnp.float32 and jnp.isfinite(losses).all()
    expected = loss(kind, real.astype(jnp.float32), fake.astype(jnp.float32))
    np.testing.assert_array_equal(losses, expected)


def test_an_unknown_kind_is_an_error_that_lists_the_known_kinds():
    with pytest.raises(
        ValueError, match="'non_saturing'; did you mean 'non_saturating'.*hinge"
    ):
        adversarial.generator('non_saturing', jnp.zeros(1), jnp.zeros(1))


class Critic(nn.Module):
    """A smooth critic (except for its maxima) with the two layers that define derivatives."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(convolution.Conv(4, (3, 3), name='stem', param_dtype=x.dtype)(x))
        x = pooling.max_pool(x, (2, 2))
        x = nn.tanh(
            convolution.Conv(5, (3, 3), name='overhanging', param_dtype=x.dtype)(x)
        )
        x = convolution.Conv(3, (1, 1), name='pointwise', param_dtype=x.dtype)(x)
        return nn.Dense(1, param_dtype=x.dtype)(nn.tanh(x).reshape(len(x), -1))[:, 0]


def r1(critic, params, real, fake):
    return adversarial.squared_gradient(lambda x: critic.apply(params, x), real)


def wgan_gp(critic, params, real, fake):
    fraction = np.linspace(0.1, 0.9, len(real))
    return adversarial.interpolation_penalty(
        lambda x: critic.apply(params, x), real, fake, jnp.asarray(fraction)
    )


def r1_by_differences(critic, params, real, fake, h=1e-5):
    """sum over pixels of ((score(x + h e) - score(x - h e)) / 2h)^2, for each image."""
    score, image_shape = jax.jit(critic.apply), real[0].shape
    steps = h * np.eye(np.prod(image_shape)).reshape(-1, *image_shape)
    slopes = [
        np.subtract(score(params, image + steps), score(params, image - steps))
        / (2 * h)
        for image in np.asarray(real)
    ]
    return np.square(slopes).sum(1)


def wgan_gp_by_differences(critic, params, real, fake):
    fraction = np.linspace(0.1, 0.9, len(real))[:, None, None, None]
    squared = r1_by_differences(
        critic, params, fraction * np.asarray(real) + (1 - fraction) * fake, None
    )
    return (np.sqrt(squared) - 1) ** 2


# A convolution of one channel defines its gradient itself.
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(
    'penalty, reference', [(r1, r1_by_differences), (wgan_gp, wgan_gp_by_differences)]
)
def test_penalties_and_their_gradients_equal_finite_differences(
    penalty, reference, channels
):
    with jax.enable_x64(True):
        rng = np.random.default_rng(channels)
        real, fake = (
            jnp.asarray(rng.uniform(size=(3, 4, 4, channels))) for _ in range(2)
        )
        critic = Critic()
        flat, unravel = jax.flatten_util.ravel_pytree(
            jax.jit(critic.init)(jax.random.key(0), real)
        )
        flat = np.asarray(flat) + 0.3 * rng.normal(size=flat.shape)

        penalties = jax.jit(lambda flat: penalty(critic, unravel(flat), real, fake))
        np.testing.assert_allclose(
            penalties(flat), reference(critic, unravel(flat), real, fake), rtol=1e-7
        )

        h, some = 1e-5, slice(None, None, 3)
        expected = [
            np.subtract(penalties(flat + h * e), penalties(flat - h * e)).sum()
            / (2 * h)
            for e in np.eye(len(flat))[some]
        ]
        got = jax.jit(jax.grad(lambda flat: penalties(flat).sum()))(flat)
        np.testing.assert_allclose(
            np.asarray(got)[some],
            expected,
            rtol=1e-5,
            atol=1e-8 * np.abs(expected).max(),
        )


def test_a_score_that_ignores_its_image_has_penalty_one_and_no_nan():
    images = jnp.ones((2, 4, 4, 1))

    def penalty(w):
        return adversarial.interpolation_penalty(
            lambda x: w * x.sum((1, 2, 3)), images, images, jnp.full(2, 0.5)
        ).sum()

    value, gradient = jax.value_and_grad(penalty)(0.0)
    assert float(value) == 2 and float(gradient) == 0


def test_penalties_of_a_linear_score_do_not_depend_on_the_fraction():
    rng = np.random.default_rng(0)
    direction, real, fake = map(
        jnp.asarray, rng.normal(size=(3, 2, 5, 5, 3)).astype(np.float32)
    )
    length = np.sqrt((np.asarray(direction)[0] ** 2).sum())

    def score(x):
        return (x * direction[0]).sum((1, 2, 3))

    np.testing.assert_allclose(
        adversarial.squared_gradient(score, real), length**2, 1e-5
    )
    penalty = adversarial.interpolation_penalty(
        score, real, fake, jnp.array([0.0, 1.0])
    )
    np.testing.assert_allclose(penalty, (length - 1) ** 2, 1e-5)
