"""The report of explanations: a table, explanations.json, pictures and a page."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxvision.cli.explain.explainer import Explainer, Map
from jaxvision.cli.explain.methods import METHODS
from jaxvision.cli.predict import finding
from jaxvision.cli.predict.file_by_file import attempt
from jaxvision.cli.predict.predictor import Entry
from jaxvision.cli.predict.report import Progress, check_replaceable
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json, write_text
from jaxvision.core.types import Json
from jaxvision.data import files
from jaxvision.viz import explanations, figures, page
from jaxvision.viz.tables import Table

NAME = 'explanations.json'
PAGE = 'index.html'

# The strongest colour is this percentile of the absolute values of all maps of a method.
_PERCENTILE = 99.5

Pixels = UInt8[np.ndarray, 'h w c']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The user's files, and what to explain about them.

    Attributes:
        paths: of the images.
        out: the output folder.
        methods: some of `METHODS`.
        targets: of an image, at most.
    """

    paths: Sequence[str]
    out: Path
    methods: Sequence[str]
    targets: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """One map of one target of one image.

    Attributes:
        target: its name.
        method: its name.
        map: importance of each pixel of the visible part of the image.
        facts: for the report.
    """

    target: str
    method: str
    map: Map
    facts: Json


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """An image with its maps.

    Attributes:
        path: as the user gave it.
        image: as the model sees it, without padding; None: it has no explanation.
        maps: by method, then by target.
        reason: why there is no explanation.
    """

    path: str
    image: Pixels | None = None
    maps: Sequence[Explained] = ()
    reason: str = ''


def run(explainer: Explainer, request: Request) -> int:
    """Explain all files and write the report.

    Args:
        explainer: the model.
        request: the files.

    Returns:
        The exit code: 0, or 1 if some files have no explanation.

    Raises:
        UserError: A file that is no part of an earlier report would be replaced, or the
            output folder cannot be written.
    """
    out = request.out
    pictures = files.picture_paths(request.paths, out)
    check_replaceable(out, [*pictures, out / PAGE], NAME, 'explain')
    explained = list(_explain_all(explainer, request))
    scales = _scales(explained, request.methods)
    with writing(out):
        entries = _write(explainer, request, explained, pictures, scales)
    missing = sum('error' in entry for entry in entries)
    done = len(entries) - missing
    print(f'\n{done} of {len(entries)} files explained; see {out / PAGE}')
    if not missing:
        return 0
    print(
        f'error: {missing} of {len(entries)} files have no explanation. The reasons are '
        f'above and in {out / NAME}.',
        file=sys.stderr,
    )
    return 1


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Make the output folder, in which the block writes files.

    Raises:
        UserError: The folder or a file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f'--out={out}: expected a folder that can be written ({reason}). Make room, or '
            'give another --out.'
        ) from error


def _explain_all(explainer: Explainer, request: Request) -> Iterator[File]:
    """Explain each file and print its row."""
    table = Table('file', request.paths)
    progress = Progress(len(request.paths), 'files')
    for number, path in enumerate(request.paths):
        file, reason = attempt(lambda: _explain(explainer, request, number))  # noqa: B023
        if file is None:
            file = File(path=path, reason=reason)
        table.print([_row(file)])
        progress.show(number + 1)
        yield file


def _explain(explainer: Explainer, request: Request, number: int) -> File:
    path = request.paths[number]
    example = explainer.model.prepare(files.read(path))
    pixels = example['image']
    targets = explainer.targets(pixels, example, request.targets)
    if not targets:
        raise UserError('there is no such target in the prediction')
    rows, columns = finding.visible_part(example)
    maps = []
    for method in request.methods:
        for target in targets:
            explanation = explainer.explain(method, pixels, target, number)
            maps.append(
                Explained(
                    target=target.name,
                    method=method,
                    map=explanation.map[rows, columns],
                    facts={**target.answer, **explanation.facts},
                )
            )
    return File(path=path, image=pixels[rows, columns], maps=maps)


