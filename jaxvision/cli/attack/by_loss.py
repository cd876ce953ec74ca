"""Detectors and segmenters under an attack on their own loss, as a report."""

import math
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.attacks import ascent, balls
from jaxvision.attacks.ascent import Ascended
from jaxvision.cli import stored
from jaxvision.cli.attack.measured_examples import MeasuredExamples
from jaxvision.cli.attack.request import Request
from jaxvision.cli.pixel_classifiers import as_pixels
from jaxvision.cli.progress import Progress
from jaxvision.cli.stored import Batches
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Json, Records
from jaxvision.viz import figures, robustness
from jaxvision.viz.tables import Table

Images = Float[np.ndarray, 'n h w c']
# `(original images, images of the largest radius, the same in 8 bits) -> further results`
Finish = Callable[[Ascended, Ascended, np.ndarray], Json]


def evaluate(
    examples: MeasuredExamples, origin: str, finish: Finish | None = None
) -> Json:
    """Attack images, print a table, and write pictures.

    The images of one radius are those of a smaller one where these have the larger loss, so that
    losses never fall with the radius. A killed evaluation of the same request goes on after
    its last batch.

    Args:
        examples: the images with their truth, of a task with `inference_loss`.
        origin: of the images, for the heading, such as 'test'.
        finish: called with the largest radius; adds to the report.

    Returns:
        The report, as it is in OUT/attack.json.
    """
    start = time.monotonic()
    request = examples.request
    settings = request.settings
    arguments = request.arguments()
    originals = examples.arrays['image']
    pixels = {'pixels': content_hash(originals)}
    batches, folder = stored.open_batches(request.out, arguments | pixels)
    metrics, records = examples.measure(originals)
    _draw_figures(examples, 'clean', records, originals)
    metric = examples.task.best.removeprefix('-')
    unchanged = _unchanged(examples)
    attacked = unchanged
    clean = {'loss': _mean(unchanged.losses), 'metrics': _finite(metrics)}
    rows = []
    table = Table('eps', settings.texts)
    _print_heading(examples, origin, metric, metrics)
    for eps, text in zip(settings.eps, settings.texts, strict=True):
        attacked = _attack(examples, eps, text, attacked, batches)
        rounded = _rounded(request, attacked.images, originals, eps)
        metrics, _ = examples.measure(255 * attacked.images)
        of_8_bits, records = examples.measure(rounded)
        rows.append(
            {
                'eps': eps,
                'text': text,
                'loss': _mean(attacked.losses),
                'metrics': _finite(metrics),
                'metrics_of_8_bits': _finite(of_8_bits),
            }
        )
        cells = {'eps': text, metric: metrics[metric]}
        table.print(
            [{**cells, 'of 8-bit files': of_8_bits[metric], 'loss': rows[-1]['loss']}]
        )
        _draw_figures(examples, f'eps-{text.replace("/", "-")}', records, rounded)
    print('A metric under attack is an upper bound: a stronger attack may lower it.')
    report = {
        'attack': settings.attack,
        **arguments,
        'images': len(examples),
        'metric': metric,
        'clean': clean,
        'eps': rows,
        'seconds': round(time.monotonic() - start, 1),
        'index': examples.rows.tolist(),
    }
    if finish:
        report |= finish(unchanged, attacked, rounded)
    if request.pictures and len(rows) > 1:
        _draw_curve(request, report)
    stored.remove(folder)
    return report


def _unchanged(examples: MeasuredExamples) -> Ascended:
    """The original images with their losses, on the host."""
    images = as_pixels(examples.arrays['image'])
    losses = np.zeros(len(images), np.float32)
    for count, places in examples.batches():
        values = ascent.losses_of(
            _loss(examples, examples.batch(places)), jnp.asarray(images[places])
        )
        losses[places[:count]] = np.asarray(values)[:count]
    return Ascended(images, losses)


