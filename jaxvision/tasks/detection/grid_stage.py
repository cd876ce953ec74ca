"""The loss and the detections of a YOLOX."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxvision.boxes import coders, matching
from jaxvision.boxes.types import Candidates, Pairs, Scores, Truth, TruthClasses, Valid
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.losses import detection as losses
from jaxvision.tasks.detection.network import Detector, inside_any, limits_of, size_of
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

_LEAST_COUNT = (
    0.1  # of the matched cells of an image; YOLOX counts at least 1 in a batch
)
_LEAST_LOG = -100.0  # of a probability, as in PyTorch's cross-entropy

ClassLogits = Float[Array, 'n k']
# A sum over the cells of an image.
Sum = Float[Array, '']


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridStage(Detector):
    """A detector with a box, an objectness and class scores of each cell, see `YOLOX`."""

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The loss of YOLOX (arXiv 2107.08430).

        Cross-entropy of objectness and classes, and the loss of IoU of the boxes, for
        cells that SimOTA matches. Objectness is also trained in the other cells, except
        in crowd regions. The terms 'class', 'objectness' and 'box' are sums for each
        image. Their weight is the number of its matched cells, at least 0.1.
        `task.box_weight` multiplies 'box'.
        """
        outputs, model_state = forward()
        terms_of = functools.partial(self._terms, size)
        class_values, object_values, box_values, counts = jax.vmap(terms_of)(
            outputs['edges'],
            outputs['objectness'],
            outputs['logits'],
            batch['boxes'],
            batch['box_classes'],
            batch['box_mask'],
            batch['crowd'],
        )
        counts = jnp.maximum(counts, _LEAST_COUNT)
        terms = {
            'class': (class_values, counts),
            'objectness': (object_values, counts),
            'box': (self.options.box_weight * box_values, counts),
        }
        return terms, model_state

    def _terms(
        self,
        size: Size,
        edges: Candidates,
        objectness: Scores,
        logits: ClassLogits,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> tuple[Sum, Sum, Sum, Sum]:
        """The summed losses of one image, and the number of its matched cells."""
        predicted, centers, strides = self._decode(size, edges)
        matches = matching.simota(
            jax.lax.stop_gradient(predicted),
            jax.lax.stop_gradient(class_costs(logits, objectness, classes)),
            centers,
            strides,
            truth,
            mask & ~crowd,
            candidates=self.options.candidates,
        )
        is_matched = matches.index != matching.NONE
        matched = jnp.where(is_matched, matches.index, 0)
        one_hot = jax.nn.one_hot(classes[matched], logits.shape[-1], dtype=logits.dtype)
        targets = one_hot * matches.quality[:, None]
        class_values = optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
        object_values = optax.sigmoid_binary_cross_entropy(
            objectness, is_matched.astype(objectness.dtype)
        )
        counts = is_matched | ~inside_any(centers, truth, mask & crowd)
        # Boxes that do not count are replaced, so that they have no gradient, not even NaN.
        box_values = losses.squared_iou(
            jnp.where(is_matched[:, None], predicted, 0), truth[matched]
        )
        return (
            jnp.sum(jnp.where(is_matched, class_values, 0)),
            jnp.sum(jnp.where(counts, object_values, 0)),
            jnp.sum(jnp.where(is_matched, box_values, 0)),
            jnp.sum(is_matched).astype(logits.dtype),
        )

    def _decode(
        self, size: Size, edges: Candidates
    ) -> tuple[Candidates, Float[Array, 'n 2'], Scores]:
        """Compute (boxes, centres of the cells, strides), in pixels."""
        cells, strides = map(jnp.asarray, self.model.cells(size))
        boxes = coders.decode_grid(edges, cells, strides[:, None])
        return boxes, (cells + 0.5) * strides[:, None], strides

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects in `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has 'boxes' [B, D, 4], 'scores', 'classes' and 'valid' [B, D], the best
        first, as `select` returns them for an image. Boxes are in pixels of the input,
        clipped to the image, or to its 'content_size' [B, 2] if `inputs` has it.

        Each cell gives one class at most. Boxes are clipped after the suppression, not
        before.
        """
        outputs = self.outputs(variables, inputs)
        size = size_of(inputs['image'])

        def detect(
            edges: Candidates,
            objectness: Scores,
            logits: ClassLogits,
            limits: Float[Array, '4'],
        ) -> Batch:
            boxes, _, _ = self._decode(size, edges)
            of_class = jax.nn.sigmoid(logits.max(axis=-1))
            scores = jax.nn.sigmoid(objectness) * of_class
            # YOLOX suppresses boxes before they are clipped.
            detections = self.suppress(boxes, scores, logits.argmax(axis=-1))
            clipped = jnp.clip(detections['boxes'], 0, limits)
            return {**detections, 'boxes': clipped}

        return jax.vmap(detect)(
            outputs['edges'],
            outputs['objectness'],
            outputs['logits'],
            limits_of(inputs),
        )

    def raw_predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the box and the class scores of every cell, before the suppression.

        Args:
            variables: of the run.
            inputs: those of `predict`.

        Returns:
            'boxes' [B, N, 4] in pixels of the input, not clipped. 'scores' [B, N, K] in
            [0, 1], class score times objectness. `predict` takes the best class of each
            cell, and clips the boxes after the suppression.
        """
        outputs = self.outputs(variables, inputs)
        size = size_of(inputs['image'])
        decode = functools.partial(self._decode, size)
        boxes, _, _ = jax.vmap(decode)(outputs['edges'])
        of_object = jax.nn.sigmoid(outputs['objectness'])
        scores = of_object[..., None] * jax.nn.sigmoid(outputs['logits'])
        return {'boxes': boxes, 'scores': scores}


def class_costs(
    logits: ClassLogits, objectness: Scores, classes: TruthClasses
) -> Pairs:
    """Cross-entropy of each cell's classes for each ground-truth box, as YOLOX's SimOTA has it.

    The probability of a class is the geometric mean of its score and the objectness.

    Args:
        logits: of the classes.
        objectness: logits.
        classes: of the ground-truth boxes.

    Returns:
        [N cells, M boxes]: the sum of the binary cross-entropies of all K classes, of
            which only the class of the box has the target 1.
    """
    log_object = jax.nn.log_sigmoid(objectness)[:, None]
    log_present = (jax.nn.log_sigmoid(logits) + log_object) / 2
    log_absent = jnp.log1p(-jnp.exp(log_present))
    log_present = jnp.maximum(log_present, _LEAST_LOG)
    log_absent = jnp.maximum(log_absent, _LEAST_LOG)
    every_absent = log_absent.sum(axis=-1, keepdims=True)
    return log_absent[:, classes] - log_present[:, classes] - every_absent
