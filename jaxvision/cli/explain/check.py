"""`jaxvision explain --check`: measures of all methods on the evaluation split of a run."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from jaxvision.attribution import measures
from jaxvision.attribution.types import HostImage
from jaxvision.cli.explain import baselines, object_masks
from jaxvision.cli.explain.explainer import Explainer, Map
from jaxvision.cli.explain.methods import METHODS
from jaxvision.cli.explain.subjects import Target
from jaxvision.cli.predict.report import Progress, check_replaceable
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.types import Json, Tree
from jaxvision.train import run as run_module
from jaxvision.train import saved
from jaxvision.train.run import Run
from jaxvision.viz.tables import Table

NAME = 'check.json'

# The measures that need the mask of an object.
OF_MASKS = ('pointing', 'energy')
# Maps that no model made.
CENTER = 'center'
BRIGHTNESS = 'brightness'
RANDOM = 'random weights'

_SAMPLES = 64  # hidden images for infidelity
_STEPS = 15  # of deletion and insertion
_MASKS = {'rise': 256, 'shapley': 256}  # if the user gives no number

# Measures by name.
Values = dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The part of the evaluation split that is explained.

    Attributes:
        workdir: folder of the run.
        out: the output folder.
        methods: names of the methods; empty: all that the model can be explained by.
        examples: number of examples, spread evenly over the split.
        targets: of an example, at most.
    """

    workdir: Path
    out: Path
    methods: Sequence[str]
    examples: int
    targets: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A target of an example of the split.

    Attributes:
        number: of the example, which selects its random numbers.
        pixels: the prepared image.
        target: what is explained.
        mask: the pixels of its object; None: the data have none, or it is a mistake.
    """

    number: int
    pixels: UInt8[np.ndarray, 'h w c']
    target: Target
    mask: Bool[np.ndarray, 'h w'] | None


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over cases with its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Mean':
        """The mean of some values; NaN without values."""
        if not len(values):
            return cls(math.nan, math.nan)
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), std / math.sqrt(len(values)))

    def __str__(self) -> str:
        """'0.912 ± 0.008', or '-'."""
        if math.isnan(self.mean):
            return '-'
        return f'{self.mean:.3f} ± {self.error:.3f}'


def run(explainer: Explainer, request: Request) -> int:
    """Measure the methods, print a table and write check.json.

    Args:
        explainer: of the run.
        request: the examples and methods.

    Returns:
        The exit code 0.

    Raises:
        UserError: The run, its data or a method is missing, or no example has a target.
    """
    check_replaceable(request.out, [], NAME, 'explain --check')
    samples = explainer.settings.samples or _MASKS
    settings = dataclasses.replace(explainer.settings, samples=samples)
    explainer = dataclasses.replace(explainer, settings=settings)
    methods = request.methods or _possible(explainer)
    for method in methods:
        explainer.check(method)
    reopened = _reopen(request.workdir)
    random = explainer.with_variables(_random_variables(reopened))
    rows = {name: [] for name in (*methods, CENTER, BRIGHTNESS)}
    progress = Progress(request.examples, 'examples')
    for case in _cases(explainer, reopened, request):
        for name, values in _measure(explainer, random, methods, case).items():
            rows[name].append(values)
        progress.show(case.number + 1)
    count = len(rows[CENTER])
    if not count:
        raise UserError(
            '--check: expected targets in the predictions for the evaluation split, and '
            'there are none. Train the run for longer, or give more --examples.'
        )
    summary = {name: _summary(values, rows) for name, values in rows.items()}
    _print(summary)
    print(f'\n{count} targets of {request.examples} examples of the test split')
    request.out.mkdir(parents=True, exist_ok=True)
    report = {
        'model': explainer.model.name,
        'settings': dataclasses.asdict(explainer.settings),
        'examples': request.examples,
        'targets': count,
        'methods': _as_json(summary),
    }
    write_json(request.out / NAME, report)
    return 0


def _possible(explainer: Explainer) -> list[str]:
    """The methods by which the model can be explained."""
    names = []
    for name in METHODS:
        try:
            explainer.check(name)
        except UserError:
            continue
        names.append(name)
    return names


def _reopen(workdir: Path) -> Run:
    if not (workdir / 'config.json').exists():
        raise UserError(
            f'--workdir={workdir}: expected a run, because --check reads its evaluation '
            'split and makes random weights. Give the folder of a run.'
        )
    return run_module.reopen(workdir)


def _random_variables(reopened: Run) -> Tree:
    """Random variables as before training, from another key than the run's."""
    batch = jax.tree.map(jnp.asarray, saved.blank_batch(reopened.spec))
    key = keys.stream(jax.random.key(reopened.config.seed), 'random weights')
    return jax.jit(reopened.first_state)(key, batch, {}, {}).variables


