"""The common parts of one-stage and two-stage detectors."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from jaxvision.boxes import nms
from jaxvision.boxes.types import Candidates, Chosen, Classes, Scores, Truth, Valid
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Tree
from jaxvision.image import color
from jaxvision.image.types import Size
from jaxvision.models.types import Images
from jaxvision.tasks.detection import augmentation
from jaxvision.tasks.shared.image_network import ImageNetwork
from jaxvision.train import update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detector(ImageNetwork):
    """A detection network with its preprocessing.

    A subclass has `terms`, `predict` and `raw_predict`.
    """

    @property
    def output_of_class(self) -> Int[np.ndarray, 'k']:
        """The number of each class's output, from 0, not counting the background's.

        If the background comes first, 1 is added to index the logits.
        """
        outputs = self.spec.details.outputs or range(len(self.spec.class_names))
        return np.array(outputs, int)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> update.TermsAndAux:
        """The loss of training, as `update.from_loss` takes it: `terms` of changed images."""
        images, boxes = self.augment(batch, key)
        forward = functools.partial(self.train, params, state, images, batch, key)
        terms, model_state = self.terms(
            forward, size_of(images), {**batch, 'boxes': boxes}, key
        )
        return terms, {'model_state': model_state}

    def augment(
        self, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Images, Float[Array, 'b m 4']]:
        """Flip images and boxes and change colours at random, and normalise the images.

        The batch has 'image' in [0, 255], 'boxes' and 'index'.

        Returns:
            (the normalised images, the boxes).
        """
        images, boxes = augmentation.apply(
            self.options.augment,
            key,
            batch['index'],
            color.to_float(batch['image'], self.dtype),
            batch['boxes'],
        )
        return self.normalize(images), boxes

    def select(
        self,
        boxes: Candidates,
        scores: Scores,
        classes: Classes,
        limits: Float[Array, '4'],
    ) -> Batch:
        """Clip boxes of one image, and suppress the worse of overlapping ones of a
        class.

        Boxes overlap if their IoU is above `task.nms_iou`. Scores up to
        `task.least_score` are left out.

        Args:
            boxes: edges in pixels of the input, [N, 4].
            scores: in [0, 1], [N].
            classes: number of the class of each box, [N].
            limits: the largest edges, see `limits_of`.

        Returns:
            The best D = `task.most_detections` of all classes together, the best first:
            'boxes' [D, 4], 'scores' [D], 'classes' [D] and 'valid' [D], False for
            padding at the end, which is 0.
        """
        return self.suppress(jnp.clip(boxes, 0, limits), scores, classes)

    def suppress(self, boxes: Candidates, scores: Scores, classes: Classes) -> Batch:
        """Suppress boxes and return the arrays of `select`, without clipping the boxes."""
        kept = nms.by_argmax(
            boxes,
            scores,
            classes,
            iou=self.options.nms_iou,
            limit=self.options.most_detections,
            score=self.options.least_score,
        )
        return {
            'boxes': boxes[kept.index] * kept.valid[:, None],
            'scores': scores[kept.index] * kept.valid,
            'classes': classes[kept.index] * kept.valid,
            'valid': kept.valid,
        }


def size_of(images: Num[Array | np.ndarray, 'b h w c']) -> Size:
    """(height, width) of images, pixels."""
    return images.shape[1], images.shape[2]


def limits_of(inputs: Batch) -> Float[Array, 'b 4']:
    """The largest edges of boxes: the height and the width of each image, twice.

    Args:
        inputs: 'image' [B, H, W, C]. 'content_size' [B, 2], if it is there, is (height,
            width) of the part of the canvas that the image covers, from the top left.
    """
    images = inputs['image']
    if 'content_size' in inputs:
        return jnp.tile(inputs['content_size'], 2).astype(jnp.float32)
    height, width = size_of(images)
    limits = jnp.array([height, width, height, width], jnp.float32)
    return jnp.broadcast_to(limits, (images.shape[0], 4))


def inside_any(centers: Float[Array, 'n 2'], boxes: Truth, mask: Valid) -> Chosen:
    """Whether each point lies in, or on an edge of, one of the boxes that count.

    Args:
        centers: (y, x) of the points.
        boxes: edges.
        mask: True for the boxes that count.
    """
    points = centers[:, None]
    inside = (points >= boxes[:, :2]) & (points <= boxes[:, 2:])
    return jnp.any(jnp.all(inside, axis=-1) & mask, axis=1)
