"""Images from a generator and random latents."""

import argparse
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs
from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Field
from jaxvision.core.types import Example
from jaxvision.data import files
from jaxvision.viz import figures, png

DOES = 'generates images'
FILES = ''
OWNER = 'a generator'

LARGEST_GRID = 400  # images
# One normal number in 125 lies within +-0.01. A smaller truncation takes long to sample.
LEAST_TRUNCATION = 0.01
MOST_COLUMNS = 20  # of classes in the grid


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of a generator.

    Attributes:
        number: number of images.
        seed: seed of the latents.
        label: name or number of the class of all images; None: the images cycle through all
            classes.
        truncation: latents are resampled outside [-truncation, truncation]; 0: they are not.
    """

    number: int = 16
    seed: int = 0
    label: str | None = None
    truncation: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --number, --seed, --label and --truncation."""
    group = parser.add_argument_group(
        'generators',
        'A generator takes no FILE. OUT gets the images and grid.png.\n'
        'The same seed gives the same images.',
    )
    group.add_argument(
        '--number', type=int, metavar='N', help=f'number of images ({Options.number})'
    )
    group.add_argument(
        '--seed', type=int, metavar='S', help=f'seed of the latents ({Options.seed})'
    )
    group.add_argument(
        '--label',
        metavar='NAME',
        help='a class or its number (cycle through all classes)',
    )
    group.add_argument(
        '--truncation',
        type=float,
        metavar='T',
        help='resample latents outside [-T, T], for likelier and less diverse images; 0: '
        f'no truncation ({Options.truncation:g})',
    )


