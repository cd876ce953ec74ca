"""Runs that a command evaluates: their folders, checkpoints and splits."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.state import TrainState
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Json, Records, Split
from jaxvision.train import evaluation, run, saved
from jaxvision.train.run import Run
from jaxvision.train.saved import SavedRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of a run.

    Attributes:
        name: the folder, as the user gave it.
        run: the run, with its data.
        state: the state of the checkpoint.
        fingerprint: hash of the variables.
    """

    name: str
    run: Run
    state: TrainState
    fingerprint: str

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return int(self.state.step)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.run.spec.class_names

    def arguments(self) -> Json:
        """Everything of the run on which results depend."""
        return {
            'run': str(self.run.workdir),
            'checkpoint': self.step,
            'variables': self.fingerprint,
            'data': dict(self.run.spec.data),
        }


def restore(workdir: str, opened: Run, step: str) -> Checkpoint:
    """Read a checkpoint of a run.

    Args:
        workdir: the folder, as the user gave it.
        opened: the run.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such checkpoint.
    """
    state = opened.restore(step or 'last')
    return Checkpoint(
        name=workdir,
        run=opened,
        state=state,
        fingerprint=content_hash(state.variables),
    )


def require_classifier(workdir: str, opened: SavedRun) -> None:
    """Check that a run classifies images with one label an image.

    Args:
        workdir: the folder, as the user gave it.
        opened: the run.

    Raises:
        UserError: It is another kind of run.
    """
    name = opened.config.task.name
    if name != 'classification':
        raise UserError(
            f'--workdir={workdir}: expected a run of classification, and its task is {name}. '
            'Give the folder of a classifier of images.'
        )
    if opened.spec.multi_label:
        raise UserError(
            f'--workdir={workdir}: expected one label an image, and its images have '
            'several. Give the folder of another run.'
        )


def require_split(opened: Run, split: Split, name: str) -> None:
    """Check that a run has a split.

    Args:
        opened: the run.
        split: the split.
        name: the folder, as the user gave it.

    Raises:
        UserError: The run has no such split.
    """
    splits = opened.sources.splits
    if split not in splits:
        raise UserError(
            f'--split={split}: expected one of {", ".join(splits)}, the splits of {name}.'
        )


def reopen(workdir: str) -> Run:
    """Open the run in a folder, and configure JAX for it.

    Raises:
        UserError: The folder holds no run, or a damaged one.
    """
    folder = Path(workdir)
    start_jax(saved.read_config(folder))
    return run.reopen(folder)


def read_prepared(checkpoint: Checkpoint, split: Split, count: int) -> Records:
    """Read prepared examples that are spread evenly over a split.

    Args:
        checkpoint: of the run.
        split: 'test' or 'validation'.
        count: number of examples; all if the split has fewer.

    Returns:
        {name: array [N, ...]}. 'index' is the place in the selection.

    Raises:
        UserError: The split does not exist or cannot be read.
    """
    require_split(checkpoint.run, split, checkpoint.name)
    return evaluation.examples(checkpoint.run, split, count)


def rows_of(checkpoint: Checkpoint, split: Split, count: int) -> Int[np.ndarray, 'n']:
    """The rows in the split of the examples that `read_prepared` reads.

    Args:
        checkpoint: of the run.
        split: 'test' or 'validation'.
        count: number of examples.
    """
    source = checkpoint.run.sources[split]
    return evenly_spaced(len(source), count).astype(np.int32)
