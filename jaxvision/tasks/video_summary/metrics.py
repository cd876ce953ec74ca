"""How good summaries of videos are: the scores of their frames, and the frames that are kept."""

import jax
import numpy as np

from jaxvision.core import keys
from jaxvision.metrics import ranking
from jaxvision.tasks.video_summary import losses, selection

RANDOM = 20  # summaries of a video, whose mean is the random one's reward

_rewards = jax.jit(jax.vmap(losses.reward, (None, 0, None)))


def summarize(records: dict) -> dict[str, float]:
    """Means over the videos, from 'scores', 'video_mask' [N, T] and 'features' [N, T, D].

    reward: diversity and representativeness of the summary; reward_uniform and reward_random: of as
    many frames in as many stretches as it has shots, evenly spread or anywhere. With 'importance':
    tau_b and rho of the scores, and the f_score with the summary by importance.
    """
    videos = [
        measure({name: values[i] for name, values in records.items()})
        for i in range(len(records['index']))
    ]
    return {
        name: float(np.mean([video[name] for video in videos])) for name in videos[0]
    }


def measure(record: dict) -> dict[str, float]:
    """Of one video."""
    own = record['video_mask'] > 0
    scores, features = (
        record[name][own].astype(np.float64) for name in ('scores', 'features')
    )
    boundaries, selected = selection.shorten(scores, features)
    rng = keys.host(0, 'random summaries', int(record['index']))
    compared = np.zeros((2 + RANDOM, len(own)), bool)
    lengths, frames = selection.kept_lengths(selected, boundaries), len(selected)
    compared[:, own] = [
        selected,
        selection.spread(lengths, frames),
        *(selection.scattered(rng, lengths, frames) for _ in range(RANDOM)),
    ]
    reward, uniform, *random = np.asarray(
        _rewards(record['features'], compared, own)
    ).tolist()
    found = {
        'reward': reward,
        'reward_uniform': uniform,
        'reward_random': sum(random) / RANDOM,
    }
    if 'importance' not in record:
        return found
    importance = record['importance'][own].astype(np.float64)
    wanted = selection.select(
        importance, boundaries, selection.share_of(len(importance))
    )
    return {
        'tau_b': ranking.kendall_tau_b(scores, importance),
        'rho': ranking.spearman_rho(scores, importance),
        'f_score': selection.f_score(selected, wanted),
        **found,
    }
