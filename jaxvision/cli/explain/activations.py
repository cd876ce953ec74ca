"""Images that a class of a model answers to most, without a file of the user."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.attribution import activation
from jaxvision.cli.explain.explainer import Explainer
from jaxvision.cli.explain.methods import ACTIVATION
from jaxvision.cli.explain.report import NAME, PAGE, writing
from jaxvision.cli.predict.report import check_replaceable
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json, write_text
from jaxvision.core.types import Json
from jaxvision.data import files
from jaxvision.viz import figures, page
from jaxvision.viz.tables import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The classes whose images are made.

    Attributes:
        out: the output folder.
        classes: names of classes.
        images: images of each class.
        steps: steps of Adam.
    """

    out: Path
    classes: Sequence[str]
    images: int
    steps: int


def run(explainer: Explainer, request: Request) -> int:
    """Make images of each class, print a table, and write pictures, JSON and a page.

    Args:
        explainer: the model.
        request: the classes.

    Returns:
        The exit code 0.

    Raises:
        UserError: The model has no gradients or no classes, or a file that is no part of
            an earlier report would be replaced.
    """
    if explainer.model.variables is None:
        raise UserError(
            f'--method={ACTIVATION}: expected a run or --weights, because exported models '
            'have no gradients. Name another model.'
        )
    out = request.out
    pictures = files.picture_paths(request.classes, out)
    check_replaceable(out, [*pictures, out / PAGE], NAME, 'explain')
    with writing(out):
        entries = _write(explainer, request, pictures)
    print(f'\n{len(entries)} classes; see {out / PAGE}')
    return 0


def _write(
    explainer: Explainer, request: Request, pictures: Sequence[Path]
) -> list[Json]:
    """Make and write the images of each class, the page and the JSON.

    Returns:
        The entries of the classes in the report.
    """
    table = Table('class', request.classes)
    introduction = f'Score: {explainer.subject.score_name}, raised from noise.'
    sections = [page.Section(lines=[introduction])]
    entries = []
    for name, path in zip(request.classes, pictures, strict=True):
        made = _make(explainer, request, name)
        scores = np.asarray(made.scores, np.float64)
        pixels = np.rint(255 * np.asarray(made.images)).astype(np.uint8)
        captions = [f'{score:.3g}' for score in scores]
        picture = figures.gallery(list(pixels), captions, columns=4)
        figures.save(path, picture)
        sections.append(page.Section(heading=name, picture=page.png(picture)))
        entries.append({'class': name, 'scores': scores.tolist(), 'picture': str(path)})
        table.print([{'class': name, 'largest score': float(scores.max())}])
    title = f'Images of classes of {explainer.model.name}'
    write_text(request.out / PAGE, page.write(title, sections))
    write_json(request.out / NAME, _report(explainer, request, entries))
    return entries


def _make(explainer: Explainer, request: Request, name: str) -> activation.Maximised:
    """Make the images of a class. They depend on its name, and not on the other classes."""
    shape = explainer.model.spec.inputs['image'].shape
    key = keys.stream(jax.random.key(explainer.settings.seed), f'{ACTIVATION} {name}')
    made = activation.maximise(
        explainer.class_score(name), key, (request.images, *shape), steps=request.steps
    )
    if not bool(jnp.isfinite(made.scores).all()):
        raise UserError(
            f'--target={name}: expected finite scores. Choose another class.'
        )
    return made


def _report(explainer: Explainer, request: Request, entries: Sequence[Json]) -> Json:
    return {
        'model': explainer.model.name,
        'score': explainer.subject.score_name,
        'method': ACTIVATION,
        'steps': request.steps,
        'seed': explainer.settings.seed,
        'written': [str(request.out / PAGE)],
        'files': list(entries),
    }