def _cases(explainer: Explainer, reopened: Run, request: Request) -> Iterator[Case]:
    """Yield the targets of some examples of the test split."""
    source = reopened.sources['test']
    data = object_masks.Annotated.of(source.info, explainer.model.spec)
    rows = evenly_spaced(len(source), request.examples)
    for number, row in enumerate(np.asarray(rows).tolist()):
        annotation = source[row]
        example = annotation
        if explainer.model.task.prepare:
            example = explainer.model.task.prepare(annotation, None)
        pixels = example['image']
        for target in explainer.targets(pixels, example, request.targets):
            yield Case(
                number=number,
                pixels=pixels,
                target=target,
                mask=object_masks.of_target(annotation, example, target, data),
            )


def _measure(
    explainer: Explainer, random: Explainer, methods: Sequence[str], case: Case
) -> dict[str, Values]:
    """The measures of each method, and of the maps that no model made.

    Args:
        explainer: of the trained model.
        random: of the model with random weights.
        methods: to measure.
        case: the target.
    """
    image = case.pixels.astype(np.float32) / 255
    mean = ()
    if explainer.model.spec.preprocessing:
        mean = explainer.model.spec.preprocessing.mean
    name = explainer.settings.baseline or 'mean'
    blank = next(iter(baselines.make(name, image, mean).values()))
    faithfulness = functools.partial(_faithfulness, explainer, image, blank, case)
    by_name = {}
    for method in methods:
        map_ = _map(explainer, method, case)
        other = _map(random, method, case)
        values = {**_inside(map_, case), **faithfulness(map_)}
        values['correlation'] = measures.rank_correlation(map_, other)
        for measure, value in _inside(other, case).items():
            values[f'{measure}, {RANDOM}'] = value
        by_name[method] = values
    simple = {
        CENTER: measures.center_map(case.pixels.shape[:2]),
        BRIGHTNESS: measures.brightness_map(image),
    }
    for name, map_ in simple.items():
        by_name[name] = {**_inside(map_, case), **faithfulness(map_)}
    return by_name


def _map(explainer: Explainer, method: str, case: Case) -> Map:
    """The map of a method; zeros where the gradient is zero everywhere."""
    try:
        return explainer.explain(method, case.pixels, case.target, case.number).map
    except UserError:
        return np.zeros(case.pixels.shape[:2], np.float32)


def _inside(map_: Map, case: Case) -> Values:
    if case.mask is None:
        return {}
    return {
        'pointing': measures.pointing_game(map_, case.mask),
        'energy': measures.energy_inside(map_, case.mask),
    }


