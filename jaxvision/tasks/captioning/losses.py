"""Losses of a captioner: cross-entropy of true captions, or reward of sampled captions."""

import jax
import jax.numpy as jnp

from jaxvision.core import keys
from jaxvision.metrics import cider
from jaxvision.models.sequence import decoding
from jaxvision.tasks.captioning.network import CaptionNetwork
from jaxvision.train.update import Loss


def teacher_forced(network: CaptionNetwork, doubly_stochastic: float) -> Loss:
    """Build the cross-entropy of true captions with teacher forcing.

    Each word is predicted from the true words before it.

    Args:
        network: the captioner.
        doubly_stochastic: weight of the doubly stochastic regulariser: the attention to each
            place, summed over the words, should be 1 (Xu et al. 2015, section 4.2.1).

    Returns:
        `(params, state, batch, key) -> (terms, aux)`, for `update.from_loss`. The batch
        has 'image', 'index' and 'caption' [B, L]. Terms are (values [B], weights [B]).
        'cross_entropy' is the sum over words, END included, in nats, and its weight
        their number. 'doubly_stochastic' is the mean over places of the squared
        difference from 1, times `doubly_stochastic`, with the weight 1.
    """

    def loss(params, state, batch, key):
        (places, start), aux = network.encode_to_train(params, state, batch, key)
        caption = batch['caption']
        step = network.decoder(params, places, any_word=True)
        logits, attention = decoding.forced(step, start, caption)
        word_mask = decoding.within(caption).astype(network.dtype)
        total_attention = (attention * word_mask[..., None, None]).sum(1)
        penalty = jnp.square(1 - total_attention).mean((1, 2))
        entropy = -decoding.log_probability(logits, caption).sum(1)
        terms = {
            'cross_entropy': (entropy, word_mask.sum(1)),
            'doubly_stochastic': (doubly_stochastic * penalty, jnp.ones_like(penalty)),
        }
        return terms, aux

    return loss


def self_critical(network: CaptionNetwork, ngrams: cider.Statistics) -> Loss:
    """Build the loss of self-critical training (Rennie et al. 2017, arXiv 1612.00563).

    The loss is the negative log probability of a sampled caption times its advantage. The
    advantage is the CIDEr-D of the sampled caption minus the CIDEr-D of the greedy caption.

    Args:
        network: the captioner.
        ngrams: n-gram statistics of the training captions.

    Returns:
        `(params, state, batch, key) -> (terms, aux)`, for `update.from_loss`. The batch has
        'image', 'index' and 'captions' [B, R, L], the references. The term is 'advantage', and
        the scalars are 'reward' (sampled captions) and 'greedy_reward'.
    """

    def cider_d(caption, references):
        return cider.cider_d(jax.tree.map(jnp.asarray, ngrams), caption, references)

    def loss(params, state, batch, key):
        (places, start), aux = network.encode_to_train(params, state, batch, key)
        step = network.decoder(*jax.lax.stop_gradient((params, places)))
        sample_keys = keys.per_example(keys.stream(key, 'sample'), batch['index'])
        sampled, _ = decoding.sample(sample_keys, step, start, network.length)
        greedy, _ = decoding.greedy(step, start, network.length)
        reward = jax.vmap(cider_d)(sampled, batch['captions'])
        baseline = jax.vmap(cider_d)(greedy, batch['captions'])
        logits, _ = decoding.forced(network.decoder(params, places), start, sampled)
        entropy = -decoding.log_probability(logits, sampled).sum(1)
        ones = jnp.ones_like(entropy)
        scalars = {'reward': (reward, ones), 'greedy_reward': (baseline, ones)}
        terms = {'advantage': ((reward - baseline) * entropy, ones)}
        return terms, {**aux, 'scalars': scalars}

    return loss
