"""Evaluation of captions: records, metrics, figures and answers."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxvision.core.rows import evenly_spaced
from jaxvision.core.task import Pictures, ReadExample, Shown
from jaxvision.core.types import Batch, Example, MetricValues, Records
from jaxvision.data import digit_captions
from jaxvision.metrics import captions as metrics
from jaxvision.tasks.captioning import tokens
from jaxvision.viz import figures

# The two captions of an image: {prefix of the metrics: name of the record}.
_CAPTIONS = {'': 'caption', 'beam_': 'beam'}


def record(outputs: Batch, batch: Batch) -> Batch:
    """Make one record per image from the outputs of `Task.predict` and the batch.

    Returns:
        'caption' [B, L] (greedy) and 'beam' [B, L] (the likeliest of the beam search), word
        numbers. 'attention' [B, L, Y, X], uint8, 255 for a weight of 1. Also 'references' and
        'scene', if the batch has them.
    """
    attention = jnp.round(255 * outputs['attention']).astype(jnp.uint8)
    records = {
        'caption': outputs['caption'],
        'beam': outputs['beams'][:, 0],
        'attention': attention,
    }
    for name in ('references', 'scene'):
        if name in batch:
            records[name] = batch[name]
    return records


def metric_names(has_scenes: bool) -> tuple[str, ...]:
    """Return the names of the metrics of `summarize`.

    `has_scenes` says whether examples have scenes, by which captions are checked.
    """
    bleu = [f'bleu_{n}' for n in range(1, metrics.LONGEST + 1)]
    names = [*bleu, 'rouge_l', 'cider_d']
    if has_scenes:
        names.append('true')
    prefixed = []
    for prefix in _CAPTIONS:
        prefixed += [prefix + name for name in names]
    return tuple(prefixed)


def summarize(vocabulary: Sequence[str], records: Records) -> MetricValues:
    """Compute BLEU-1 to 4, ROUGE-L and CIDEr-D of greedy and of beam-search captions.

    Higher is better for all.

    Args:
        vocabulary: the words by number.
        records: 'caption' and 'beam' [N, L], word numbers; 'references' [N, S], texts
            as uint8, one text per line, padded with 0; and 'scene' if there are scenes.

    Returns:
        'bleu_1' to 'bleu_4' and 'rouge_l' in [0, 1], and 'cider_d' in [0, 10]. With
        scenes also 'true', the fraction of captions in which every object and every
        relation is correct. Each has a counterpart with the prefix 'beam_'.

    Raises:
        ValueError: There are no records.
    """
    references = [_references(row) for row in records['references']]
    summary = {}
    for prefix, name in _CAPTIONS.items():
        captions = [tokens.to_words(vocabulary, row) for row in records[name]]
        for metric, value in metrics.summarize(captions, references).items():
            summary[prefix + metric] = value
        if 'scene' in records:
            is_true = [
                digit_captions.is_true(' '.join(caption), scene)
                for caption, scene in zip(captions, records['scene'], strict=True)
            ]
            summary[f'{prefix}true'] = float(np.mean(is_true))
    return summary


def _references(row: np.ndarray) -> list[list[str]]:
    texts = bytes(row).rstrip(b'\0').decode().split('\n')
    return [metrics.tokenize(text) for text in texts]


def draw(vocabulary: Sequence[str], records: Records, example: ReadExample) -> Pictures:
    """Draw up to 12 images with captions, and the attention of the longest caption.

    Args:
        vocabulary: the words by number.
        records: records of an evaluation.
        example: `example(index)` returns a prepared example.

    Returns:
        {'captions': evenly spaced images, each with its greedy caption, 'attention': the image
        with the longest of these captions, once for each word}.
    """
    rows = evenly_spaced(len(records['index']), 12)
    images = [example(int(records['index'][row]))['image'] for row in rows]
    captions = [tokens.to_words(vocabulary, records['caption'][row]) for row in rows]
    longest = max(range(len(rows)), key=lambda i: len(captions[i]))
    sentences = [' '.join(caption) for caption in captions]
    attention = records['attention'][rows[longest]]
    return {
        'captions': figures.gallery(images, sentences, 4),
        'attention': figures.attention(images[longest], captions[longest], attention),
    }


def show(vocabulary: Sequence[str], inputs: Example, outputs: Records) -> Shown:
    """Answer with the greedy caption and the captions of the beam search.

    Args:
        vocabulary: the words by number.
        inputs: a prepared example. Only its 'original' is used, the user's image as uint8
            [h, w, 3], which may be missing.
        outputs: outputs of `Task.predict` for one image.

    Returns:
        (answer, picture). The answer is {'caption': the greedy caption, 'beams': [{'caption',
        'log_probability'}, ...], the likeliest first}. The picture shows the attention for
        each word of the greedy caption. It is None without 'original'.
    """
    caption = tokens.to_words(vocabulary, outputs['caption'])
    beams = []
    for beam, score in zip(outputs['beams'], outputs['log_probabilities'], strict=True):
        sentence = ' '.join(tokens.to_words(vocabulary, beam))
        beams.append({'caption': sentence, 'log_probability': float(score)})
    answer = {'caption': ' '.join(caption), 'beams': beams}
    if 'original' not in inputs:
        return answer, None
    return answer, figures.attention(inputs['original'], caption, outputs['attention'])
