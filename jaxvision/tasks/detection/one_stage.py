"""The loss and the detections of a one-stage detector."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.boxes import coders, matching
from jaxvision.boxes.types import Candidates, Truth, TruthClasses, Valid
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.losses import detection as losses
from jaxvision.tasks.detection.network import Detector, inside_any, limits_of, size_of
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

# The logits of each class for each cell.
Logits = Float[Array, 'n k']

# The sum of a loss over an image.
Total = Float[Array, '']

# The loss of an image without objects is divided by this.
_LEAST_WEIGHT = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneStage(Detector):
    """A detector with one prediction for each cell, see `DenseDetector`."""

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The loss of scores and boxes.

        Task-aligned learning matches cells with objects (TOOD, arXiv 2108.07755). The term
        'class' is the quality focal loss of all cells, with the target 0 in unmatched
        ones. Unmatched cells in crowd regions are left out. The term 'box' is the
        generalised IoU loss of matched cells times their quality and `task.box_weight`.
        Both are sums for each image, whose weight is the sum of qualities plus 0.1.
        """
        outputs, model_state = forward()
        terms_of = functools.partial(self._terms, size)
        class_values, box_values, weights = jax.vmap(terms_of)(
            outputs['logits'],
            outputs['distances'],
            batch['boxes'],
            batch['box_classes'],
            batch['box_mask'],
            batch['crowd'],
        )
        terms = {
            'class': (class_values, weights),
            'box': (self.options.box_weight * box_values, weights),
        }
        return terms, model_state

    def _terms(
        self,
        size: Size,
        logits: Logits,
        distances: Candidates,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> tuple[Total, Total, Total]:
        """The summed losses of one image, and the weight that they are divided by."""
        centers, _ = map(jnp.asarray, self.model.cells(size))
        predicted = coders.decode_distances(distances, centers)
        scores = jax.nn.sigmoid(logits)[:, classes]
        matches = matching.task_aligned(
            jax.lax.stop_gradient(predicted),
            jax.lax.stop_gradient(scores),
            centers,
            truth,
            mask & ~crowd,
            number=self.options.candidates,
        )
        is_matched = matches.index != matching.NONE
        matched = jnp.where(is_matched, matches.index, 0)
        one_hot = jax.nn.one_hot(classes[matched], logits.shape[-1], dtype=logits.dtype)
        targets = one_hot * matches.quality[:, None]
        counts = is_matched | ~inside_any(centers, truth, mask & crowd)
        class_values = losses.quality_focal(logits, targets).sum(axis=-1)
        box_values = losses.giou(predicted, truth[matched]) * matches.quality
        weight = jax.lax.stop_gradient(matches.quality.sum()) + _LEAST_WEIGHT
        return (
            jnp.sum(jnp.where(counts, class_values, 0)),
            jnp.sum(jnp.where(is_matched, box_values, 0)),
            weight,
        )

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects in `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has 'boxes' [B, D, 4], 'scores', 'classes' and 'valid' [B, D], the best
        first, as `select` returns them for an image. Boxes are in pixels of the input,
        clipped to the image, or to its 'content_size' [B, 2] if `inputs` has it.

        Each cell gives one class at most.
        """
        outputs = self.outputs(variables, inputs)
        centers, _ = map(jnp.asarray, self.model.cells(size_of(inputs['image'])))

        def detect(
            logits: Logits,
            distances: Candidates,
            limits: Float[Array, '4'],
        ) -> Batch:
            boxes = coders.decode_distances(distances, centers)
            scores = jax.nn.sigmoid(logits.max(axis=-1))
            return self.select(boxes, scores, logits.argmax(axis=-1), limits)

        return jax.vmap(detect)(
            outputs['logits'], outputs['distances'], limits_of(inputs)
        )

    def raw_predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the box and the class scores of every cell, before the suppression.

        Args:
            variables: of the run.
            inputs: those of `predict`.

        Returns:
            'boxes' [B, N, 4] in pixels of the input, clipped as those of `predict`.
            'scores' [B, N, K] in [0, 1]. `predict` takes the best class of each cell.
        """
        outputs = self.outputs(variables, inputs)
        centers, _ = map(jnp.asarray, self.model.cells(size_of(inputs['image'])))
        decode = jax.vmap(coders.decode_distances, in_axes=(0, None))
        boxes = decode(outputs['distances'], centers)
        return {
            'boxes': jnp.clip(boxes, 0, limits_of(inputs)[:, None]),
            'scores': jax.nn.sigmoid(outputs['logits']),
        }
