"""Losses of a captioner: of true captions, or of the CIDEr-D of sampled captions."""

import jax
import jax.numpy as jnp

from jaxvision.core import keys
from jaxvision.metrics import cider
from jaxvision.models.sequence import decoding
from jaxvision.tasks.captioning.network import CaptionNetwork
from jaxvision.train.update import Loss


def teacher_forced(network: CaptionNetwork, doubly_stochastic: float) -> Loss:
    """Build the cross-entropy of true captions, each word given the true ones before it.

    Args:
        network: the captioner.
        doubly_stochastic: weight of the regulariser that asks for an attention of 1 to
            every place, summed over a caption (Xu et al. 2015, section 4.2.1).
    """

    def loss(params, state, batch, key):
        (seen, start), aux = network.encode_to_train(params, state, batch, key)
        caption = batch['caption']
        step = network.decoder(params, seen, any_word=True)
        logits, attention = decoding.forced(step, start, caption)
        inside = decoding.within(caption).astype(network.dtype)
        total = (attention * inside[..., None, None]).sum(1)
        uneven = jnp.square(1 - total).mean((1, 2))
        surprise = -decoding.log_probability(logits, caption).sum(1)
        terms = {
            'cross_entropy': (surprise, inside.sum(1)),
            'doubly_stochastic': (doubly_stochastic * uneven, jnp.ones_like(uneven)),
        }
        return terms, aux

    return loss


def self_critical(network: CaptionNetwork, ngrams: cider.Statistics) -> Loss:
    """Build the loss of self-critical training (Rennie et al. 2017, arXiv 1612.00563).

    The log probability of a sampled caption is weighted by its CIDEr-D, less that of the
    greedy caption.

    Args:
        network: the captioner.
        ngrams: n-gram statistics of the training captions.
    """

    def cider_d(caption, references):
        return cider.cider_d(jax.tree.map(jnp.asarray, ngrams), caption, references)

    def loss(params, state, batch, key):
        (seen, start), aux = network.encode_to_train(params, state, batch, key)
        step = network.decoder(*jax.lax.stop_gradient((params, seen)))
        sample_keys = keys.per_example(keys.stream(key, 'sample'), batch['index'])
        sampled, _ = decoding.sample(sample_keys, step, start, network.length)
        greedy, _ = decoding.greedy(step, start, network.length)
        reward = jax.vmap(cider_d)(sampled, batch['captions'])
        baseline = jax.vmap(cider_d)(greedy, batch['captions'])
        logits, _ = decoding.forced(network.decoder(params, seen), start, sampled)
        surprise = -decoding.log_probability(logits, sampled).sum(1)
        ones = jnp.ones_like(surprise)
        scalars = {'reward': (reward, ones), 'greedy_reward': (baseline, ones)}
        terms = {'advantage': ((reward - baseline) * surprise, ones)}
        return terms, {**aux, 'scalars': scalars}

    return loss
