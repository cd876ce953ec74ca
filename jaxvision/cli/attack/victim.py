"""The attacked run: its classifier and its images."""

import dataclasses
from pathlib import Path

import numpy as np

from jaxvision.attacks import networks
from jaxvision.attacks.types import Logits
from jaxvision.cli.classifiers import require_classifier
from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Records, Split
from jaxvision.train import evaluation, run, saved
from jaxvision.train.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Victim:
    """A classifier of a run.

    Attributes:
        name: the folder, as the user gave it.
        run: the run, with its data.
        step: the step of the checkpoint.
        fingerprint: hash of the variables.
        logits: the classifier of images in [0, 1].
    """

    name: str
    run: Run
    step: int
    fingerprint: str
    logits: Logits

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.run.spec.class_names


def open_victim(workdir: str, step: str) -> Victim:
    """Open a checkpoint of a run, and configure JAX for it.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such run or checkpoint, or it is no classifier of images
            with one label an image.
    """
    folder = Path(workdir)
    config = saved.read_config(folder)
    start_jax(config)
    opened = run.reopen(folder)
    require_classifier(workdir, opened)
    state = opened.restore(step or 'last')
    variables = state.variables
    return Victim(
        name=workdir,
        run=opened,
        step=int(state.step),
        fingerprint=content_hash(variables),
        logits=networks.logits_of(opened.task.network, variables),
    )


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
    opened = victim.run
    if split not in opened.sources.splits:
        raise UserError(
            f'--split={split}: expected one of {", ".join(opened.sources.splits)}, the splits '
            f'of {victim.name}.'
        )
    batch = evaluation.examples(opened, split, count)
    rows = evenly_spaced(len(opened.sources[split]), count)
    return {
        'image': as_pixels(batch['image']),
        'label': batch['label'].astype(np.int32),
        'index': rows[batch['index']].astype(np.int32),
    }


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images to [0, 1], as the classifier sees them."""
    return images.astype(np.float32) / np.float32(255)
