"""The robust accuracy of a run on a split, as a report."""

import dataclasses
import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from jaxvision.attacks import balls, ensemble, loops, masking
from jaxvision.attacks.ensemble import Outcome, Stage
from jaxvision.cli import stored
from jaxvision.cli.attack import settings as attack_settings
from jaxvision.cli.attack.request import Request
from jaxvision.cli.attack.settings import Settings
from jaxvision.cli.pixel_classifiers import PixelClassifier
from jaxvision.cli.progress import Progress
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json, Records
from jaxvision.viz import figures, robustness
from jaxvision.viz.tables import Table

# Images on which signs of masking are looked for.
_CHECKED = 64
# Adversarial images in the picture.
_SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierRequest(Request):
    """An attack on a classifier.

    Attributes:
        victim: the attacked classifier.
        source: the classifier whose gradients are used; None: those of the victim.
    """

    victim: PixelClassifier
    source: PixelClassifier | None

    def arguments(self) -> Json:
        """Everything on which the results depend."""
        arguments = super().arguments()
        if self.source is not None:
            arguments['source'] = self.source.name
            arguments['source_variables'] = self.source.fingerprint
        return arguments


def evaluate(request: ClassifierRequest, examples: Records) -> Json:
    """Attack images of a split, print a table, and write the report and pictures.

    A killed evaluation of the same request goes on after its last batch.

    Args:
        request: the request.
        examples: the images, see `pixel_classifiers.read_images`.

    Returns:
        The report, as it is in OUT/attack.json.

    Raises:
        UserError: All images are of the target's class.
    """
    start = time.monotonic()
    examples = _without_target(request.settings, examples)
    stages = stages_of(request)
    arguments = request.arguments()
    batches, folder = stored.open_batches(request.out, arguments)
    example_keys = keys.per_example(
        keys.stream(jax.random.key(request.settings.seed), 'attack'),
        jnp.asarray(examples['index']),
    )
    outcome = ensemble.run(
        stages,
        request.victim.logits,
        examples['image'],
        examples['label'],
        example_keys,
        batch_size=min(request.batch_size, len(examples['label'])),
        store=batches,
        report=_Progress(),
    )
    rows = _rows(request, outcome, examples)
    report = {
        'attack': request.settings.attack,
        **arguments,
        'images': len(examples['label']),
        'accuracy': outcome.accuracy,
        'eps': rows,
        'warnings': _warnings(request, outcome, examples, example_keys),
        'seconds': round(time.monotonic() - start, 1),
        'broken_by': _broken_by(outcome),
        'index': examples['index'].tolist(),
    }
    _print(request, report)
    if request.pictures:
        _draw(request, outcome, examples, report)
    stored.remove(folder)
    return report


def stages_of(request: ClassifierRequest) -> list[Stage]:
    """The stages of the attack on the victim, by its own or the source's gradients."""
    settings = request.settings
    classes = len(request.victim.class_names)
    stages = attack_settings.stages(settings, classes)
    if request.source is None:
        return stages
    source = request.source.logits
    return [
        Stage(stage.name, ensemble.transferred(stage.attack, source))
        for stage in stages
    ]


def _without_target(settings: Settings, examples: Records) -> Records:
    """Leave out the images whose class is the target."""
    if settings.target is None:
        return examples
    others = examples['label'] != settings.target
    if not others.any():
        raise UserError(
            f'--target={settings.target}: expected images of other classes. Raise '
            '--examples, or choose another class.'
        )
    return {name: values[others] for name, values in examples.items()}


def _rows(
    request: ClassifierRequest, outcome: Outcome, examples: Records
) -> list[Json]:
    """The results within each radius."""
    settings = request.settings
    originals = jnp.asarray(examples['image'])
    per_radius = len(outcome.stages) // len(settings.eps)
    # The radius of the ball in which each image was broken.
    places = np.maximum(outcome.broken_by, 0) // per_radius
    radii = jnp.asarray(np.asarray(settings.eps, np.float32)[places])
    rounded = balls.to_8_bits(
        jnp.asarray(outcome.images),
        originals,
        radii[:, None, None, None],
        settings.norm,
    )
    survives = _is_right(request, np.asarray(rounded), examples['label'])
    rows = []
    for place, text in enumerate(settings.texts):
        stages = outcome.stages[place * per_radius : (place + 1) * per_radius]
        last = (place + 1) * per_radius - 1
        is_broken = (outcome.broken_by >= 0) & (outcome.broken_by <= last)
        is_broken_by_file = is_broken & ~survives
        robust = outcome.after(last)
        in_files = (outcome.broken_by != -2) & ~is_broken_by_file
        rows.append(
            {
                'eps': settings.eps[place],
                'text': text,
                'robust_accuracy': robust,
                'standard_error': _standard_error(robust, len(survives)),
                'robust_accuracy_of_8_bits': float(in_files.mean()),
                'after': {
                    name.split('@')[0]: outcome.after(place * per_radius + number)
                    for number, name in enumerate(stages)
                },
            }
        )
    return rows


