"""The errors of a run under all corruptions, as a report."""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.cli import stored
from jaxvision.cli.corrupt import measured
from jaxvision.cli.corrupt.measured import Measured
from jaxvision.cli.progress import Progress
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.types import Json, Split
from jaxvision.image.corruptions import published
from jaxvision.metrics import corruptions as metrics
from jaxvision.train import evaluation
from jaxvision.viz import figures, robustness
from jaxvision.viz.tables import Row, Table

# Images in the picture of corruptions.
_SHOWN = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The measured runs and the corruptions.

    Attributes:
        run: the run.
        reference: the run whose errors are the unit; None: there is none.
        corruptions: names of the corruptions.
        severities: severities, ascending.
        split: the split of the images.
        count: the most images; None: the whole split.
        seed: seed of the corruptions.
        out: the output folder.
        pictures: whether to draw pictures.
    """

    run: Measured
    reference: Measured | None
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    split: Split
    count: int | None
    seed: int
    out: Path
    pictures: bool


class _Errors:
    """Errors of a run, computed when they are asked for, and stored."""

    def __init__(self, request: Request, run: Measured, progress: Progress):
        self._request = request
        self._run = run
        self._progress = progress
        arguments = {
            **run.arguments(),
            'split': request.split,
            'count': request.count,
            'seed': request.seed,
        }
        self.images = 0
        self._stored, self.folder = stored.open_batches(request.out, arguments)

    def clean(self) -> float:
        """The error on the originals."""
        return self._error('clean', None)

    def of(self, corruption: str) -> Float[np.ndarray, 's']:
        """The error at each severity."""
        errors = [
            self._error(f'{corruption}-{severity}', (corruption, severity))
            for severity in self._request.severities
        ]
        return np.array(errors)

    def _error(self, name: str, corruption: tuple[str, int] | None) -> float:
        if name not in self._stored:
            request = self._request
            self._stored[name] = measured.measure(
                self._run, request.split, request.count, request.seed, corruption
            )
            self._progress.print(f'{self._run.name}: {name}')
        record = self._stored[name]
        self.images = int(record['images'])
        return float(record['error'])


def evaluate(request: Request) -> tuple[Json, list[Path]]:
    """Measure all corruptions, print a table and draw pictures.

    A killed evaluation of the same request goes on after its last severity.

    Args:
        request: the request.

    Returns:
        (the report, as it is in OUT/corrupt.json; the folders of stored results).
    """
    start = time.monotonic()
    progress = Progress()
    errors = _Errors(request, request.run, progress)
    reference = None
    if request.reference is not None:
        reference = _Errors(request, request.reference, progress)
    clean = errors.clean()
    reference_clean = reference.clean() if reference else None
    _print_heading(request, errors.images, clean, reference_clean)
    table = Table('corruption', request.corruptions)
    entries = []
    for name in request.corruptions:
        entry = _entry(name, errors, clean, reference, reference_clean)
        entries.append(entry)
        table.print([_row(request, entry)])
    report = {
        'corrupt': 'ImageNet-C',
        **request.run.arguments(),
        'split': request.split,
        'images': errors.images,
        'seed': request.seed,
        'severities': list(request.severities),
        'clean_error': clean,
        'mean_error': _mean(entries, 'error'),
    }
    folders = [errors.folder]
    if reference:
        report['reference'] = {
            **request.reference.arguments(),
            'clean_error': reference_clean,
            'mean_error': _mean(entries, 'reference_error'),
        }
        report['mce'] = _mean(entries, 'ce')
        report['relative_mce'] = _mean(entries, 'relative_ce')
        folders.append(reference.folder)
    report['corruptions'] = entries
    report['seconds'] = round(time.monotonic() - start, 1)
    _print_means(report)
    if request.pictures:
        _draw(request, report)
    return report, folders


def _entry(
    name: str,
    errors: _Errors,
    clean: float,
    reference: _Errors | None,
    reference_clean: float | None,
) -> Json:
    """The results of a corruption."""
    values = errors.of(name)
    entry = {
        'name': name,
        'kind': published.CORRUPTIONS[name].kind,
        'errors': values.tolist(),
        'error': float(values.mean()),
    }
    if reference and reference_clean is not None:
        others = reference.of(name)
        entry['reference_errors'] = others.tolist()
        entry['reference_error'] = float(others.mean())
        entry['ce'] = metrics.corruption_error(values, others)
        entry['relative_ce'] = metrics.relative_corruption_error(
            values, clean, others, reference_clean
        )
    return entry


def _mean(entries: list[Json], name: str) -> float | None:
    """The mean over all corruptions; None if one of them has no value."""
    values = [entry[name] for entry in entries]
    if None in values:
        return None
    return float(np.mean(values))


def _print_heading(
    request: Request, images: int, clean: float, reference_clean: float | None
) -> None:
    run = request.run
    print(
        f'{run.name}, checkpoint {run.step}: error (1 - {run.metric}) {clean:.4f} on '
        f'{images:,} images of {request.split}'
    )
    if request.reference is not None and reference_clean is not None:
        print(
            f'reference {request.reference.name}, checkpoint {request.reference.step}: '
            f'error {reference_clean:.4f}'
        )


def _row(request: Request, entry: Json) -> Row:
    """A row of the table."""
    row = {'corruption': entry['name']}
    for severity, error in zip(request.severities, entry['errors'], strict=True):
        row[f'{severity}'] = error
    row['mean'] = entry['error']
    for name, column in (('ce', 'CE'), ('relative_ce', 'relative CE')):
        if name in entry:
            row[column] = _or_dash(entry[name])
    return row


def _or_dash(value: float | None) -> float | str:
    return '-' if value is None else value


def _print_means(report: Json) -> None:
    line = f'mean error {report["mean_error"]:.4f}'
    for name, words in (('mce', 'mCE'), ('relative_mce', 'relative mCE')):
        if report.get(name) is not None:
            line += f', {words} {report[name]:.4f}'
    print(line)


def _draw(request: Request, report: Json) -> None:
    """Draw the errors, and the corruptions of some images."""
    errors = {entry['name']: entry['error'] for entry in report['corruptions']}
    others = {}
    if request.reference is not None:
        others = {
            entry['name']: entry['reference_error'] for entry in report['corruptions']
        }
    picture = robustness.corruption_errors(errors, report['clean_error'], others)
    figures.save(request.out / 'errors.png', picture)
    opened = request.run.run
    prepared = evaluation.examples(opened, request.split, _SHOWN)
    rows = evenly_spaced(len(opened.sources[request.split]), _SHOWN)
    index = jnp.asarray(rows[prepared['index']], jnp.int32)
    visible = measured.visible_of(prepared)
    pictures = {
        name: [
            np.asarray(
                measured.corrupt_batch(
                    jax.random.key(request.seed),
                    jnp.asarray(prepared['image']),
                    index,
                    visible,
                    name=name,
                    severity=severity,
                )
            )
            for severity in request.severities
        ]
        for name in request.corruptions
    }
    picture = robustness.corruptions(prepared['image'], pictures, request.severities)
    figures.save(request.out / 'examples.png', picture)
