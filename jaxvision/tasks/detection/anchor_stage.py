"""The loss and the detections of a one-stage detector with anchors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.boxes import coders, conversions, matching
from jaxvision.boxes.types import Candidates, Chosen, Truth, TruthClasses, Valid
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.losses import detection as losses
from jaxvision.models.blocks import selection
from jaxvision.tasks.detection.network import Detector, inside_any, limits_of, size_of
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

# The logits of each class for each anchor.
Logits = Float[Array, 'n k']

# The sum of a loss over an image.
Total = Float[Array, '']


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnchorStage(Detector):
    """A detector with scores and a box for each anchor, see `RetinaNet`."""

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The two losses of arXiv 1708.02002.

        The term 'box' is a sum over the matched anchors of each image. The term 'class'
        also has the anchors that match nothing, except those in a crowd and those that
        overlap an object moderately. The weight of both is the number of matched
        anchors, at least 1. `task.box_weight` multiplies 'box'.
        """
        outputs, model_state = forward()
        terms_of = functools.partial(self._terms, size)
        class_values, box_values, weights = jax.vmap(terms_of)(
            outputs['logits'],
            outputs['deltas'],
            batch['boxes'],
            batch['box_classes'],
            batch['box_mask'],
            batch['crowd'],
        )
        terms = {'class': (class_values, weights), 'box': (box_values, weights)}
        return terms, model_state

    def _terms(
        self,
        size: Size,
        logits: Logits,
        deltas: Candidates,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> tuple[Total, Total, Total]:
        """The summed losses of one image, and the number of positive anchors, at least 1."""
        anchors = jnp.asarray(np.concatenate(self.model.anchors(size)))
        matches = matching.by_iou(
            anchors,
            truth,
            mask & ~crowd,
            positive=0.5,
            negative=0.4,
            low_quality=True,
        )
        positive = matches.index != matching.NONE
        index = jnp.maximum(matches.index, 0)
        centers = conversions.to_center_size(anchors)[:, :2]
        in_crowd = inside_any(centers, truth, mask & crowd)
        counts = positive | ~(matches.ignored | in_crowd)
        targets = jax.nn.one_hot(classes[index], logits.shape[-1], dtype=logits.dtype)
        targets = targets * positive[:, None]
        class_values = losses.focal(logits, targets).sum(axis=-1)
        box_values = self._box_values(deltas, truth[index], anchors, positive)
        number = jnp.maximum(jnp.sum(positive), 1).astype(logits.dtype)
        return (
            jnp.sum(jnp.where(counts, class_values, 0)),
            self.options.box_weight * jnp.sum(box_values),
            number,
        )

    def _box_values(
        self,
        deltas: Candidates,
        truth: Candidates,
        anchors: Candidates,
        positive: Chosen,
    ) -> Float[Array, 'n']:
        """The loss of each anchor's box; 0 for anchors without an object."""
        # Padding has no area, whose logarithm would spoil the gradient.
        unit = jnp.array([0.0, 0.0, 1.0, 1.0], truth.dtype)
        truth = jnp.where(positive[:, None], truth, unit)
        if self.model.box_loss == 'giou':
            values = losses.giou(coders.decode_deltas(deltas, anchors), truth)
        else:
            errors = deltas - coders.encode_deltas(truth, anchors)
            values = losses.smooth_l1(errors, 0.0).sum(axis=-1)
        return jnp.where(positive, values, 0)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects in `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has 'boxes' [B, D, 4], 'scores', 'classes' and 'valid' [B, D], the best
        first, as `select` returns them for an image. Boxes are in pixels of the input,
        clipped to the image, or to its 'content_size' [B, 2] if `inputs` has it.

        An anchor can give a detection of every class. Only the model's `candidates`
        best scores of each level take part.
        """
        outputs = self.outputs(variables, inputs)
        levels = self.model.anchors(size_of(inputs['image']))
        ends = np.cumsum([len(level) for level in levels])[:-1]

        def detect(
            logits: Logits,
            deltas: Candidates,
            limits: Float[Array, '4'],
        ) -> Batch:
            scores = jax.nn.sigmoid(logits[:, self.output_of_class])
            parts = zip(
                levels, jnp.split(scores, ends), jnp.split(deltas, ends), strict=True
            )
            best = [self._best_of_level(*part) for part in parts]
            boxes, best_scores, classes = map(jnp.concatenate, zip(*best, strict=True))
            return self.select(boxes, best_scores, classes, limits)

        return jax.vmap(detect)(outputs['logits'], outputs['deltas'], limits_of(inputs))

    def raw_predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the box and the class scores of every anchor, before the suppression.

        Args:
            variables: of the run.
            inputs: those of `predict`.

        Returns:
            'boxes' [B, N, 4] in pixels of the input, clipped as those of `predict`.
            'scores' [B, N, K] in [0, 1]. Every pair of an anchor and a class is a
            candidate. `predict` has only the best ones of each level.
        """
        outputs = self.outputs(variables, inputs)
        anchors = np.concatenate(self.model.anchors(size_of(inputs['image'])))
        decode = jax.vmap(coders.decode_deltas, in_axes=(0, None))
        boxes = decode(outputs['deltas'], jnp.asarray(anchors))
        return {
            'boxes': jnp.clip(boxes, 0, limits_of(inputs)[:, None]),
            'scores': jax.nn.sigmoid(outputs['logits'][..., self.output_of_class]),
        }

    def _best_of_level(
        self,
        anchors: Float[np.ndarray, 'n 4'],
        scores: Logits,
        deltas: Candidates,
    ) -> tuple[Float[Array, 'm 4'], Float[Array, 'm'], Array]:
        """The boxes, scores and classes of the best pairs of an anchor and a class."""
        number = min(self.model.candidates, scores.size)
        best, anchor, classes = selection.best_pairs(scores, number)
        boxes = coders.decode_deltas(deltas[anchor], jnp.asarray(anchors)[anchor])
        return boxes, best, classes
