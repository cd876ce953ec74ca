"""The answer for one segmented image: its classes and its objects, in pixels and real units."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxvision.cli.predict.segmentation_objects import Table
from jaxvision.cli.predict.segmentation_views import Strip
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json
from jaxvision.image.types import Size

UNITS = ('mm', 'um')
_MOST_NAMES = 3  # classes in a row of the table


@dataclasses.dataclass(frozen=True)
class Spacing:
    """The size of a pixel.

    Attributes:
        y: its height.
        x: its width.
        unit: of both, 'mm' or 'um' (micrometres).
    """

    y: float
    x: float
    unit: str

    @classmethod
    def parse(cls, text: str, unit: str) -> 'Spacing':
        """Read 'Y,X', or one number for both.

        Raises:
            UserError: The text has another form, or the unit is unknown.
        """
        if unit not in UNITS:
            raise UserError(
                f'--unit={unit}: expected {" or ".join(UNITS)}. Give one of them.'
            )
        numbers = text.split(',')
        try:
            y, x = map(float, numbers if len(numbers) > 1 else numbers * 2)
        except ValueError:
            y, x = 0.0, 0.0
        if not (0 < y < np.inf and 0 < x < np.inf):
            raise UserError(
                f'--spacing={text}: expected Y,X, the height and the width of a pixel, or '
                'one number for both. Give numbers above 0, such as --spacing 0.5,0.5.'
            )
        return cls(y, x, unit)


class Tally:
    """The pixels and the confidence of each class, summed while strips arrive."""

    def __init__(self, class_count: int):
        """Begin an image with this number of classes."""
        self.pixels: Int[np.ndarray, 'k'] = np.zeros(class_count, np.int64)
        self._sums: Float[np.ndarray, 'k'] = np.zeros(class_count)

    def add(self, strip: Strip) -> None:
        """Count the pixels of the next strip."""
        number = len(self.pixels)
        labels = strip.labels.ravel()
        self.pixels += np.bincount(labels, minlength=number)
        self._sums += np.bincount(labels, strip.confidence.ravel(), number)

    def merge(self, other: 'Tally') -> None:
        """Add the pixels of another image."""
        self.pixels += other.pixels
        self._sums += other._sums

    @property
    def confidence(self) -> Float[np.ndarray, 'k']:
        """The mean probability of the pixels of each class; 0 without pixels."""
        return self._sums / np.maximum(self.pixels, 1)


def answer_of(
    names: Sequence[str],
    tally: Tally,
    table: Table | None,
    size: Size,
    spacing: Spacing | None,
) -> Json:
    """Describe a segmented image.

    Args:
        names: of the classes.
        tally: of all its strips.
        table: of its objects; None: the network predicts none.
        size: (height, width) of the image, pixels.
        spacing: of its pixels; None: unknown.

    Returns:
        {'content': the largest classes, a text, 'objects': a text such as '12 cell',
        'size': [width, height], 'classes': what each class covers, 'instances': the
        objects}. Without objects two of these are missing.
    """
    height, width = size
    fractions = tally.pixels / (height * width)
    answer: Json = {'content': contents(names, tally.pixels)}
    if table is not None:
        counts = collections.Counter(names[row] for row in table.classes.tolist())
        listed = [f'{count} {name}' for name, count in counts.most_common()]
        answer['objects'] = ', '.join(listed) or 'none'
    answer['size'] = [width, height]
    classes = []
    for row in np.flatnonzero(tally.pixels).tolist():
        covered = {
            'class': names[row],
            'area': int(tally.pixels[row]),
            'fraction': round(float(fractions[row]), 6),
            'confidence': round(float(tally.confidence[row]), 4),
        }
        classes.append(covered | _area(covered['area'], spacing))
    # The table lists a list of texts, and takes an empty list for one.
    answer['classes'] = tuple(classes)
    if table is not None:
        answer['instances'] = tuple(_instances(names, table, spacing))
    return answer


def contents(names: Sequence[str], pixels: Int[np.ndarray, 'k']) -> str:
    """Name the three classes with the most pixels, such as '80.0% sky, 20.0% sea'."""
    fractions = pixels / max(pixels.sum(), 1)
    largest = np.argsort(-fractions, kind='stable')[:_MOST_NAMES]
    texts = [f'{fractions[row]:.1%} {names[row]}' for row in largest if fractions[row]]
    return ', '.join(texts)


def _instances(
    names: Sequence[str], table: Table, spacing: Spacing | None
) -> list[Json]:
    """Describe each object; its number is its value in NAME-objects.png."""
    rows = zip(
        table.areas.tolist(),
        table.centers.tolist(),
        table.boxes.tolist(),
        table.classes.tolist(),
        table.scores.tolist(),
        strict=True,
    )
    instances = []
    for number, (area, center, box, kind, score) in enumerate(rows, start=1):
        y, x = center
        ymin, xmin, ymax, xmax = box
        instance = {
            'number': number,
            'class': names[kind],
            'area': area,
            'centroid': [round(x, 2), round(y, 2)],
            'bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
            'confidence': round(score, 4),
        }
        instance |= _area(area, spacing)
        if spacing is not None:
            instance[f'centroid_{spacing.unit}'] = [
                _rounded(x * spacing.x),
                _rounded(y * spacing.y),
            ]
            instance[f'bbox_{spacing.unit}'] = [
                _rounded(xmin * spacing.x),
                _rounded(ymin * spacing.y),
                _rounded((xmax - xmin) * spacing.x),
                _rounded((ymax - ymin) * spacing.y),
            ]
        instances.append(instance)
    return instances


def _area(pixels: int, spacing: Spacing | None) -> Json:
    """An area in the square of the unit; {} without spacing."""
    if spacing is None:
        return {}
    return {f'area_{spacing.unit}2': _rounded(pixels * spacing.y * spacing.x)}


def _rounded(value: float) -> float:
    """A number with six significant digits."""
    return float(f'{value:.6g}')