def _attack(
    examples: MeasuredExamples,
    eps: float,
    text: str,
    smaller: Ascended,
    batches: Batches,
) -> Ascended:
    """Attack all images within one radius.

    Args:
        examples: the examples.
        eps: the radius.
        text: the radius as the user wrote it.
        smaller: the result within a smaller radius, on the host.
        batches: results of an earlier evaluation.
    """
    settings = examples.request.settings
    originals = as_pixels(examples.arrays['image'])
    progress = Progress()
    images = smaller.images.copy()
    losses = smaller.losses.copy()
    for count, places in examples.batches():
        name = f'{text.replace("/", ":")}-{places[0]}'
        if name not in batches:
            attacked = ascent.ascend(
                _loss(examples, examples.batch(places)),
                jnp.asarray(originals[places]),
                examples.example_keys[places],
                eps=eps,
                norm=settings.norm,
                steps=settings.steps,
                restarts=settings.restarts,
                free=jnp.asarray(examples.free(places)),
            )
            batches[name] = jax.device_get(attacked)._asdict()
        result = batches[name]
        rows = places[:count]
        is_larger = result['losses'][:count] > losses[rows]
        images[rows[is_larger]] = result['images'][:count][is_larger]
        losses[rows[is_larger]] = result['losses'][:count][is_larger]
        done = int(rows[-1]) + 1
        progress.print(f'eps {text}: {done:,} of {len(examples):,} images')
    return Ascended(images, losses)


def _loss(examples: MeasuredExamples, batch: Records) -> ascent.Loss:
    """The loss of images in [0, 1] for the targets of a batch."""
    arrays = {name: jnp.asarray(values) for name, values in batch.items()}
    variables = examples.request.victim.state.variables
    return jax.tree_util.Partial(examples.task.inference_loss, variables, arrays)


def _rounded(
    request: Request, images: Images, originals: np.ndarray, eps: float
) -> np.ndarray:
    """The images as image files have them, uint8, within the ball."""
    rounded = balls.to_8_bits(
        jnp.asarray(images),
        jnp.asarray(as_pixels(originals)),
        eps,
        request.settings.norm,
    )
    return np.rint(255 * np.asarray(rounded)).astype(np.uint8)


def _mean(losses: np.ndarray) -> float:
    return float(np.mean(losses))


def _finite(metrics: Mapping[str, float]) -> Json:
    """Metrics as JSON: null for one without a value."""
    return {
        name: float(value) if math.isfinite(value) else None
        for name, value in metrics.items()
    }


def _print_heading(
    examples: MeasuredExamples, origin: str, metric: str, metrics: Mapping[str, float]
) -> None:
    request = examples.request
    settings = request.settings
    print(
        f'{request.victim.name}, checkpoint {request.victim.step}: {metric} '
        f'{metrics[metric]:.4f} on {len(examples):,} images of {origin}'
    )
    print(
        f'attack {settings.attack} ({settings.norm}) on the loss of the task: '
        f'{settings.steps} steps, {settings.restarts} restarts'
    )


def _draw_figures(
    examples: MeasuredExamples, name: str, records: Records, images: np.ndarray
) -> None:
    """Save the task's figures for some images in a folder of OUT.

    Args:
        examples: the examples.
        name: of the folder.
        records: of the main evaluation for the images.
        images: uint8, those of the examples or changed ones.
    """
    if not examples.request.pictures or examples.task.figures is None:
        return
    folder = examples.request.out / name
    folder.mkdir(exist_ok=True)

    def read_example(place: int) -> Records:
        return {**examples.example(place), 'image': images[place]}

    for figure, picture in examples.task.figures(records, read_example).items():
        figures.save(folder / f'{figure}.png', picture)


def _draw_curve(request: Request, report: Json) -> None:
    metric = report['metric']
    rows = [report['clean'], *report['eps']]
    values = [row['metrics'][metric] or 0.0 for row in rows]
    settings = request.settings
    title = f'{settings.attack}, {settings.norm}'
    curve = robustness.curve([0.0, *settings.eps], values, title, label=metric)
    figures.save(request.out / 'curve.png', curve)
