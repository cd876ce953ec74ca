"""Video summaries: which frames to keep, and how good that is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxvision import keys
from jaxvision.losses import summary as rewards
from jaxvision.metrics import ranking
from jaxvision.video import shots, summary

SHARE = 0.15  # of a video's length
_DRAWS = 20   # of random summaries


def summary_of(
    scores: Float[np.ndarray, 't'], features: Float[np.ndarray, 't d']
) -> tuple[Int[np.ndarray, 'm'], Bool[np.ndarray, 't']]:
    """Where a video's shots begin, but the first, and its frames that are kept: SHARE of them.

    Shots change where the features do; a third of the summary is the most that one may be long, and
    longer ones are divided, so that there is always something to choose.
    """
    frames = len(scores)
    room = max(int(SHARE * frames + 1e-9), 1)
    changes = shots.change_points(features, most=frames // 5)
    boundaries = shots.divided(changes, frames, longest=max(room // 3, 1))
    return boundaries, summary.select(scores, boundaries, max(SHARE, 1 / frames))


def summarize(records: dict) -> dict[str, float]:
    """Means over the clips. reward: diversity and representativeness of the summary; of as many
    frames evenly spread, reward_uniform, and at random places, reward_random. Where there is
    importance: tau_b, rho and f_score."""
    found = [_of_clip({name: values[i] for name, values in records.items()})
             for i in range(len(records['index']))]
    return {name: float(np.mean([clip[name] for clip in found])) for name in found[0]}


def _of_clip(record: dict) -> dict[str, float]:
    own = record['video_mask'] > 0
    scores, features = (record[name][own].astype(np.float64) for name in ('scores', 'features'))
    boundaries, selected = summary_of(scores, features)
    rng = keys.host(0, 'random summaries', int(record['index']))
    candidates = np.zeros((2 + _DRAWS, len(own)), bool)
    candidates[:, own] = [selected, summary.spread(selected),
                          *(summary.scattered(rng, selected) for _ in range(_DRAWS))]
    reward, uniform, *random = np.asarray(_rewards(record['features'], candidates, own))
    found = {'reward': reward, 'reward_uniform': uniform, 'reward_random': np.mean(random)}
    if 'importance' not in record:
        return found
    importance = record['importance'][own].astype(np.float64)
    wanted = summary.select(importance, boundaries, max(SHARE, 1 / len(importance)))
    return {'tau_b': ranking.kendall_tau_b(scores, importance),
            'rho': ranking.spearman_rho(scores, importance),
            'f_score': summary.f_score(selected, wanted), **found}


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, None))
def _rewards(features, chosen, mask):
    return reward(features, chosen, mask)


def reward(features: Float[Array, 't d'], chosen: Bool[Array, 't'], mask: Bool[Array, 't']
           ) -> Float[Array, '']:
    """Of a summary, in [0, 2] for features of length 1."""
    return rewards.diversity(features, chosen, mask) + rewards.representativeness(
        features, chosen, mask)
