"""Images out of nothing but a seed: what a generator makes of random latents."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.report import Plan
from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.data import files
from jaxvision.viz import figures, png

NUMBER = 16  # where no other is asked for
LARGEST_GRID = 400  # images
LEAST_TRUNCATION = 0.01  # 1 number in 125 is taken; of fewer the drawing takes long


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> Plan:
    """A picture for each of --number latents, and grid.png of all.

    Raises UserError for options out of range, a label that there is not, or a file.
    """
    number = NUMBER if options.number is None else options.number
    seed, truncation = options.seed or 0, options.truncation or 0.0
    if paths:
        raise UserError(
            f'{model.name} is a generator: it takes no FILE; --number says how many '
            'images it is to make'
        )
    if number < 1 or seed < 0:
        raise UserError('--number is at least 1, and --seed at least 0')
    if truncation and not truncation >= LEAST_TRUNCATION:
        raise UserError(
            f'--truncation {truncation}: it is at least {LEAST_TRUNCATION}, or 0 for '
            'none'
        )
    labels = _labels(model, options.label, number)
    out = Path(options.out)
    pictures = files.picture_paths([f'{i:04}.png' for i in range(number)], out)
    grid = out / 'grid.png'
    about = {'seed': seed, 'truncation': truncation, 'grid': str(grid)}
    return Plan(
        'picture',
        [str(picture) for picture in pictures],
        [*pictures, grid],
        _entries(model, pictures, grid, labels, seed, truncation, options.batch_size),
        about,
    )


def latent(
    seed: int, index: int, shape: tuple[int, ...], truncation: float = 0.0
) -> Float[np.ndarray, '...']:
    """Normal numbers, a function of (seed, index); with a truncation those beyond +-truncation are
    drawn again (Brock et al., 2019, arXiv:1809.11096)."""
    rng = keys.host(seed, 'latent', index)
    drawn = rng.standard_normal(shape)
    while truncation and (far := np.abs(drawn) > truncation).any():
        drawn[far] = rng.standard_normal(far.sum())
    return drawn


def _labels(model: Model, wanted: str | None, number: int) -> list[int] | None:
    """The class of each image: the wanted one, else all in turn; None where there are none."""
    if 'label' not in model.spec['inputs']:
        if wanted is not None:
            raise UserError(f'--label {wanted}: {model.name} knows no classes')
        return None
    names = model.spec['class_names']
    if wanted is None:
        return [i % len(names) for i in range(number)]
    if wanted in names:
        return [names.index(wanted)] * number
    if wanted.isdecimal() and int(wanted) < len(names):
        return [int(wanted)] * number
    raise unknown('--label: there is no class', wanted, names)


def _entries(
    model: Model,
    pictures: list[Path],
    grid: Path,
    labels: list[int] | None,
    seed: int,
    truncation: float,
    size: int,
) -> Iterator[list[dict]]:
    inputs, shown = model.spec['inputs'], []
    size = min(size, len(pictures))
    for first in range(0, len(pictures), size):
        rows = range(first, min(first + size, len(pictures)))
        examples = [_example(inputs, seed, i, labels, truncation) for i in rows]
        images = [
            np.clip(np.rint(outputs['image']), 0, 255).astype(np.uint8)
            for outputs in model.answer_each(examples, size)
        ]
        entries = []
        for i, image in zip(rows, images):
            png.write(pictures[i], image.shape, [image])
            label = (
                {}
                if labels is None
                else {'label': model.spec['class_names'][labels[i]]}
            )
            entries.append({'picture': str(pictures[i]), 'answer': label})
        shown += images[: LARGEST_GRID - len(shown)]
        yield entries
    figures.save(grid, figures.grid(shown, _columns(labels, len(shown))))


def _example(
    inputs: dict, seed: int, index: int, labels: list[int] | None, truncation: float
) -> dict:
    about = inputs['latent']
    drawn = latent(seed, index, tuple(about['shape']), truncation).astype(
        about['dtype']
    )
    label = (
        {}
        if labels is None
        else {'label': np.array(labels[index], inputs['label']['dtype'])}
    )
    return {'latent': drawn, **label}


def _columns(labels: list[int] | None, number: int) -> int:
    """One for each class, where they take turns and are few; else about as many as lines."""
    classes = 1 + max(labels) if labels and len(set(labels)) > 1 else 1
    return classes if 1 < classes <= min(number, 20) else math.ceil(math.sqrt(number))
