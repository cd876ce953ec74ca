"""Adversarial images of a user's own files."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.attacks import balls, ensemble, loops
from jaxvision.cli.attack import evaluation
from jaxvision.cli.attack.evaluation import ClassifierRequest
from jaxvision.cli.pixel_classifiers import as_pixels
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json, Records
from jaxvision.data import decode, files, resizing
from jaxvision.data.protocol import Unreadable
from jaxvision.viz import figures
from jaxvision.viz.tables import Table


@dataclasses.dataclass(frozen=True)
class _Readable:
    """A file with its image.

    Attributes:
        path: the file.
        picture: the path of its adversarial image.
        image: in [0, 1], [H, W, C], as the network sees it.
    """

    path: str
    picture: Path
    image: np.ndarray


def attack(request: ClassifierRequest, paths: Sequence[str]) -> Json:
    """Make an adversarial image of each file, print a table, and write the report.

    The label of a file is the class that the run predicts for it. OUT gets NAME.png, the
    adversarial image at the network's resolution, and NAME.compare.png.

    Args:
        request: the run, the attack and the output folder. It has one radius.
        paths: the files.

    Returns:
        The report, as it is in OUT/attack.json.

    Raises:
        UserError: There are several radii.
    """
    settings = request.settings
    if len(settings.eps) > 1:
        raise UserError(
            f'--eps={",".join(settings.texts)}: expected one size for your files. Give one.'
        )
    readable, entries = _read(request, paths)
    table = Table('file', paths)
    for start in range(0, len(readable), request.batch_size):
        part = readable[start : start + request.batch_size]
        for item, entry in zip(part, _attack_batch(request, part, start), strict=True):
            entries[item.path] = {'file': item.path, **entry}
    ordered = [entries[path] for path in paths]
    table.print(_row(entry) for entry in ordered)
    return {
        'attack': settings.attack,
        **settings.to_json(),
        'run': request.victim.name,
        'checkpoint': request.victim.step,
        'eps': settings.texts[0],
        'files': ordered,
    }


def _read(
    request: ClassifierRequest, paths: Sequence[str]
) -> tuple[list[_Readable], dict[str, Json]]:
    """Read the files; return (readable ones, {path: entry} of the others)."""
    readable = []
    entries = {}
    pictures = files.picture_paths(paths, request.out)
    for path, picture in zip(paths, pictures, strict=True):
        try:
            image = _prepare(request, files.read(path))
        except Unreadable as error:
            entries[path] = {'file': path, 'error': str(error)}
            continue
        readable.append(_Readable(path, picture, as_pixels(image)))
    return readable, entries


def _prepare(request: ClassifierRequest, content: bytes) -> np.ndarray:
    """Apply the preprocessing of the evaluation."""
    opened = request.victim.run
    if opened.task.prepare:
        return opened.task.prepare({'image': content}, None)['image']
    height, width, channels = opened.spec.inputs['image'].shape
    return resizing.resize(decode.decode(content, channels), height, width)


def _attack_batch(
    request: ClassifierRequest, part: Sequence[_Readable], start: int
) -> Iterator[Json]:
    """Attack some files together; yield the entry of each."""
    settings = request.settings
    victim = request.victim
    images = np.stack([item.image for item in part])
    labels = _predictions(request, images)
    example_keys = keys.per_example(
        keys.stream(jax.random.key(settings.seed), 'attack'),
        start + jnp.arange(len(images)),
    )
    outcome = ensemble.run(
        evaluation.stages_of(request),
        victim.logits,
        images,
        labels,
        example_keys,
        batch_size=len(images),
    )
    rounded = np.asarray(
        balls.to_8_bits(
            jnp.asarray(outcome.images),
            jnp.asarray(images),
            settings.eps[0],
            settings.norm,
        )
    )
    after = _predictions(request, rounded)
    lengths = np.asarray(
        balls.distance(jnp.asarray(rounded), jnp.asarray(images), settings.norm)
    )
    _save(request, part, images, rounded)
    for row, item in enumerate(part):
        is_changed = after[row] != labels[row]
        if settings.target is not None:
            is_changed = after[row] == settings.target
        yield {
            'class': victim.class_names[labels[row]],
            'adversarial_class': victim.class_names[after[row]],
            'success': bool(is_changed),
            'norm_of_change': float(lengths[row]),
            'picture': str(item.picture),
        }


def _predictions(request: ClassifierRequest, images: np.ndarray) -> np.ndarray:
    outputs = loops.outputs_of(request.victim.logits, jnp.asarray(images))
    return np.asarray(outputs).argmax(-1).astype(np.int32)


def _save(
    request: ClassifierRequest,
    part: Sequence[_Readable],
    images: np.ndarray,
    rounded: np.ndarray,
) -> None:
    """Write the adversarial images, and their comparisons with the originals."""
    for row, item in enumerate(part):
        pixels = np.round(rounded[row] * 255).astype(np.uint8)
        rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        figures.save(item.picture, np.ascontiguousarray(rgb))
        if request.pictures:
            picture = evaluation.comparison(
                request.victim, images[row : row + 1], rounded[row : row + 1], 1
            )
            figures.save(item.picture.with_suffix('.compare.png'), picture)


def _row(entry: Json) -> Records:
    if 'error' in entry:
        return {'file': entry['file'], None: f'not attacked: {entry["error"]}'}
    return {
        'file': entry['file'],
        'class': entry['class'],
        'adversarial class': entry['adversarial_class'],
        'success': 'yes' if entry['success'] else 'no',
        'norm of change': entry['norm_of_change'],
    }