def make(model: Model, request: Request, options: Options) -> 'Generation':
    """Make the predictor of a generator: a picture of each latent, and grid.png.

    The grid shows the first 400 pictures.

    Args:
        model: a generator.
        request: without files.
        options: the number of images, their latents and classes.

    Raises:
        UserError: The task takes other inputs, or the class does not exist. Or the
            number is below 1, the seed below 0, or the truncation neither 0 nor at
            least 0.01.
    """
    check_inputs(model, {'latent'}, {'latent', 'label'})
    Field(Options.number, '', least=1).check('--number', options.number)
    Field(Options.seed, '', least=0).check('--seed', options.seed)
    truncation = options.truncation
    if truncation and not truncation >= LEAST_TRUNCATION:
        raise UserError(
            f'--truncation={truncation}: expected at least {LEAST_TRUNCATION}, or 0 for no '
            'truncation.'
        )
    names = [f'{i:04}.png' for i in range(options.number)]
    pictures = files.picture_paths(names, request.out)
    return Generation(
        model=model,
        batch_size=min(request.batch_size, options.number),
        seed=options.seed,
        truncation=truncation,
        labels=choose_labels(model, options.label, options.number),
        pictures=pictures,
        grid=request.out / 'grid.png',
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """A predictor that generates pictures.

    Attributes:
        model: a generator.
        batch_size: images of a batch.
        seed: seed of the latents.
        truncation: latents are resampled outside [-truncation, truncation]; 0: they are
            not.
        labels: the class number of each image; empty if the generator has no classes.
        pictures: path of each image.
        grid: path of the picture of the first 400 images.
        column: name of the first column of the table.
    """

    model: Model
    batch_size: int
    seed: int
    truncation: float
    labels: Sequence[int]
    pictures: Sequence[Path]
    grid: Path
    column: str = 'picture'

    @property
    def names(self) -> Sequence[str]:
        """The paths of the pictures as text, one for each entry."""
        return [str(picture) for picture in self.pictures]

    @property
    def outputs(self) -> Sequence[Path]:
        """The files that will be written: the pictures and the grid."""
        return [*self.pictures, self.grid]

    @property
    def about(self) -> Entry:
        """The seed, the truncation and the path of the grid, for predictions.json."""
        return {
            'seed': self.seed,
            'truncation': self.truncation,
            'grid': str(self.grid),
        }

    def predict(self) -> Iterator[list[Entry]]:
        """Generate and write a batch of pictures at a time.

        The grid is written after the last batch, so the iterator must be exhausted.

        Yields:
            The entries of a batch, in the order of `pictures`.
        """
        shown = []
        count = len(self.pictures)
        for first in range(0, count, self.batch_size):
            rows = range(first, min(first + self.batch_size, count))
            images = self._generate(rows)
            yield list(map(self._save, rows, images))
            shown += images[: LARGEST_GRID - len(shown)]
        columns = grid_columns(self.labels, len(shown))
        figures.save(self.grid, figures.grid(shown, columns))

    def _generate(self, rows: range) -> list[UInt8[np.ndarray, 'h w c']]:
        """Generate the images with these numbers."""
        examples = [self._example(row) for row in rows]
        images = []
        for outputs in self.model.predict_each(examples, self.batch_size):
            rounded = np.rint(outputs['image'])
            images.append(np.clip(rounded, 0, 255).astype(np.uint8))
        return images

    def _example(self, row: int) -> Example:
        inputs = self.model.spec.inputs
        numbers = latent(self.seed, row, inputs['latent'].shape, self.truncation)
        example = {'latent': numbers.astype(inputs['latent'].dtype)}
        if self.labels:
            example['label'] = np.array(self.labels[row], inputs['label'].dtype)
        return example

    def _save(self, row: int, image: UInt8[np.ndarray, 'h w c']) -> Entry:
        """Write an image, and return its entry."""
        png.write(self.pictures[row], image.shape, [image])
        answer = {}
        if self.labels:
            answer['label'] = self.model.spec.class_names[self.labels[row]]
        return {'picture': str(self.pictures[row]), 'answer': answer}


def latent(
    seed: int, index: int, shape: tuple[int, ...], truncation: float = 0.0
) -> Float[np.ndarray, '...']:
    """Sample a latent of normal numbers. The same seed and index give the same latent.

    Args:
        seed: seed of all latents.
        index: number of the latent.
        shape: shape of the latent.
        truncation: numbers outside [-truncation, truncation] are resampled (Brock et al.,
            2019, arXiv:1809.11096); 0: they are not. A tiny truncation takes long, and
            a negative one never ends.

    Returns:
        The latent of this shape, in float64.
    """
    rng = keys.host(seed, 'latent', index)
    numbers = rng.standard_normal(shape)
    if not truncation:
        return numbers
    is_outside = np.abs(numbers) > truncation
    while is_outside.any():
        numbers[is_outside] = rng.standard_normal(is_outside.sum())
        is_outside = np.abs(numbers) > truncation
    return numbers


def choose_labels(model: Model, label: str | None, number: int) -> list[int]:
    """Return the class of each image.

    Args:
        model: a generator.
        label: name of a class, or else its number from 0; None: the images cycle
            through all classes.
        number: number of images.

    Returns:
        The numbers of the classes; [] if the generator has no classes.

    Raises:
        UserError: The class does not exist, or the generator has no classes.
    """
    if 'label' not in model.spec.inputs:
        if label is not None:
            raise UserError(
                f'--label={label}: expected no --label, because {model.name} generates no '
                'classes. Remove --label.'
            )
        return []
    class_names = model.spec.class_names
    if label is None:
        return [i % len(class_names) for i in range(number)]
    if label in class_names:
        return [class_names.index(label)] * number
    if label.isdecimal() and int(label) < len(class_names):
        return [int(label)] * number
    raise unknown('--label: there is no class', label, class_names)


def grid_columns(labels: Sequence[int], number: int) -> int:
    """Return the number of columns of the grid.

    If there are several different labels, it is 1 + the largest label: one column per
    class. If this is more than 20 or more than `number`, or the labels do not differ,
    the grid is as square as possible.

    Args:
        labels: the class number of each image; empty: no classes.
        number: number of images in the grid.
    """
    if len(set(labels)) > 1:
        classes = 1 + max(labels)
        if classes <= min(number, MOST_COLUMNS):
            return classes
    return math.ceil(math.sqrt(number))
