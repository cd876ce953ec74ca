"""What is to be learned of a video's frames: their importance, or what reinforcement rewards in a
summary (Zhou et al. 2018, arXiv:1801.00054).

Of one video, of fixed length and with a mask of the frames that it really has; for jit and vmap.
Rewards have no gradient worth following: `chosen` is drawn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxvision.tasks.video_summary.selection import SHARE

Chosen = Integer[Array, 't'] | Bool[Array, 't']  # 1 for a frame in the summary


def ranks(importance: Float[Array, 't'], mask: Bool[Array, 't']) -> Float[Array, 't']:
    """The share of the video's frames that are less important, those as important by half.

    What counts in the end (Otani et al. 2019, arXiv:1903.11328), whatever a person's scale is.
    """
    less = importance < importance[:, None]
    equal = importance == importance[:, None]
    return ((less + 0.5 * equal) * mask).sum(1) / jnp.maximum(mask.sum(), 1)


def bounded(logits: Float[Array, '*t']) -> Float[Array, '*t']:
    """In (-3, 3): no frame is ever sure to be drawn, so that what is learned first can be unlearned
    (Bello et al. 2016, arXiv:1611.09940, which bounds them for the same reason)."""
    return 3 * jnp.tanh(logits)


def reinforce(
    key: Key[Array, ''],
    logits: Float[Array, 't'],
    features: Float[Array, 't d'],
    mask: Bool[Array, 't'],
    episodes: int,
) -> tuple[Float[Array, ''], Float[Array, '']]:
    """A value whose gradient is REINFORCE's of the negative reward, in units of the rewards'
    standard deviation, and the reward: means over so many summaries, at least two.

    The baseline of each is the mean reward of the others (Kool et al. 2019, "Buy 4 REINFORCE
    samples, get a baseline for free!"). In these units a nearly still video, in which all summaries
    are nearly as good, teaches as much as any other.
    """
    chosen, likely = jax.vmap(draw, (0, None, None))(
        jax.random.split(key, episodes), logits, mask
    )
    rewards = jax.vmap(reward, (None, 0, None))(features, chosen, mask)
    advantage = (rewards - rewards.mean()) * episodes / (episodes - 1)
    advantage = jax.lax.stop_gradient(advantage / (rewards.std() + 1e-6))
    return -(advantage * likely).mean(), rewards.mean()


def draw(
    key: Key[Array, ''], logits: Float[Array, 't'], mask: Bool[Array, 't']
) -> tuple[Bool[Array, 't'], Float[Array, '']]:
    """A summary of SHARE of the frames, as `video.summary` keeps them, and the logarithm of its
    probability.

    Drawn are three to five stretches, of equal lengths, one after another without replacement: each
    in proportion to exp of its frames' mean logit (Plackett-Luce, of which the order counts, by the
    Gumbel trick: Kool et al. 2019, arXiv:1903.06059). Its likeliest is what a knapsack keeps.
    """
    kept = jnp.maximum(jnp.floor(SHARE * mask.sum() + 1e-4).astype(int), 1)
    length = jnp.maximum(kept // 3, 1)
    stretch = jnp.arange(len(logits)) // length

    def total(x):
        return jax.ops.segment_sum(jnp.where(mask, x, 0), stretch, len(logits))

    frames = total(jnp.ones_like(logits))
    none = jnp.finfo(logits.dtype).min / 4  # and not -inf, of which gradients are NaN
    values = jnp.where(frames > 0, total(logits) / jnp.maximum(frames, 1), none)
    order = jnp.argsort(-(values + jax.random.gumbel(key, values.shape, values.dtype)))
    drawn = jnp.arange(len(logits)) < kept // length
    left = jax.lax.cumlogsumexp(values[order], reverse=True)
    likely = jnp.where(drawn, values[order] - left, 0).sum()
    return jnp.zeros_like(mask).at[order].set(drawn)[stretch] & mask, likely


def reward(
    features: Float[Array, 't d'], chosen: Chosen, mask: Bool[Array, 't']
) -> Float[Array, '']:
    """Diversity and representativeness (eq. 6): in [0, 2] where no cosine is negative."""
    return diversity(features, chosen, mask) + representativeness(
        features, chosen, mask
    )


def diversity(
    features: Float[Array, 't d'],
    chosen: Chosen,
    mask: Bool[Array, 't'],
    limit: int = 20,
) -> Float[Array, '']:
    """The mean of 1 - cosine over the pairs of chosen frames (eq. 3 and 4), 0 for fewer than two.

    Frames more than `limit` apart count as wholly unlike, 1: a scene may be shown again later.
    """
    features = _at_least_float32(features)
    scaled = features / jnp.maximum(
        jnp.linalg.norm(features, axis=1, keepdims=True), 1e-12
    )
    time = jnp.arange(len(features))
    apart = jnp.abs(time[:, None] - time)
    unlike = jnp.where(apart > limit, 1, 1 - scaled @ scaled.T)
    in_it = chosen.astype(bool) & mask
    pairs = in_it[:, None] & in_it & (apart > 0)
    return jnp.where(pairs, unlike, 0).sum() / jnp.maximum(pairs.sum(), 1)


def representativeness(
    features: Float[Array, 't d'], chosen: Chosen, mask: Bool[Array, 't']
) -> Float[Array, '']:
    """exp(-mean over the video's frames of |x - its nearest chosen frame|^2) (eq. 5); 0 for none.

    The distance is squared, as in the authors' program.
    """
    features = _at_least_float32(features)
    squares = jnp.square(features).sum(1)
    distances = jnp.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    in_it = chosen.astype(bool) & mask
    nearest = jnp.where(in_it, distances, jnp.inf).min(1)
    mean = jnp.where(mask, nearest, 0).sum() / jnp.maximum(mask.sum(), 1)
    return jnp.where(in_it.any(), jnp.exp(-mean), 0)


def _at_least_float32(features: Float[Array, 't d']) -> Float[Array, 't d']:
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))