def _is_right(
    request: ClassifierRequest, images: np.ndarray, labels: np.ndarray
) -> Bool[np.ndarray, 'n']:
    """Whether the victim, or in a targeted attack anything but the target, is predicted."""
    size = min(request.batch_size, len(labels))
    predictions = []
    for start in range(0, len(images), size):
        batch = np.resize(images[start : start + size], (size, *images.shape[1:]))
        outputs = loops.outputs_of(request.victim.logits, jnp.asarray(batch))
        predictions.append(np.asarray(outputs).argmax(-1))
    predicted = np.concatenate(predictions)[: len(images)]
    if request.settings.target is not None:
        return predicted != request.settings.target
    return predicted == labels


def _standard_error(fraction: float, count: int) -> float:
    return math.sqrt(fraction * (1 - fraction) / count)


def _broken_by(outcome: Outcome) -> list[str]:
    """The stage that broke each image; '': it stands."""
    names = {-2: 'original', -1: '', **dict(enumerate(outcome.stages))}
    return [names[int(number)] for number in outcome.broken_by]


def _warnings(
    request: ClassifierRequest,
    outcome: Outcome,
    examples: Records,
    example_keys: Key[Array, 'n'],
) -> list[str]:
    """Signs of gradient masking; none are looked for in a transferred attack."""
    if request.source is not None or request.settings.target is not None:
        return []
    count = min(_CHECKED, len(examples['label']))
    signs = masking.measure(
        request.victim.logits,
        jnp.asarray(examples['image'][:count]),
        jnp.asarray(examples['label'][:count]),
        example_keys[:count],
        request.settings.norm,
    )
    return masking.warnings(signs, outcome)


def _print(request: ClassifierRequest, report: Json) -> None:
    settings = request.settings
    name = request.victim.name
    print(
        f'{name}, checkpoint {report["checkpoint"]}: accuracy '
        f'{report["accuracy"]:.4f} on {report["images"]:,} images of {request.split}'
    )
    words = ', '.join(
        f'{value} {name}'
        for name, value in settings.to_json().items()
        if name in ('steps', 'queries', 'restarts')
    )
    print(f'attack {settings.attack} ({settings.norm}){": " if words else ""}{words}')
    table = Table('eps', settings.texts)
    table.print(
        {
            'eps': row['text'],
            'robust accuracy': row['robust_accuracy'],
            'standard error': row['standard_error'],
            'of 8-bit files': row['robust_accuracy_of_8_bits'],
        }
        for row in report['eps']
    )
    for warning in report['warnings']:
        print(f'warning: {warning} The robust accuracy may be far too high.')
    print(
        'A robust accuracy is an upper bound: a stronger attack may break more images.'
    )


def _draw(
    request: ClassifierRequest, outcome: Outcome, examples: Records, report: Json
) -> None:
    """Draw the curve over several radii, and some adversarial images."""
    settings = request.settings
    if len(settings.eps) > 1:
        curve = robustness.curve(
            [0.0, *settings.eps],
            [report['accuracy'], *(row['robust_accuracy'] for row in report['eps'])],
            f'{settings.attack}, {settings.norm}',
        )
        figures.save(request.out / 'curve.png', curve)
    broken = np.flatnonzero(outcome.broken_by >= 0)[:_SHOWN]
    picture = comparison(
        request.victim,
        examples['image'][broken],
        outcome.images[broken],
        request.batch_size,
    )
    figures.save(request.out / 'examples.png', picture)


def comparison(
    victim: PixelClassifier,
    originals: np.ndarray,
    images: np.ndarray,
    batch_size: int,
) -> figures.Picture:
    """Draw originals, changes and adversarial images with their predictions.

    Args:
        victim: the classifier.
        originals: in [0, 1], [N, H, W, C].
        images: the adversarial images.
        batch_size: images that are classified together.
    """
    before = names_of(victim, originals, batch_size)
    after = names_of(victim, images, batch_size)
    return robustness.comparison(originals, images, before, after)


def names_of(
    victim: PixelClassifier, images: np.ndarray, batch_size: int
) -> Sequence[str]:
    """The predicted class of each image with its probability, such as '7 (99%)'."""
    names = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        outputs = loops.outputs_of(victim.logits, jnp.asarray(batch))
        probabilities = np.asarray(jax.nn.softmax(outputs))
        for row in probabilities:
            likely = int(row.argmax())
            names.append(f'{victim.class_names[likely]} ({row[likely]:.0%})')
    return names


class _Progress:
    """Lines of progress about an attack."""

    def __init__(self):
        self._progress = Progress()

    def __call__(self, stage: str, done: int, total: int, broken: int) -> None:
        self._progress.print(
            f'{stage}: {done:,} of {total:,} images, {broken:,} broken'
        )
