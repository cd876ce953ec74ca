"""The attacked run: its checkpoint, its classifier and its images."""

import dataclasses

import numpy as np
from jaxtyping import Int

from jaxvision.attacks import networks
from jaxvision.attacks.types import Logits
from jaxvision.cli import runs
from jaxvision.cli.runs import Checkpoint
from jaxvision.core.errors import UserError
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.types import Records, Split
from jaxvision.train import evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Victim(Checkpoint):
    """A classifier of a run.

    Attributes:
        logits: the classifier of images in [0, 1].
    """

    logits: Logits


def open_victim(workdir: str, step: str) -> Victim:
    """Open a checkpoint of a classifier, and configure JAX for it.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such run or checkpoint, or it is no classifier of images
            with one label an image.
    """
    opened = runs.reopen(workdir)
    runs.require_classifier(workdir, opened)
    checkpoint = runs.restore(workdir, opened, step)
    logits = networks.logits_of(opened.task.network, checkpoint.state.variables)
    return Victim(**vars(checkpoint), logits=logits)


def open_with_loss(workdir: str, step: str) -> Checkpoint:
    """Open a checkpoint of a detector or a segmenter, and configure JAX for it.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such run or checkpoint, or its task has no loss in
            inference.
    """
    opened = runs.reopen(workdir)
    if opened.task.inference_loss is None:
        raise UserError(
            f'--workdir={workdir}: expected a classifier of images, a detector or a '
            f'segmenter, and its task is {opened.config.task.name}. Give the folder of '
            'another run.'
        )
    return runs.restore(workdir, opened, step)


def require_same_images(victim: Victim, source: Victim) -> None:
    """Check that two runs take the same images and name the same classes.

    Raises:
        UserError: They differ.
    """
    for what in ('inputs', 'class_names'):
        if getattr(victim.run.spec, what) != getattr(source.run.spec, what):
            raise UserError(
                f'--source={source.name}: expected the {what.replace("_", " ")} of '
                f'{victim.name}. Give a run on the same images and classes.'
            )


def read_examples(victim: Victim, split: Split, count: int) -> Records:
    """Read images that are spread evenly over a split.

    Args:
        victim: the run.
        split: 'test' or 'validation'.
        count: number of images; all if the split has fewer.

    Returns:
        'image' float32 [N, H, W, C] in [0, 1], 'label' int32 [N], and 'index' int32 [N],
        the row in the split.

    Raises:
        UserError: The split does not exist or cannot be read.
    """
    batch = read_prepared(victim, split, count)
    return {
        'image': as_pixels(batch['image']),
        'label': batch['label'].astype(np.int32),
        'index': rows_of(victim, split, count)[batch['index']],
    }


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
    runs.require_split(checkpoint.run, split, checkpoint.name)
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


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images to [0, 1], as the classifier sees them."""
    return images.astype(np.float32) / np.float32(255)