def _faithfulness(
    explainer: Explainer, image: HostImage, blank: HostImage, case: Case, map_: Map
) -> Values:
    """Deletion, insertion and infidelity, with the same random numbers for all maps.

    Args:
        explainer: of the trained model.
        image: in [0, 1].
        blank: the image that replaced pixels show.
        case: the target.
        map_: importance of each pixel.
    """
    batch = explainer.settings.batch_size

    def rng() -> np.random.Generator:
        return keys.host(explainer.settings.seed, 'explain check', case.number)

    probability = explainer.probability(case.target)
    arguments = (image, blank, map_)
    deleted = measures.deletion(
        probability, *arguments, rng(), steps=_STEPS, batch=batch
    )
    inserted = measures.insertion(
        probability, *arguments, rng(), steps=_STEPS, batch=batch
    )
    score = explainer.host_score(case.target)
    unexplained = measures.infidelity(
        score, *arguments, rng(), samples=_SAMPLES, batch=batch
    )
    return {
        'deletion': deleted.area,
        'insertion': inserted.area,
        'infidelity': unexplained,
    }


def _summary(
    values: Sequence[Values], rows: dict[str, list[Values]]
) -> dict[str, Mean]:
    """The mean of each measure, and how far those of masks are above all baselines.

    Args:
        values: of one method, a row for each case.
        rows: of all methods and of the maps that no model made.
    """
    names = list(dict.fromkeys(name for row in values for name in row))
    summary = {}
    for name in names:
        summary[name] = Mean.of([row[name] for row in values if name in row])
    for measure in OF_MASKS:
        if f'{measure}, {RANDOM}' not in names:
            continue
        margins = [
            _margin(values, measure, rows[CENTER], measure),
            _margin(values, measure, rows[BRIGHTNESS], measure),
            _margin(values, measure, values, f'{measure}, {RANDOM}'),
        ]
        summary[f'{measure}, margin'] = Mean(min(margins), 0.0)
    return summary


def _margin(
    values: Sequence[Values], measure: str, others: Sequence[Values], other: str
) -> float:
    """The mean difference of two measures of the same cases, in its standard errors."""
    differences = [
        row[measure] - other_row[other]
        for row, other_row in zip(values, others, strict=True)
        if measure in row and other in other_row
    ]
    mean = Mean.of(differences)
    if not mean.error > 0:
        return math.copysign(math.inf, mean.mean) if mean.mean else 0.0
    return mean.mean / mean.error


# The columns of the table: the title, and the measure.
_COLUMNS = {
    'pointing': 'pointing',
    'random': f'pointing, {RANDOM}',
    'margin': 'pointing, margin',
    'energy': 'energy',
    'energy margin': 'energy, margin',
    'insertion': 'insertion',
    'deletion': 'deletion',
    'infidelity': 'infidelity',
    'correlation': 'correlation',
}


def _print(summary: dict[str, dict[str, Mean]]) -> None:
    table = Table('method', list(summary))
    rows = []
    for name, means in summary.items():
        cells: dict[str | None, str | int | float] = {'method': name}
        for title, measure in _COLUMNS.items():
            if not any(measure in row for row in summary.values()):
                continue
            cells[title] = '-'
            if measure in means:
                cells[title] = _text(measure, means[measure])
        rows.append(cells)
    table.print(rows)
    print(
        '\npointing: the largest value lies inside the object; energy: fraction of the '
        'positive values inside.\nmargin: above center, brightness and random weights by '
        'this many standard errors, at least.\ninsertion (more is better), deletion (less): '
        'mean probability while pixels appear or vanish.\ninfidelity: fraction of '
        'the changes of the score that the map does not explain.\ncorrelation: with the '
        'map of random weights; near 0 if the map depends on the model.'
    )


def _text(measure: str, mean: Mean) -> str:
    if measure.endswith('margin'):
        return f'{mean.mean:.1f}'
    return str(mean)


def _as_json(summary: dict[str, dict[str, Mean]]) -> Json:
    """The means as JSON: {method: {measure: {'mean', 'error'}}}, null for what is not finite."""
    methods = {}
    for name, row in summary.items():
        methods[name] = {}
        for measure, mean in row.items():
            values = dataclasses.asdict(mean)
            for key, value in values.items():
                values[key] = value if math.isfinite(value) else None
            methods[name][measure] = values
    return methods
