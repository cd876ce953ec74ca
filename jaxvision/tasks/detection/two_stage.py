"""The loss and the detections of a two-stage detector."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxvision.boxes import coders, conversions, matching, sampling
from jaxvision.boxes.types import Candidates, Chosen, Scores, Truth, TruthClasses, Valid
from jaxvision.core import keys
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.losses import detection as losses
from jaxvision.models.detectors.faster_rcnn import BOX_WEIGHTS
from jaxvision.tasks.detection.network import Detector, inside_any, limits_of
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

# The deltas of each class for each region, background first.
Deltas = Float[Array, 'r k 4']

# The logits of each class for each region, background first.
Logits = Float[Array, 'r k']

# Proposed regions.
Regions = Float[Array, 'r 4']

_SMALLEST_SIDE = 1e-2  # of a detection, pixels, as in torchvision
_SMOOTH = 1 / 9  # where the loss of deltas becomes linear, as in Faster R-CNN's code


class Sample(NamedTuple):
    """The regions of an image that the second stage learns from.

    Attributes:
        index: number of each region's object; 0 for background.
        positive: whether a region shows an object.
        chosen: whether a region is learned from.
    """

    index: Int[Array, 'r']
    positive: Bool[Array, 'r']
    chosen: Bool[Array, 'r']


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStage(Detector):
    """A detector that classifies proposed regions, see `FasterRCNN`."""

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The four losses of arXiv 1506.01497.

        The terms 'objectness' and 'anchor_box' are sums over the sampled anchors of
        each image, 'class' and 'box' over its sampled regions. In 'anchor_box' and
        'box' only those with an object count. The weight of a term is the number of all
        sampled anchors or regions. `task.box_weight` is not used.
        """
        terms, _, model_state = self.learn(forward, size, batch, key)
        return terms, model_state

    def learn(
        self,
        forward: Forward,
        size: Size,
        batch: Batch,
        key: jax.Array,
        **options: Callable[..., Batch],
    ) -> tuple[update.Terms, Batch, Tree]:
        """Apply the model, and compute the terms of `terms`.

        Args:
            forward: applies the model.
            size: (height, width) of the images, pixels.
            batch: with 'index' and the arrays of `preparation.targets`.
            key: by which anchors and regions are sampled.
            **options: further arguments of the model.

        Returns:
            (the terms, the model's outputs by name, {'model': the new model state}).
        """
        boxes = batch['boxes']
        sample_keys = self.sample_keys(batch, key)
        objects = (boxes, batch['box_classes'], batch['box_mask'], batch['crowd'])

        def choose(objectness: Array, deltas: Array) -> Array:
            # The ground truth is among the regions, so that there are positives from the start.
            proposed = self.model.propose(objectness, deltas, size)
            return jnp.concatenate([proposed, boxes], axis=1)

        outputs, model_state = forward(choose=choose, **options)
        first_terms = functools.partial(self._first_terms, size)
        first = jax.vmap(first_terms)(
            sample_keys, outputs['objectness'], outputs['anchor_deltas'], *objects
        )
        second = jax.vmap(self._second_terms)(
            sample_keys,
            outputs['regions'],
            outputs['logits'],
            outputs['deltas'],
            *objects,
        )
        return {**first, **second}, outputs, model_state

    def sample_keys(self, batch: Batch, key: jax.Array) -> Key[Array, 'b']:
        """The keys by which the anchors and regions of each example are sampled."""
        return keys.per_example(keys.stream(key, 'sample'), batch['index'])

    def _first_terms(
        self,
        size: Size,
        key: PRNGKeyArray,
        objectness: Scores,
        deltas: Candidates,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> update.Terms:
        """The losses of one image's anchors."""
        anchors = jnp.asarray(np.concatenate(self.model.anchors(size)))
        matches = matching.by_iou(
            anchors,
            truth,
            mask & ~crowd,
            positive=0.7,
            negative=0.3,
            low_quality=True,
        )
        positive = matches.index != matching.NONE
        centers = conversions.to_center_size(anchors)[:, :2]
        in_crowd = inside_any(centers, truth, mask & crowd)
        chosen = sampling.balanced(
            jax.random.fold_in(key, 1),
            positive,
            ~positive & ~matches.ignored & ~in_crowd,
            self.options.anchor_samples,
            0.5,
        )
        entropy = optax.sigmoid_binary_cross_entropy(
            objectness, positive.astype(objectness.dtype)
        )
        matched = truth[jnp.maximum(matches.index, 0)]
        errors = self._errors(deltas, matched, anchors, coders.ONES, chosen & positive)
        count = jnp.sum(chosen).astype(objectness.dtype)
        return {
            'objectness': (jnp.sum(jnp.where(chosen, entropy, 0)), count),
            'anchor_box': (errors, count),
        }

    def _second_terms(
        self,
        key: PRNGKeyArray,
        regions: Regions,
        logits: Logits,
        deltas: Deltas,
        truth: Truth,
        classes: TruthClasses,
        mask: Valid,
        crowd: Valid,
    ) -> update.Terms:
        """The losses of one image's regions."""
        sampled = self.sample(key, regions, truth, mask, crowd)
        positive = sampled.positive
        chosen = sampled.chosen
        index = sampled.index
        label = jnp.where(positive, classes[index] + 1, 0)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        rows = jnp.arange(len(regions))
        errors = self._errors(
            deltas[rows, label], truth[index], regions, BOX_WEIGHTS, chosen & positive
        )
        count = jnp.sum(chosen).astype(logits.dtype)
        return {
            'class': (jnp.sum(jnp.where(chosen, entropy, 0)), count),
            'box': (errors, count),
        }

    def sample(
        self,
        key: PRNGKeyArray,
        regions: Regions,
        truth: Truth,
        mask: Valid,
        crowd: Valid,
    ) -> Sample:
        """Choose the regions of an image that the second stage learns from.

        Args:
            key: of the example.
            regions: edges in pixels; regions without area are padding.
            truth: boxes of the objects.
            mask: False for padding of `truth`.
            crowd: whether a box is a region of many objects.
        """
        matches = matching.by_iou(
            regions, truth, mask & ~crowd, positive=0.5, negative=0.5
        )
        positive = matches.index != matching.NONE
        is_region = conversions.area(regions) > 0
        centers = conversions.to_center_size(regions)[:, :2]
        in_crowd = inside_any(centers, truth, mask & crowd)
        chosen = sampling.balanced(
            jax.random.fold_in(key, 2),
            positive & is_region,
            ~positive & is_region & ~in_crowd,
            self.options.region_samples,
            self.options.positive_fraction,
        )
        return Sample(jnp.maximum(matches.index, 0), positive, chosen)

    def _errors(
        self,
        deltas: Candidates,
        truth: Candidates,
        anchors: Candidates,
        weights: coders.Weights,
        counts: Chosen,
    ) -> Float[Array, '']:
        """The summed smooth L1 loss of the deltas that count."""
        # Boxes without area have no logarithm: they are replaced before the encoding.
        unit = jnp.array([0.0, 0.0, 1.0, 1.0], truth.dtype)
        truth = jnp.where(counts[:, None], truth, unit)
        anchors = jnp.where(counts[:, None], anchors, unit)
        targets = coders.encode_deltas(truth, anchors, weights)
        values = losses.smooth_l1(deltas - targets, _SMOOTH).sum(axis=-1)
        return jnp.sum(jnp.where(counts, values, 0))

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects in `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has 'boxes' [B, D, 4], 'scores', 'classes' and 'valid' [B, D], the best
        first, as `select` returns them for an image. Boxes are in pixels of the input,
        clipped to the image, or to its 'content_size' [B, 2] if `inputs` has it.

        A region can give a detection of every class.
        """

        raw = self.raw_predict(variables, inputs)
        return self.detect(raw, limits_of(inputs))

    def detect(self, raw: Batch, limits: Float[Array, 'b 4']) -> Batch:
        """Suppress the worse of overlapping boxes of a class.

        Args:
            raw: of `raw_predict`.
            limits: the largest edges, see `limits_of`.

        Returns:
            The arrays of `predict`.
        """

        def detect(
            boxes: Float[Array, 'r k 4'],
            scores: Float[Array, 'r k'],
            limits: Float[Array, '4'],
        ) -> Batch:
            classes = jnp.broadcast_to(jnp.arange(scores.shape[1]), scores.shape)
            return self.select(
                boxes.reshape(-1, 4), scores.reshape(-1), classes.reshape(-1), limits
            )

        return jax.vmap(detect)(raw['boxes'], raw['scores'], limits)

    def raw_predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the boxes and the class scores of every region, before the last suppression.

        Args:
            variables: of the run.
            inputs: those of `predict`.

        Returns:
            'boxes' [B, R, K, 4] in pixels of the input, a box for each class, clipped as
            those of `predict`. 'scores' [B, R, K] in [0, 1], without background; 0 for
            padding and for boxes with a side below 0.01 pixels.
        """
        limits = limits_of(inputs)
        outputs = self.outputs(variables, inputs, limits=limits)
        return self.refine(outputs, limits)

    def refine(self, outputs: Batch, limits: Float[Array, 'b 4']) -> Batch:
        """Compute the arrays of `raw_predict` from the model's outputs.

        Args:
            outputs: of `FasterRCNN`, by name.
            limits: the largest edges, see `limits_of`.
        """

        def refine(
            regions: Regions,
            logits: Logits,
            deltas: Deltas,
            image_limits: Float[Array, '4'],
        ) -> Batch:
            # Output 0 is the background.
            outputs_of_classes = 1 + self.output_of_class
            scores = jax.nn.softmax(logits)[:, outputs_of_classes]
            # Padding has no area, and no class.
            scores = jnp.where(conversions.area(regions)[:, None] > 0, scores, 0)
            deltas = deltas[:, outputs_of_classes]
            anchors = jnp.broadcast_to(regions[:, None], deltas.shape)
            boxes = coders.decode_deltas(deltas, anchors, BOX_WEIGHTS)
            boxes = jnp.clip(boxes, 0, image_limits)
            sides = boxes[..., 2:] - boxes[..., :2]
            scores = jnp.where(sides.min(axis=-1) >= _SMALLEST_SIDE, scores, 0)
            return {'boxes': boxes, 'scores': scores}

        return jax.vmap(refine)(
            outputs['regions'], outputs['logits'], outputs['deltas'], limits
        )
