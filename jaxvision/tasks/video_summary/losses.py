"""Targets and rewards for the frames of a video: ranks of importance, rewards of summaries.

The rewards are those of Zhou et al. 2018 (arXiv 1801.00054). All functions take one video of
fixed length with a mask, and work under jit and vmap. Rewards have no useful gradient, because
the summaries are sampled.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxvision.tasks.video_summary.selection import FRACTION

# True for some frames of a video.
FrameMask = Bool[Array, 't']
# One feature vector per frame.
Features = Float[Array, 't d']
# One value per frame.
FrameValues = Float[Array, 't']
Scalar = Float[Array, '']

# 1 for a frame of the summary.
Chosen = Integer[Array, 't'] | FrameMask


def ranks(importance: FrameValues, mask: FrameMask) -> FrameValues:
    """Compute for each frame the fraction of the video's frames that are less important.

    Ties count half, and so does the frame itself. Ranks are thus in (0, 1). They do not depend on
    the scale of an annotator, and the evaluation compares ranks too (Otani et al. 2019, arXiv
    1903.11328).

    Args:
        importance: of each frame, higher for more important ones.
        mask: True for frames, False for padding, whose ranks have no meaning.
    """
    less = importance < importance[:, None]
    equal = importance == importance[:, None]
    count = ((less + 0.5 * equal) * mask).sum(1)
    return count / jnp.maximum(mask.sum(), 1)


def bound_logits(logits: Float[Array, '*t']) -> Float[Array, '*t']:
    """Bound logits to 3 tanh(logits), so that no frame is sampled with certainty.

    The model can then revise its first preferences. Bello et al. 2016 (arXiv 1611.09940)
    bound logits for the same reason.
    """
    return 3 * jnp.tanh(logits)


def reinforce(
    key: Key[Array, ''],
    logits: FrameValues,
    features: Features,
    mask: FrameMask,
    episodes: int,
) -> tuple[Scalar, Scalar]:
    """Compute the REINFORCE loss of sampled summaries, and their reward.

    The baseline of a summary is the mean reward of the other summaries (Kool et al. 2019, "Buy
    4 REINFORCE samples, get a baseline for free!"). Advantages are divided by the std of the
    rewards. This gives a nearly still video, with similar rewards, the same influence.

    Args:
        key: random key of the sampled summaries.
        logits: logits of the frames, from `bound_logits`.
        features: features of the frames.
        mask: True for frames, False for padding.
        episodes: number of sampled summaries, at least two.

    Returns:
        (the loss, the reward), means over the summaries. A higher reward is better.
    """
    sample_many = jax.vmap(sample_summary, (0, None, None))
    episode_keys = jax.random.split(key, episodes)
    chosen, log_probability = sample_many(episode_keys, logits, mask)
    rewards = jax.vmap(reward, (None, 0, None))(features, chosen, mask)
    advantage = (rewards - rewards.mean()) * episodes / (episodes - 1)
    advantage = jax.lax.stop_gradient(advantage / (rewards.std() + 1e-6))
    return -(advantage * log_probability).mean(), rewards.mean()


def sample_summary(
    key: Key[Array, ''], logits: FrameValues, mask: FrameMask
) -> tuple[FrameMask, Scalar]:
    """Sample a summary of at most `selection.FRACTION` of the frames, or of one frame.

    The video is divided into segments of equal length, of which only the last may be shorter. The
    summary has three to five of them, sampled without replacement, or fewer if the video has
    fewer than 20 frames. The probability of a segment is proportional to exp of the mean logit of
    its frames. This is a Plackett-Luce model, sampled by the Gumbel trick (Kool et al. 2019, arXiv
    1903.06059). The most likely summary is the solution of the knapsack problem.

    Args:
        key: random key.
        logits: logits of the frames.
        mask: True for frames, False for padding.

    Returns:
        (True for frames of the summary, log probability of the segments in the order of their
        sampling).
    """
    fraction = FRACTION * mask.sum() + 1e-4
    kept = jnp.maximum(jnp.floor(fraction).astype(int), 1)
    length = jnp.maximum(kept // 3, 1)
    segment = jnp.arange(len(logits)) // length

    def total(values):
        return jax.ops.segment_sum(jnp.where(mask, values, 0), segment, len(logits))

    frames = total(jnp.ones_like(logits))
    # Finite, because gradients of -inf are NaN.
    never = jnp.finfo(logits.dtype).min / 4
    mean = total(logits) / jnp.maximum(frames, 1)
    values = jnp.where(frames > 0, mean, never)
    noise = jax.random.gumbel(key, values.shape, values.dtype)
    order = jnp.argsort(-(values + noise))
    is_sampled = jnp.arange(len(logits)) < kept // length
    remaining = jax.lax.cumlogsumexp(values[order], reverse=True)
    log_probability = jnp.where(is_sampled, values[order] - remaining, 0).sum()
    segments = jnp.zeros_like(mask).at[order].set(is_sampled)
    return segments[segment] & mask, log_probability


def reward(features: Features, chosen: Chosen, mask: FrameMask) -> Scalar:
    """Compute the reward of a summary: diversity plus representativeness (eq. 6).

    The reward is in [0, 2] if no cosine is negative. Higher is better.

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary.
        mask: True for frames, False for padding.
    """
    return diversity(features, chosen, mask) + representativeness(
        features, chosen, mask
    )


def diversity(
    features: Features,
    chosen: Chosen,
    mask: FrameMask,
    limit: int = 20,
) -> Scalar:
    """Compute the diversity: the mean of 1 - cosine over pairs of chosen frames (eq. 3, 4).

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary; for fewer than two the diversity is 0.
        mask: True for frames, False for padding.
        limit: a pair more than `limit` frames apart has the value 1 whatever its cosine,
            because a scene may appear again later.
    """
    features = _at_least_float32(features)
    length = jnp.linalg.norm(features, axis=1, keepdims=True)
    scaled = features / jnp.maximum(length, 1e-12)
    time = jnp.arange(len(features))
    interval = jnp.abs(time[:, None] - time)
    unlike = jnp.where(interval > limit, 1, 1 - scaled @ scaled.T)
    is_chosen = chosen.astype(bool) & mask
    is_pair = is_chosen[:, None] & is_chosen & (interval > 0)
    total = jnp.where(is_pair, unlike, 0).sum()
    return total / jnp.maximum(is_pair.sum(), 1)


def representativeness(features: Features, chosen: Chosen, mask: FrameMask) -> Scalar:
    """Compute the representativeness: exp(-mean distance to a chosen frame) (eq. 5).

    The distance of a frame is the squared distance of its features to those of the nearest
    chosen frame. It is squared as in the program of the authors.

    Args:
        features: features of the frames.
        chosen: 1 for frames of the summary; for none the representativeness is 0.
        mask: True for frames, False for padding.
    """
    features = _at_least_float32(features)
    squares = jnp.square(features).sum(1)
    distances = squares[:, None] + squares - 2 * features @ features.T
    distances = jnp.maximum(distances, 0)
    is_chosen = chosen.astype(bool) & mask
    nearest = jnp.where(is_chosen, distances, jnp.inf).min(1)
    total = jnp.where(mask, nearest, 0).sum()
    mean = total / jnp.maximum(mask.sum(), 1)
    return jnp.where(is_chosen.any(), jnp.exp(-mean), 0)


def _at_least_float32(features: Features) -> Features:
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))
