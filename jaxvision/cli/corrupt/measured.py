"""The measured run: its main metric on corrupted images."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from jaxvision.cli import runs
from jaxvision.cli.predict import finding
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluate
from jaxvision.core.types import Batch, Json, Records, Split
from jaxvision.data.wrappers import Subset
from jaxvision.image import color
from jaxvision.image.corruptions import published
from jaxvision.train import evaluation, saved, sharding
from jaxvision.train.run import Run

# Tasks whose main metric is in [0, 1], and whose evaluated batches hold an image.
_TASKS = ('classification', 'detection', 'segmentation')

Pixels = UInt8[Array, 'b h w c']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured(runs.Checkpoint):
    """A run with the state of a checkpoint."""

    @property
    def metric(self) -> str:
        """The main metric, in [0, 1], the larger the better."""
        return self.run.task.best

    def arguments(self) -> Json:
        """Everything of the run on which results depend."""
        return {**super().arguments(), 'metric': self.metric}


def open_run(option: str, workdir: str, step: str, split: Split) -> Measured:
    """Open a checkpoint of a run, and configure JAX for it.

    Args:
        option: the option that names the run, for errors.
        workdir: the run folder.
        step: 'last', 'best' or a number.
        split: the split that will be measured.

    Raises:
        UserError: There is no such run, checkpoint or split, or images of its task cannot be
            corrupted.
    """
    name = saved.read_config(Path(workdir)).task.name
    if name not in _TASKS:
        raise UserError(
            f'{option}={workdir}: expected a run of {", ".join(_TASKS)}, and its task is '
            f'{name}. Give another folder.'
        )
    opened = runs.reopen(workdir)
    runs.require_split(opened, split, workdir)
    return Measured(**vars(runs.restore(workdir, opened, step)))


def require_same_data(measured: Measured, reference: Measured, split: Split) -> None:
    """Check that a reference is measured on the same examples by the same metric.

    Raises:
        UserError: The reference has other data, classes, images of another size, or
            another metric.
    """
    spec = measured.run.spec
    other = reference.run.spec
    is_same = {
        'data': spec.data.get(split) == other.data.get(split),
        # Corruptions of small images are milder.
        'size of images': spec.inputs['image'].shape == other.inputs['image'].shape,
        'classes': spec.class_names == other.class_names,
        'metric': measured.metric == reference.metric,
    }
    for what, same in is_same.items():
        if not same:
            raise UserError(
                f'--reference={reference.name}: expected the {what} of {measured.name}. Give a '
                'run on the same data and size.'
            )


def measure(
    measured: Measured,
    split: Split,
    count: int | None,
    seed: int,
    corruption: tuple[str, int] | None,
) -> Records:
    """Measure the error of a run, on corrupted images or on the originals.

    Args:
        measured: the run.
        split: the split.
        count: number of examples, spread evenly over the split; None: all.
        seed: seed of the corruptions.
        corruption: (name, severity); None: the originals.

    Returns:
        'error', 1 - the main metric, and 'images', the number of examples.

    Raises:
        UserError: The metric has no value for these examples.
    """
    opened = measured.run
    source = opened.sources[split]
    rows = evenly_spaced(len(source), count or len(source))
    evaluate = opened.evaluate[opened.task.main_evaluation]
    if corruption:
        evaluate = _corrupting(opened, evaluate, rows, seed, *corruption)
    records = evaluation.gather_from(
        opened,
        evaluate,
        Subset(source, rows, split),
        measured.state,
        opened.task.main,
    )
    values = opened.task.main.summarize(records)
    if measured.metric not in values:
        raise UserError(
            f'--examples={len(rows)}: expected examples with a {measured.metric}, and no class '
            'has an example. Give more.'
        )
    return {
        'error': np.float64(1 - values[measured.metric]),
        'images': np.int64(len(records['index'])),
    }


def _corrupting(
    opened: Run,
    evaluate: Evaluate,
    rows: Int[np.ndarray, 'n'],
    seed: int,
    name: str,
    severity: int,
) -> Evaluate:
    """The map of an evaluation on corrupted images. The model is compiled once for all."""
    corrupt = jax.jit(
        functools.partial(corrupt_batch, name=name, severity=severity),
        out_shardings=sharding.split(opened.mesh),
    )
    key = jax.random.key(seed)

    def corrupted(state: TrainState, batch: Batch) -> Batch:
        index = jnp.asarray(rows, jnp.int32)[batch['index']]
        images = corrupt(key, batch['image'], index, visible_of(batch))
        return evaluate(state, {**batch, 'image': images})

    return corrupted


def visible_of(batch: Batch) -> Bool[np.ndarray, 'b h w 1']:
    """True for the pixels of the images, and False for the padding of a letterbox."""
    if 'warp' not in batch:
        return np.ones((*batch['image'].shape[:3], 1), bool)
    names = ('image', 'warp', 'original_size')
    return finding.visible_pixels({name: np.asarray(batch[name]) for name in names})


def corrupt_batch(
    key: jax.Array,
    images: Pixels,
    index: Int[Array, 'b'],
    visible: Bool[Array | np.ndarray, 'b h w 1'],
    *,
    name: str,
    severity: int,
) -> Pixels:
    """Corrupt 8-bit images, each by its own random key.

    All severities have the same random numbers.

    Args:
        key: key of the seed.
        images: [B, H, W, C] in [0, 255].
        index: the row of each image in its split.
        visible: False for padding, which stays as it is.
        name: the corruption.
        severity: 1 to 5.

    Returns:
        The corrupted images, rounded to 8 bits.
    """
    image_keys = keys.per_example(keys.stream(key, f'corrupt {name}'), index)
    corrupt = functools.partial(published.corrupt, name=name, severity=severity)
    corrupted = jax.vmap(corrupt)(image_keys, color.to_float(images))
    rounded = jnp.round(255 * corrupted).astype(jnp.uint8)
    return jnp.where(visible, rounded, images)
