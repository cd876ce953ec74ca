"""The loss and the detections of an RT-DETR."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.boxes import conversions, matching, overlap
from jaxvision.boxes.types import Candidates, Pairs, Truth, TruthClasses, Valid
from jaxvision.core.errors import UserError
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.losses import detection as losses
from jaxvision.models.blocks import selection
from jaxvision.tasks.detection.network import Detector, inside_any, limits_of, size_of
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

# The logits of each class for each query.
Logits = Float[Array, 'n k']
# The logits and boxes of all layers.
EveryLogits = Float[Array, 'layers n k']
EveryBoxes = Float[Array, 'layers n 4']
# The sum of a loss over the queries of an image.
Total = Float[Array, '']

# Weights of the costs of matching, and the weight of L1 beside GIoU in the loss.
_COSTS = {'class': 2.0, 'distance': 5.0, 'overlap': 2.0}
_DISTANCE_WEIGHT = 2.5
# Objects of an image, at least, by which its losses are divided. The authors count at
# least 1 in a batch.
_LEAST_COUNT = 0.1
_TINY = 1e-8  # least probability in the costs


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryStage(Detector):
    """A detector whose queries are the objects, see `RTDETR`."""

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The loss of RT-DETR (arXiv 2304.08069).

        The selection and every layer of the decoder match their boxes with the objects,
        one to one. Their losses are added. The terms 'class' (varifocal) and 'box'
        (GIoU and 2.5 L1 of fractions of the image) are sums for each image. Their weight
        is the number of its objects, at least 0.1. `task.box_weight` multiplies 'box'.
        Denoising queries, which speed up the training, are left out.

        Raises:
            UserError: There are more boxes of an image than queries.
        """
        outputs, model_state = forward()
        boxes = batch['boxes']
        queries = outputs['boxes'].shape[2]
        if boxes.shape[1] > queries:
            raise UserError(
                f'model.options.queries={queries}: expected at least {boxes.shape[1]}, '
                'the most boxes of an image. Set more queries.'
            )
        fractions = boxes / jnp.asarray(2 * size, boxes.dtype)
        class_values, box_values, counts = jax.vmap(self._terms)(
            outputs['logits'],
            outputs['boxes'],
            fractions,
            batch['box_classes'],
            batch['box_mask'],
            batch['crowd'],
        )
        counts = jnp.maximum(counts, _LEAST_COUNT)
        terms = {
            'class': (class_values, counts),
            'box': (self.options.box_weight * box_values, counts),
        }
        return terms, model_state

    def _terms(
        self,
        logits: EveryLogits,
        boxes: EveryBoxes,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> tuple[Total, Total, Total]:
        """The summed losses of one image, and the number of its objects."""

        def of_layer(logits: Logits, boxes: Candidates) -> tuple[Total, Total]:
            return layer_terms(logits, boxes, truth, classes, mask, crowd)

        class_values, box_values = jax.vmap(of_layer)(logits, boxes)
        count = jnp.sum(mask & ~crowd).astype(logits.dtype)
        return class_values.sum(), box_values.sum(), count

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects in images in [0, 255].

        The result has 'boxes' [B, D, 4], 'scores', 'classes' and 'valid' [B, D], the best
        first, as `select` returns them for an image. Boxes are in pixels of the input,
        clipped to the image, or to its 'content_size' [B, 2] if `inputs` has it.

        A query can give a detection of every class. Nothing is suppressed, so that
        `task.nms_iou` is not used.
        """
        outputs = self.outputs(variables, inputs)
        limits = limits_of(inputs)
        scale = jnp.asarray(2 * size_of(inputs['image']), jnp.float32)

        def detect(
            logits: Logits, boxes: Candidates, image_limits: Float[Array, '4']
        ) -> Batch:
            logits = logits[:, self.output_of_class]
            classes = logits.shape[1]
            number = min(self.options.most_detections, logits.size)
            scores, place = selection.best(jax.nn.sigmoid(logits).reshape(-1), number)
            edges = conversions.from_center_size(boxes[place // classes]) * scale
            valid = scores > self.options.least_score
            return {
                'boxes': jnp.clip(edges, 0, image_limits) * valid[:, None],
                'scores': scores * valid,
                'classes': place % classes * valid,
                'valid': valid,
            }

        return jax.vmap(detect)(
            outputs['logits'][:, -1], outputs['boxes'][:, -1], limits
        )

    def raw_predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the box and the class scores of every query.

        Args:
            variables: of the run.
            inputs: those of `predict`.

        Returns:
            'boxes' [B, N, 4] in pixels of the input, clipped as those of `predict`.
            'scores' [B, N, K] in [0, 1]. `predict` takes the best pairs of a query and a
            class.
        """
        outputs = self.outputs(variables, inputs)
        scale = jnp.asarray(2 * size_of(inputs['image']), jnp.float32)
        edges = conversions.from_center_size(outputs['boxes'][:, -1]) * scale
        logits = outputs['logits'][:, -1][..., self.output_of_class]
        return {
            'boxes': jnp.clip(edges, 0, limits_of(inputs)[:, None]),
            'scores': jax.nn.sigmoid(logits),
        }


def layer_terms(
    logits: Logits,
    boxes: Candidates,
    truth: Truth,
    classes: TruthClasses,
    mask: Valid,
    crowd: Valid,
) -> tuple[Total, Total]:
    """The summed losses of classes and boxes of one image and layer.

    Args:
        logits: of the queries.
        boxes: centre and size of the queries, fractions of the image.
        truth: edges of the ground truth, fractions of the image.
        classes: of the ground truth.
        mask: False for padding.
        crowd: regions of many objects, in which queries are no false positives.
    """
    edges = conversions.from_center_size(boxes)
    costs = matching_costs(logits, boxes, truth, classes)
    matches = matching.hungarian(jax.lax.stop_gradient(costs), mask & ~crowd)
    is_matched = matches.index != matching.NONE
    matched = jnp.where(is_matched, matches.index, 0)
    # Boxes that do not count are replaced, so that they have no gradient, not even NaN.
    found = jnp.where(is_matched[:, None], edges, truth[matched])
    quality = jax.lax.stop_gradient(overlap.iou(found, truth[matched]))
    is_object = jax.nn.one_hot(classes[matched], logits.shape[1], dtype=bool)
    is_object = is_object & is_matched[:, None]
    class_values = losses.varifocal(logits, is_object * quality[:, None], is_object)
    counts = is_matched | ~inside_any(boxes[:, :2], truth, mask & crowd)
    distances = jnp.abs(boxes - conversions.to_center_size(truth[matched]))
    box_values = losses.giou(found, truth[matched])
    box_values = box_values + _DISTANCE_WEIGHT * distances.sum(axis=1)
    return (
        jnp.sum(jnp.where(counts[:, None], class_values, 0)),
        jnp.sum(jnp.where(is_matched, box_values, 0)),
    )


def matching_costs(
    logits: Logits, boxes: Candidates, truth: Truth, classes: TruthClasses
) -> Pairs:
    """The costs of each query for each ground-truth box, as RT-DETR weights them.

    Args:
        logits: of the queries.
        boxes: centre and size of the queries, fractions of the image.
        truth: edges of the ground truth, fractions of the image.
        classes: of the ground truth.

    Returns:
        [N, M]: focal loss as an object of the class less that as background, L1 of
        centre and size, and -GIoU, weighted.
    """
    probability = jax.nn.sigmoid(logits)[:, classes]
    present = 0.25 * (1 - probability) ** 2 * -jnp.log(probability + _TINY)
    absent = 0.75 * probability**2 * -jnp.log(1 - probability + _TINY)
    distance = boxes[:, None] - conversions.to_center_size(truth)
    edges = conversions.from_center_size(boxes)
    return (
        _COSTS['class'] * (present - absent)
        + _COSTS['distance'] * jnp.abs(distance).sum(axis=-1)
        - _COSTS['overlap'] * overlap.giou(edges[:, None], truth[None])
    )
