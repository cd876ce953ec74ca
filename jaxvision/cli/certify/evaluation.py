"""The certified accuracy of a run on a split, as a report."""

import dataclasses
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxvision.attacks import smoothing
from jaxvision.cli import stored
from jaxvision.cli.pixel_classifiers import PixelClassifier
from jaxvision.cli.progress import Progress
from jaxvision.core import keys
from jaxvision.core.types import Json, Records, Split
from jaxvision.metrics import certified
from jaxvision.metrics.certified import ABSTAIN, Certificates
from jaxvision.train.writers import duration
from jaxvision.viz import figures, robustness
from jaxvision.viz.tables import Table

# Rows of the table, if the user names no radii.
_MOST_RADII = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The evaluated run and the settings of its certificates.

    Attributes:
        classifier: the run.
        sigma: std of the noise, in pixels of [0, 1].
        selecting: noisy images that choose the class of an image.
        bounding: other noisy images, which bound the probability of the class.
        alpha: the largest probability of a wrong certificate.
        seed: seed of the noise.
        radii: radii of the table; (): multiples of sigma / 2.
        split: the split of the images.
        count: the most images.
        batch_size: noisy images that are classified together.
        out: the output folder.
        pictures: whether to draw the curve.
    """

    classifier: PixelClassifier
    sigma: float
    selecting: int
    bounding: int
    alpha: float
    seed: int
    radii: tuple[float, ...]
    split: Split
    count: int
    batch_size: int
    out: Path
    pictures: bool


def evaluate(request: Request, examples: Records) -> tuple[Json, Path]:
    """Certify images of a split, print a table and draw the curve.

    A killed evaluation of the same request goes on after its last image.

    Args:
        request: the request.
        examples: the images, see `pixel_classifiers.read_images`.

    Returns:
        (the report, as it is in OUT/certify.json; the folder of the stored counts).
    """
    start = time.monotonic()
    arguments = _arguments(request)
    images, folder = stored.open_batches(request.out, arguments)
    counts = _count_all(request, examples, images)
    certificates = certified.certify(
        counts['selection'],
        counts['bounding'],
        request.bounding,
        sigma=request.sigma,
        alpha=request.alpha,
    )
    labels = examples['label']
    report = {
        'certify': 'randomised smoothing',
        **arguments,
        'images': len(labels),
        **_summary(request, certificates, counts, labels),
        'seconds': round(time.monotonic() - start, 1),
        'index': examples['index'].tolist(),
        'label': labels.tolist(),
        'class': certificates.classes.tolist(),
        'lower_bound': certificates.lower.tolist(),
        'radius': certificates.radius.tolist(),
    }
    _print(request, report)
    if request.pictures:
        is_right = certificates.classes == labels
        _draw(request, certificates.radius, is_right, report)
    return report, folder


def _arguments(request: Request) -> Json:
    """Everything on which the counts and the certificates depend."""
    return {
        **request.classifier.arguments(),
        'split': request.split,
        'count': request.count,
        'sigma': request.sigma,
        'n0': request.selecting,
        'n': request.bounding,
        'alpha': request.alpha,
        'seed': request.seed,
    }


def _count_all(request: Request, examples: Records, images: stored.Batches) -> Records:
    """Count the classes of every image under noise, {'selection', 'bounding'} [N, K]."""
    key = jax.random.key(request.seed)
    rows = jnp.asarray(examples['index'])
    # The class is chosen by noise of its own.
    streams = {
        'selection': (keys.stream(key, 'certify selection'), request.selecting),
        'bounding': (keys.stream(key, 'certify bounding'), request.bounding),
    }
    keys_of = {
        name: keys.per_example(stream, rows) for name, (stream, _) in streams.items()
    }
    counts = {name: [] for name in streams}
    progress = Progress()
    start = time.monotonic()
    computed = 0
    for place, row in enumerate(examples['index']):
        name = f'row-{row}'
        if name not in images:
            image = jnp.asarray(examples['image'][place])
            images[name] = {
                part: smoothing.count(
                    request.classifier.logits,
                    image,
                    keys_of[part][place],
                    sigma=request.sigma,
                    samples=samples,
                    batch_size=min(request.batch_size, samples),
                )
                for part, (_, samples) in streams.items()
            }
            computed += 1
        record = images[name]
        for part, values in counts.items():
            values.append(record[part])
        if computed:
            left = len(rows) - place - 1
            seconds = left * (time.monotonic() - start) / computed
            progress.print(
                f'{place + 1:,} of {len(rows):,} images, about {duration(seconds)} left'
            )
    return {name: np.stack(values) for name, values in counts.items()}


def _summary(
    request: Request,
    certificates: Certificates,
    counts: Records,
    labels: Int[np.ndarray, 'n'],
) -> Json:
    """The numbers of the report over all images."""
    is_right = certificates.classes == labels
    radii = _radii(request, certificates.radius)
    accuracies = certified.accuracy(certificates.radius, is_right, radii)
    predicted = certified.predict(counts['bounding'], request.alpha)
    return {
        'accuracy': float((predicted == labels).mean()),
        'abstained': float((predicted == ABSTAIN).mean()),
        'uncertified': float((certificates.classes == ABSTAIN).mean()),
        'average_radius': certified.average_radius(certificates.radius, is_right),
        'largest_radius': _largest_radius(request),
        'certified': [
            {
                'radius': float(at),
                'certified_accuracy': float(accuracy),
                'standard_error': math.sqrt(accuracy * (1 - accuracy) / len(labels)),
            }
            for at, accuracy in zip(radii, accuracies, strict=True)
        ],
    }


def _largest_radius(request: Request) -> float:
    """The radius if all noisy images have one class."""
    most = np.array([request.bounding])
    lower = certified.lower_bound(most, request.bounding, request.alpha)
    return float(certified.radius(lower, request.sigma)[0])


def _radii(request: Request, radii: Float[np.ndarray, 'n']) -> Float[np.ndarray, 'r']:
    """The radii of the table: the user's, or multiples of sigma / 2 up to the largest radius."""
    if request.radii:
        return np.array(request.radii)
    multiples = request.sigma / 2 * np.arange(_MOST_RADII)
    return multiples[multiples <= radii.max()]


def _print(request: Request, report: Json) -> None:
    classifier = request.classifier
    print(
        f'{classifier.name}, checkpoint {classifier.step}: smoothed by sigma '
        f'{request.sigma:g}, {report["images"]:,} images of {request.split}'
    )
    table = Table('radius', (f'{row["radius"]:g}' for row in report['certified']))
    table.print(
        {
            'radius': f'{row["radius"]:g}',
            'certified accuracy': row['certified_accuracy'],
            'standard error': row['standard_error'],
        }
        for row in report['certified']
    )
    print(
        f'accuracy {report["accuracy"]:.4f}, abstained {report["abstained"]:.4f}, mean '
        f'certified radius {report["average_radius"]:.4f}'
    )
    print(
        f'{request.bounding:,} noisy images certify a radius of at most '
        f'{report["largest_radius"]:.4f}. A certificate is wrong with a probability of at '
        f'most {request.alpha:g}.'
    )


def _draw(
    request: Request,
    radii: Float[np.ndarray, 'n'],
    is_right: np.ndarray,
    report: Json,
) -> None:
    """Draw the certified accuracy over all radii."""
    at = np.linspace(0, report['largest_radius'] * 1.02, 400)
    picture = robustness.certified_curve(
        at,
        certified.accuracy(radii, is_right, at),
        f'sigma {request.sigma:g}, n {request.bounding:,}, alpha {request.alpha:g}',
    )
    figures.save(request.out / 'curve.png', picture)
