"""The loss and the detections of Mask R-CNN: those of two stages, and masks."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from jaxvision.boxes.types import Truth, TruthClasses, Valid
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Tree
from jaxvision.image.types import Size
from jaxvision.tasks.detection import augmentation, box_masks
from jaxvision.tasks.detection.network import limits_of
from jaxvision.tasks.detection.two_stage import Regions, TwoStage
from jaxvision.tasks.shared.image_network import Forward
from jaxvision.train import update

# The mask logits of the cells of regions for each class, background first.
MaskLogits = Float[Array, 'p y x k']


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskStage(TwoStage):
    """A two-stage detector that predicts the masks of its detections, see `MaskRCNN`."""

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """The loss of the terms, with masks that are mirrored as their images."""
        masks = augmentation.apply_to_masks(
            self.options.augment, key, batch['index'], batch['box_masks']
        )
        return super().loss(params, state, {**batch, 'box_masks': masks}, key)

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, Tree]:
        """The losses of `TwoStage` and that of masks (arXiv 1703.06870, section 3).

        The term 'mask' sums, over the sampled regions of each image that show an
        object, the mean cross-entropy of a region's cells for the true class. The other
        classes' masks do not compete. Its weight is the number of these regions.
        """
        sample_keys = self.sample_keys(batch, key)

        def choose_masks(outputs: Batch) -> Batch:
            return jax.vmap(self._choose_masks)(
                sample_keys,
                outputs['regions'],
                batch['boxes'],
                batch['box_mask'],
                batch['crowd'],
            )

        terms, outputs, model_state = self.learn(
            forward, size, batch, key, choose_masks=choose_masks
        )
        mask_term = jax.vmap(self._mask_term)(
            outputs['mask_logits'],
            outputs['mask_regions'],
            outputs['mask_objects'],
            outputs['mask_valid'],
            batch['boxes'],
            batch['box_classes'],
            batch['box_masks'],
        )
        return {**terms, 'mask': mask_term}, model_state

    def _choose_masks(
        self,
        key: PRNGKeyArray,
        regions: Regions,
        truth: Truth,
        mask: Valid,
        crowd: Valid,
    ) -> Batch:
        """List the sampled regions of an image that show an object, as many as can be."""
        sampled = self.sample(key, regions, truth, mask, crowd)
        shows_object = sampled.chosen & sampled.positive
        most = int(self.options.region_samples * self.options.positive_fraction)
        rows = jnp.argsort(~shows_object, stable=True)[:most]
        return {
            'mask_regions': regions[rows],
            'mask_objects': sampled.index[rows],
            'mask_valid': shows_object[rows],
        }

    def _mask_term(
        self,
        logits: MaskLogits,
        regions: Float[Array, 'p 4'],
        objects: Int[Array, 'p'],
        valid: Bool[Array, 'p'],
        truth: Truth,
        classes: TruthClasses,
        masks: UInt8[Array, 'm c c'],
    ) -> tuple[Float[Array, ''], Float[Array, '']]:
        """The loss of the masks of one image's regions, and their number."""
        is_object = box_masks.targets(masks, truth, objects, regions, logits.shape[1])
        chosen = _of_output(logits, classes[objects] + 1)
        entropy = optax.sigmoid_binary_cross_entropy(
            chosen, is_object.astype(chosen.dtype)
        )
        values = entropy.mean(axis=(1, 2))
        count = jnp.sum(valid).astype(logits.dtype)
        return jnp.sum(jnp.where(valid, values, 0)), count

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects with their masks in `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has the arrays of `TwoStage.predict`, and 'masks' [B, D, M, M]: the
        probability that a cell of a detection's box shows the object; 0 for padding.
        """
        limits = limits_of(inputs)

        def choose_masks(outputs: Batch) -> Batch:
            detections = self.detect(self.refine(outputs, limits), limits)
            return {**detections, 'mask_regions': detections['boxes']}

        outputs = self.outputs(
            variables, inputs, limits=limits, choose_masks=choose_masks
        )
        output_of_class = jnp.asarray(self.output_of_class, jnp.int32)
        number = output_of_class[outputs['classes']] + 1
        logits = jax.vmap(_of_output)(outputs['mask_logits'], number)
        valid = outputs['valid']
        detections = {
            name: outputs[name] for name in ('boxes', 'scores', 'classes', 'valid')
        }
        masks = jax.nn.sigmoid(logits) * valid[..., None, None]
        return {**detections, 'masks': masks}


def _of_output(logits: MaskLogits, number: Int[Array, 'p']) -> Float[Array, 'p y x']:
    """Choose one output of each region's masks."""
    index = number[:, None, None, None]
    return jnp.take_along_axis(logits, index, axis=-1)[..., 0]