def _row(file: File) -> dict[str | None, str | int | float]:
    """The row of a file in the table."""
    if file.image is None:
        return {'file': file.path, None: f'no explanation: {file.reason}'}
    names = dict.fromkeys(each.target for each in file.maps)
    cells = {'file': file.path, 'targets': ', '.join(names)}
    gaps = [each.facts['gap'] for each in file.maps if 'gap' in each.facts]
    if gaps:
        cells['gap'] = f'{max(gaps):.2%}'
    return cells


def _scales(
    explained: Sequence[File], methods: Sequence[str]
) -> dict[str, explanations.Scale]:
    """The colours of each method, the same ones for all of its maps."""
    scales = {}
    for name in methods:
        method = METHODS[name]
        maps = [
            np.abs(each.map).ravel()
            for file in explained
            for each in file.maps
            if each.method == name
        ]
        limit = float(np.percentile(np.concatenate(maps), _PERCENTILE)) if maps else 0.0
        scales[name] = explanations.Scale(
            limit=limit or 1.0, signed=method.signed, unit=method.unit
        )
    return scales


def _write(
    explainer: Explainer,
    request: Request,
    explained: Sequence[File],
    pictures: Sequence[Path],
    scales: dict[str, explanations.Scale],
) -> list[Entry]:
    """Write the pictures, the page and the JSON; return the entries of the files."""
    entries = []
    sections = [page.Section(lines=_introduction(explainer, request, scales))]
    for file, path in zip(explained, pictures, strict=True):
        if file.image is None:
            entries.append({'file': file.path, 'error': file.reason})
            sections.append(page.Section(heading=file.path, lines=[file.reason]))
            continue
        picture = explanations.draw(_picture_rows(file, scales))
        figures.save(path, picture)
        facts = [_facts(each) for each in file.maps]
        entries.append({'file': file.path, 'explanations': facts, 'picture': str(path)})
        cells = [{key: _cell(value) for key, value in each.items()} for each in facts]
        sections.append(
            page.Section(heading=file.path, table=cells, picture=page.png(picture))
        )
    title = f'Explanations of {explainer.model.name}'
    write_text(request.out / PAGE, page.write(title, sections))
    described = {
        name: {'unit': scale.unit, 'signed': scale.signed, 'limit': scale.limit}
        for name, scale in scales.items()
    }
    report = {
        'model': explainer.model.name,
        'score': explainer.subject.score_name,
        'settings': dataclasses.asdict(explainer.settings),
        'scales': described,
        'written': [str(request.out / PAGE)],
        'files': entries,
    }
    write_json(request.out / NAME, report)
    return entries


def _picture_rows(
    file: File, scales: dict[str, explanations.Scale]
) -> list[explanations.Row]:
    rows = []
    for each in file.maps:
        title = f'{METHODS[each.method].title}: {each.target}'
        if 'layer' in each.facts:
            title += f' (layer {each.facts["layer"]})'
        rows.append(
            explanations.Row(
                image=file.image,
                map=each.map,
                title=title,
                scale=scales[each.method],
            )
        )
    return rows


def _facts(explained: Explained) -> Json:
    """The part of explanations.json about one map."""
    largest = np.unravel_index(explained.map.argmax(), explained.map.shape)
    return {
        'method': explained.method,
        **explained.facts,
        'least': float(explained.map.min()),
        'largest': float(explained.map.max()),
        # Row and column in the part of the image that the model sees.
        'peak': [int(place) for place in largest],
    }


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, list):
        return ', '.join(map(_cell, value))
    return str(value)


def _introduction(
    explainer: Explainer, request: Request, scales: dict[str, explanations.Scale]
) -> list[str]:
    """The lines at the top of the page."""
    lines = [
        f'Score: {explainer.subject.score_name}. Each picture shows the image as the model '
        'sees it, the map, and the map on the image.'
    ]
    for name in request.methods:
        scale = scales[name]
        colors = f'from 0 to {scale.limit:.3g}'
        if scale.signed:
            colors = (
                f'from -{scale.limit:.3g} (blue, against the target) over 0 (white) to '
                f'{scale.limit:.3g} (red, for it)'
            )
        lines.append(
            f'{METHODS[name].title}: {scale.unit}. One scale for all images, {colors}: '
            f'the {_PERCENTILE} % quantile of absolute values.'
        )
    return lines
