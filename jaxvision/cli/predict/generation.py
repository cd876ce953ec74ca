"""Images that a generator makes of random latents."""

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
# One number in 125 lies within +-0.01; below that, drawing takes long.
LEAST_TRUNCATION = 0.01


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments.

    Attributes:
        number: of images.
        seed: of the latents.
        label: the class of all images, its name or number; None: all classes in turn.
        truncation: no number of a latent lies outside [-truncation, truncation]; 0: any.
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
        'The images are a function of the seed.',
    )
    group.add_argument(
        '--number', type=int, metavar='N', help=f'number of images ({Options.number})'
    )
    group.add_argument(
        '--seed', type=int, metavar='S', help=f'seed of the latents ({Options.seed})'
    )
    group.add_argument(
        '--label', metavar='NAME', help='a class or its number (all classes in turn)'
    )
    group.add_argument(
        '--truncation',
        type=float,
        metavar='T',
        help='draw numbers outside [-T, T] again: likelier images, and less varied; 0: '
        f'none ({Options.truncation:g})',
    )


def make(model: Model, request: Request, options: Options) -> 'Generation':
    """Make a picture of each latent, and grid.png of all.

    Args:
        model: a generator.
        request: without paths.
        options: of the latents and classes.

    Raises:
        UserError: An option is out of range, or there is no such class.
    """
    check_inputs(model, {'latent'}, {'latent', 'label'})
    Field(Options.number, '', least=1).check('--number', options.number)
    Field(Options.seed, '', least=0).check('--seed', options.seed)
    truncation = options.truncation
    if truncation and not truncation >= LEAST_TRUNCATION:
        raise UserError(
            f'--truncation={truncation}: expected at least {LEAST_TRUNCATION}, or 0 for '
            'none.'
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
    """A predictor that makes pictures of its own.

    Attributes:
        model: a generator.
        batch_size: images that are made at once.
        seed: of the latents.
        truncation: of the latents; 0: none.
        labels: the class of each image; empty where the generator knows no classes.
        pictures: where the images go.
        grid: where the picture of all images goes.
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
        """As `Predictor`."""
        return [str(picture) for picture in self.pictures]

    @property
    def outputs(self) -> Sequence[Path]:
        """As `Predictor`."""
        return [*self.pictures, self.grid]

    @property
    def about(self) -> Entry:
        """As `Predictor`."""
        return {
            'seed': self.seed,
            'truncation': self.truncation,
            'grid': str(self.grid),
        }

    def predict(self) -> Iterator[list[Entry]]:
        """As `Predictor`."""
        shown = []
        count = len(self.pictures)
        for first in range(0, count, self.batch_size):
            rows = range(first, min(first + self.batch_size, count))
            images = self._generate(rows)
            yield [
                self._save(row, image) for row, image in zip(rows, images, strict=True)
            ]
            shown += images[: LARGEST_GRID - len(shown)]
        columns = grid_columns(self.labels, len(shown))
        figures.save(self.grid, figures.grid(shown, columns))

    def _generate(self, rows: range) -> list[UInt8[np.ndarray, 'h w c']]:
        """The images of some latents."""
        examples = [self._example(row) for row in rows]
        outputs = self.model.predict_each(examples, self.batch_size)
        return [
            np.clip(np.rint(each['image']), 0, 255).astype(np.uint8) for each in outputs
        ]

    def _example(self, row: int) -> Example:
        inputs = self.model.spec.inputs
        drawn = latent(self.seed, row, inputs['latent'].shape, self.truncation)
        example = {'latent': drawn.astype(inputs['latent'].dtype)}
        if self.labels:
            example['label'] = np.array(self.labels[row], inputs['label'].dtype)
        return example

    def _save(self, row: int, image: UInt8[np.ndarray, 'h w c']) -> Entry:
        """Write an image: its entry."""
        png.write(self.pictures[row], image.shape, [image])
        answer = {}
        if self.labels:
            answer['label'] = self.model.spec.class_names[self.labels[row]]
        return {'picture': str(self.pictures[row]), 'answer': answer}


def latent(
    seed: int, index: int, shape: tuple[int, ...], truncation: float = 0.0
) -> Float[np.ndarray, '...']:
    """Draw a latent of normal numbers, a function of (seed, index).

    Args:
        seed: of all latents.
        index: of this one.
        shape: of the latent.
        truncation: numbers outside [-truncation, truncation] are drawn again (Brock et
            al., 2019, arXiv:1809.11096); 0: none.
    """
    rng = keys.host(seed, 'latent', index)
    drawn = rng.standard_normal(shape)
    while truncation and (far := np.abs(drawn) > truncation).any():
        drawn[far] = rng.standard_normal(far.sum())
    return drawn


def choose_labels(model: Model, label: str | None, number: int) -> list[int]:
    """The class of each image.

    Args:
        model: a generator.
        label: the name or number of a class; None: all classes in turn.
        number: of images.

    Returns:
        The numbers of the classes; nothing if the generator knows no classes.

    Raises:
        UserError: There is no such class.
    """
    if 'label' not in model.spec.inputs:
        if label is not None:
            raise UserError(
                f'--label={label}: expected with a generator of classes. {model.name} '
                'knows no classes: leave --label out.'
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
    """One column a class, where few classes take turns; else as many as lines."""
    classes = 1 + max(labels) if len(set(labels)) > 1 else 1
    return classes if 1 < classes <= min(number, 20) else math.ceil(math.sqrt(number))
