"""Targets and rewards of a video's frames: ranks of importance, rewards of summaries.

The rewards are those of Zhou et al. 2018 (arXiv 1801.00054). All functions are of one video,
of fixed length and with a mask of the frames that are no padding, for jit and vmap. Rewards
have no useful gradient, as `chosen` is drawn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxvision.tasks.video_summary.selection import FRACTION

Chosen = Integer[Array, 't'] | Bool[Array, 't']  # 1 for a frame in the summary


def ranks(importance: Float[Array, 't'], mask: Bool[Array, 't']) -> Float[Array, 't']:
    """The fraction of the video's frames that are less important; ties count half.

    Ranks are what is measured in the end (Otani et al. 2019, arXiv 1903.11328), whatever
    scale a person uses.
    """
    less = importance < importance[:, None]
    equal = importance == importance[:, None]
    return ((less + 0.5 * equal) * mask).sum(1) / jnp.maximum(mask.sum(), 1)


def bounded(logits: Float[Array, '*t']) -> Float[Array, '*t']:
    """Bound logits to (-3, 3), so that no frame is ever sure to be drawn.

    So the model can unlearn its first preferences. Bello et al. 2016 (arXiv 1611.09940)
    bound logits for the same reason.
    """
    return 3 * jnp.tanh(logits)


def reinforce(
    key: Key[Array, ''],
    logits: Float[Array, 't'],
    features: Float[Array, 't d'],
    mask: Bool[Array, 't'],
    episodes: int,
) -> tuple[Float[Array, ''], Float[Array, '']]:
    """The loss whose gradient is REINFORCE's, and the reward.

    The baseline of each summary is the mean reward of the others (Kool et al. 2019, "Buy 4
    REINFORCE samples, get a baseline for free!"). Advantages are divided by the rewards' std:
    a nearly still video, whose summaries are all nearly as good, teaches as much as others.

    Args:
        key: draws the summaries.
        logits: logits of the frames.
        features: features of the frames.
        mask: True for frames, False for padding.
        episodes: summaries that are drawn, at least two.

    Returns:
        (the loss, the reward), means over the summaries.
    """
    chosen, log_probability = jax.vmap(draw, (0, None, None))(
        jax.random.split(key, episodes), logits, mask
    )
    rewards = jax.vmap(reward, (None, 0, None))(features, chosen, mask)
    advantage = (rewards - rewards.mean()) * episodes / (episodes - 1)
    advantage = jax.lax.stop_gradient(advantage / (rewards.std() + 1e-6))
    return -(advantage * log_probability).mean(), rewards.mean()


def draw(
    key: Key[Array, ''], logits: Float[Array, 't'], mask: Bool[Array, 't']
) -> tuple[Bool[Array, 't'], Float[Array, '']]:
    """Draw a summary of `selection.FRACTION` of the frames.

    It has three to five stretches of equal length, drawn one after another without
    replacement, each in proportion to exp of its frames' mean logit (Plackett-Luce, by the
    Gumbel trick: Kool et al. 2019, arXiv 1903.06059). The likeliest is what a knapsack keeps.

    Args:
        key: draws the stretches.
        logits: logits of the frames.
        mask: True for frames, False for padding.

    Returns:
        (which frames are in the summary, the log probability of the stretches in order).
    """
    kept = jnp.maximum(jnp.floor(FRACTION * mask.sum() + 1e-4).astype(int), 1)
    length = jnp.maximum(kept // 3, 1)
    stretch = jnp.arange(len(logits)) // length

    def total(values):
        return jax.ops.segment_sum(jnp.where(mask, values, 0), stretch, len(logits))

    frames = total(jnp.ones_like(logits))
    never = jnp.finfo(logits.dtype).min / 4  # Gradients of -inf are NaN.
    values = jnp.where(frames > 0, total(logits) / jnp.maximum(frames, 1), never)
    order = jnp.argsort(-(values + jax.random.gumbel(key, values.shape, values.dtype)))
    is_drawn = jnp.arange(len(logits)) < kept // length
    left = jax.lax.cumlogsumexp(values[order], reverse=True)
    log_probability = jnp.where(is_drawn, values[order] - left, 0).sum()
    chosen = jnp.zeros_like(mask).at[order].set(is_drawn)[stretch] & mask
    return chosen, log_probability


def reward(
    features: Float[Array, 't d'], chosen: Chosen, mask: Bool[Array, 't']
) -> Float[Array, '']:
    """Add diversity and representativeness (eq. 6).

    The sum is in [0, 2] where no cosine is negative.

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary.
        mask: True for frames, False for padding.
    """
    return diversity(features, chosen, mask) + representativeness(
        features, chosen, mask
    )


def diversity(
    features: Float[Array, 't d'],
    chosen: Chosen,
    mask: Bool[Array, 't'],
    limit: int = 20,
) -> Float[Array, '']:
    """Average 1 - cosine over the pairs of chosen frames (eq. 3 and 4).

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary; for fewer than two the diversity is 0.
        mask: True for frames, False for padding.
        limit: frames further apart count as wholly unlike, 1: a scene may be shown again
            later.
    """
    features = _at_least_float32(features)
    length = jnp.linalg.norm(features, axis=1, keepdims=True)
    scaled = features / jnp.maximum(length, 1e-12)
    time = jnp.arange(len(features))
    interval = jnp.abs(time[:, None] - time)
    unlike = jnp.where(interval > limit, 1, 1 - scaled @ scaled.T)
    is_chosen = chosen.astype(bool) & mask
    pairs = is_chosen[:, None] & is_chosen & (interval > 0)
    return jnp.where(pairs, unlike, 0).sum() / jnp.maximum(pairs.sum(), 1)


def representativeness(
    features: Float[Array, 't d'], chosen: Chosen, mask: Bool[Array, 't']
) -> Float[Array, '']:
    """Compute exp(-mean over the frames of |x - its nearest chosen frame|^2) (eq. 5).

    The distance is squared, as in the authors' program.

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary; for none the representativeness is 0.
        mask: True for frames, False for padding.
    """
    features = _at_least_float32(features)
    squares = jnp.square(features).sum(1)
    distances = jnp.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    is_chosen = chosen.astype(bool) & mask
    nearest = jnp.where(is_chosen, distances, jnp.inf).min(1)
    mean = jnp.where(mask, nearest, 0).sum() / jnp.maximum(mask.sum(), 1)
    return jnp.where(is_chosen.any(), jnp.exp(-mean), 0)


def _at_least_float32(features: Float[Array, 't d']) -> Float[Array, 't d']:
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))
