"""Metrics of generated images, computed from the features of generated and real images."""

import itertools

import numpy as np
from jaxtyping import Int, Num

from jaxvision.core import keys
from jaxvision.core.types import MetricValues, Records
from jaxvision.metrics import generative

# Suffixes of records and metrics: by the features of the classifier, and of Inception.
CLASSIFIER = '_cnn'
INCEPTION = ''
# Prefix of metrics of real training images in place of generated ones.
FLOOR = 'floor_'
# Largest number of images of each kind in precision and recall.
MOST_COMPARED = 1000


def names(*, has_class_accuracy: bool, has_inception: bool) -> tuple[str, ...]:
    """Return the names of the metrics of `summarize`.

    Args:
        has_class_accuracy: whether 'conditional_accuracy' is one of them.
        has_inception: whether 'fid', 'kid' and their floors are among them, beside 'fid_cnn' and
            'kid_cnn'.
    """
    suffixes = [CLASSIFIER]
    if has_inception:
        suffixes.append(INCEPTION)
    distances = itertools.product(('', FLOOR), ('fid', 'kid'), suffixes)
    metrics = [''.join(parts) for parts in distances]
    metrics += ['precision', 'recall', f'{FLOOR}precision', f'{FLOOR}recall']
    if has_class_accuracy:
        metrics.append('conditional_accuracy')
    metrics.append('feature_extractor_hash')
    return tuple(metrics)


def summarize(
    records: Records, *, samples: int, has_class_accuracy: bool, extractor_hash: str
) -> MetricValues:
    """Compare generated images with real images of the evaluated split.

    Distances, precision and recall also have a floor, with the prefix 'floor_': their value for
    real training images in place of generated images. Distances are better if lower, all others
    if higher.

    Args:
        records: features 'fake', 'real' and 'trained' [N, D], with the suffix '_cnn' for those
            of the classifier, and none for those of Inception, which may be missing. Also the
            arrays 'real_row', 'train_row' (rows of the real images), 'label', 'prediction' and
            'index' [N].
        samples: number of records that are compared. The records after them are
            interpolations.
        has_class_accuracy: whether predictions are compared with the requested classes.
        extractor_hash: hexadecimal hash of the classifier's variables, or ''.

    Returns:
        fid_cnn, kid_cnn: Frechet and kernel distance, with features of the classifier.
        fid, kid: with those of Inception, if the records have them.
        precision, recall: for the classifier, in [0, 1], on at most 1,000 images of each kind.
        conditional_accuracy: fraction of predictions that are the requested class, if
            `has_class_accuracy`.
        feature_extractor_hash: the first 24 bits of the hash, 0 without a hash.
    """
    is_sample = records['index'] < samples
    records = {name: values[is_sample] for name, values in records.items()}
    metrics = {}
    for suffix in (CLASSIFIER, INCEPTION):
        if f'fake{suffix}' not in records:
            continue
        real = _features_once(records[f'real{suffix}'], records['real_row'])
        trained = _features_once(records[f'trained{suffix}'], records['train_row'])
        for prefix, features in (('', records[f'fake{suffix}']), (FLOOR, trained)):
            fid = generative.frechet_distance(real, features)
            kid = generative.kernel_distance(real, features)
            metrics[f'{prefix}fid{suffix}'] = fid
            metrics[f'{prefix}kid{suffix}'] = kid
            if suffix == CLASSIFIER:
                precision, recall = generative.precision_recall(
                    _random_subset(real), _random_subset(features), k=3
                )
                metrics[f'{prefix}precision'] = precision
                metrics[f'{prefix}recall'] = recall
    if has_class_accuracy:
        correct = records['prediction'] == records['label']
        metrics['conditional_accuracy'] = float(correct.mean())
    # A metric is a number, and float32 holds 24 bits exactly.
    metrics['feature_extractor_hash'] = int(extractor_hash[:6] or '0', 16)
    return metrics


def _features_once(
    features: Num[np.ndarray, 'n d'], rows: Int[np.ndarray, 'n']
) -> Num[np.ndarray, 'm d']:
    """Return the features of each image once; `rows` says which rows are the same image."""
    return features[np.unique(rows, return_index=True)[1]]


def _random_subset(features: Num[np.ndarray, 'n d']) -> Num[np.ndarray, 'm d']:
    """Select at most MOST_COMPARED random rows.

    Evenly spaced rows could all be of a few classes, because classes repeat in order.
    """
    order = keys.host(0, 'compared').permutation(len(features))
    return features[np.sort(order[:MOST_COMPARED])]
