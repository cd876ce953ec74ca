"""Metrics of generated images, reduced from the features of generated and real images."""

import itertools

import numpy as np
from jaxtyping import Int, Num

from jaxvision.core import keys
from jaxvision.core.types import Records
from jaxvision.metrics import generative

CLASSIFIER = '_cnn'  # suffix of what is measured by the classifier's features
INCEPTION = ''  # and by Inception's
FLOOR = 'floor_'  # prefix of what real training images reach in place of generated ones
MOST_COMPARED = 1000  # images of each kind, in precision and recall


def names(*, has_class_accuracy: bool, has_inception: bool) -> tuple[str, ...]:
    """The metrics that `summarize` returns."""
    suffixes = [CLASSIFIER]
    if has_inception:
        suffixes.append(INCEPTION)
    distances = itertools.product(('', FLOOR), ('fid', 'kid'), suffixes)
    accuracy = ('conditional_accuracy',) if has_class_accuracy else ()
    return (
        *(''.join(parts) for parts in distances),
        'precision',
        'recall',
        f'{FLOOR}precision',
        f'{FLOOR}recall',
        *accuracy,
        'feature_extractor_hash',
    )


def summarize(
    records: Records, *, samples: int, has_class_accuracy: bool, extractor_hash: str
) -> dict[str, float]:
    """Compare generated images with real ones of the evaluated split.

    Beside each distance stands its floor, the distance of real training images.

    Args:
        records: features 'fake', 'real' and 'trained' by suffix, the rows of the real and
            the training images, 'label' and 'prediction'.
        samples: number of records that count; those behind them are interpolations.
        has_class_accuracy: whether the classifier's predictions are compared with the
            classes that were asked for.
        extractor_hash: hexadecimal hash of the classifier's variables, or ''.

    Returns:
        Frechet and kernel distances by both networks' features, precision and recall by the
        classifier's, 'conditional_accuracy', and 'feature_extractor_hash', the start of the hash.
    """
    counted = records['index'] < samples
    records = {name: values[counted] for name, values in records.items()}
    metrics = {}
    for suffix in (CLASSIFIER, INCEPTION):
        if f'fake{suffix}' not in records:
            continue
        real = _one_each(records[f'real{suffix}'], records['real_row'])
        trained = _one_each(records[f'trained{suffix}'], records['train_row'])
        for prefix, features in (('', records[f'fake{suffix}']), (FLOOR, trained)):
            fid = generative.frechet_distance(real, features)
            kid = generative.kernel_distance(real, features)
            metrics[f'{prefix}fid{suffix}'] = fid
            metrics[f'{prefix}kid{suffix}'] = kid
            if suffix == CLASSIFIER:
                precision, recall = generative.precision_recall(
                    _random_part(real), _random_part(features), k=3
                )
                metrics[f'{prefix}precision'] = precision
                metrics[f'{prefix}recall'] = recall
    if has_class_accuracy:
        correct = records['prediction'] == records['label']
        metrics['conditional_accuracy'] = float(correct.mean())
    # A metric is a number: the first 24 bits, which float32 holds.
    metrics['feature_extractor_hash'] = int(extractor_hash[:6] or '0', 16)
    return metrics


def _one_each(
    features: Num[np.ndarray, 'n d'], rows: Int[np.ndarray, 'n']
) -> Num[np.ndarray, 'm d']:
    """The features of each image once, by the rows of the images."""
    return features[np.unique(rows, return_index=True)[1]]


def _random_part(features: Num[np.ndarray, 'n d']) -> Num[np.ndarray, 'm d']:
    """At most MOST_COMPARED rows; rows at an even distance could be all of few classes."""
    order = keys.host(0, 'compared').permutation(len(features))
    return features[np.sort(order[:MOST_COMPARED])]
