"""Classifiers of images in [0, 1], and the images of their splits."""

import dataclasses

import numpy as np

from jaxvision.attacks import networks
from jaxvision.attacks.types import Logits
from jaxvision.cli import runs
from jaxvision.cli.runs import Checkpoint
from jaxvision.core.types import Records, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelClassifier(Checkpoint):
    """A checkpoint of a classifier, as a function of pixels.

    Attributes:
        logits: the classifier of images in [0, 1].
    """

    logits: Logits


def open_classifier(workdir: str, step: str) -> PixelClassifier:
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
    return PixelClassifier(**vars(checkpoint), logits=logits)


def read_images(classifier: PixelClassifier, split: Split, count: int) -> Records:
    """Read images that are spread evenly over a split.

    Args:
        classifier: the classifier.
        split: 'test' or 'validation'.
        count: number of images; all if the split has fewer.

    Returns:
        'image' float32 [N, H, W, C] in [0, 1], 'label' int32 [N], and 'index' int32 [N],
        the row in the split.

    Raises:
        UserError: The split does not exist or cannot be read.
    """
    batch = runs.read_prepared(classifier, split, count)
    return {
        'image': as_pixels(batch['image']),
        'label': batch['label'].astype(np.int32),
        'index': runs.rows_of(classifier, split, count)[batch['index']],
    }


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images to [0, 1], as the classifier sees them."""
    return images.astype(np.float32) / np.float32(255)
