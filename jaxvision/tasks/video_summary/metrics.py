"""Metrics of frame scores, and of the summaries that follow from the scores."""

import jax
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import MetricValues, Records
from jaxvision.metrics import ranking
from jaxvision.tasks.video_summary import losses, selection

# Number of random summaries of a video.
RANDOM = 20

_rewards = jax.jit(jax.vmap(losses.reward, (None, 0, None)))


def names(has_importance: bool) -> tuple[str, ...]:
    """Return the names of the metrics of `summarize`.

    Three of them, 'tau_b', 'rho' and 'f_score', need the importance of frames.
    """
    rewards = ('reward', 'reward_uniform', 'reward_random')
    if has_importance:
        return 'tau_b', 'rho', 'f_score', *rewards
    return rewards


def summarize(records: Records) -> MetricValues:
    """Average the metrics over the videos. Higher is better for all.

    Args:
        records: 'scores' and 'video_mask' [N, T], 'features' [N, T, D], 'index' [N] and
            optionally 'importance' [N, T], for at least one video. The mask is above 0 for
            frames, 0 for padding.

    Returns:
        reward: diversity plus representativeness of the summary by scores, in about [0, 2].
        reward_uniform: reward of evenly spaced segments with as many frames in all.
        reward_random: mean reward of segments at random places.
        tau_b, rho: rank correlations of scores and importance, in [-1, 1].
        f_score: agreement with the summary by importance, in [0, 1]. Without 'importance',
            tau_b, rho and f_score are missing.

    Raises:
        UserError: There is no video.
    """
    if not len(records['index']):
        raise UserError(
            'the split has no videos: expected at least 1. Name another split.'
        )
    videos = []
    for i in range(len(records['index'])):
        record = {name: values[i] for name, values in records.items()}
        videos.append(measure(record))
    summary = {}
    for name in videos[0]:
        summary[name] = float(np.mean([video[name] for video in videos]))
    return summary


def measure(record: Records) -> MetricValues:
    """Compute the metrics of one video, with the names of `summarize`.

    `record` has the arrays of `summarize` without their first axis.
    """
    mask = record['video_mask'] > 0
    scores = record['scores'][mask].astype(np.float64)
    features = record['features'][mask].astype(np.float64)
    boundaries, selected = selection.shorten(scores, features)
    rewards = _compare_rewards(record, boundaries, selected)
    if 'importance' not in record:
        return rewards
    importance = record['importance'][mask].astype(np.float64)
    fraction = selection.kept_fraction(len(importance))
    by_importance = selection.select(importance, boundaries, fraction)
    return {
        'tau_b': ranking.kendall_tau_b(scores, importance),
        'rho': ranking.spearman_rho(scores, importance),
        'f_score': selection.f_score(selected, by_importance),
        **rewards,
    }


def _compare_rewards(
    record: Records, boundaries: selection.Boundaries, selected: np.ndarray
) -> MetricValues:
    """Compute the rewards of a summary, of the uniform summary and of random summaries."""
    mask = record['video_mask'] > 0
    rng = keys.host(0, 'random summaries', int(record['index']))
    lengths = selection.kept_lengths(selected, boundaries)
    frames = len(selected)
    random = [selection.random_summary(rng, lengths, frames) for _ in range(RANDOM)]
    summaries = np.zeros((2 + RANDOM, len(mask)), bool)
    summaries[:, mask] = [selected, selection.uniform_summary(lengths, frames), *random]
    rewards = np.asarray(_rewards(record['features'], summaries, mask)).tolist()
    return {
        'reward': rewards[0],
        'reward_uniform': rewards[1],
        'reward_random': sum(rewards[2:]) / RANDOM,
    }
