"""The one-stage detector with its preprocessing, its matching and its loss."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxvision.boxes import coders, matching, nms
from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Scalars
from jaxvision.core.types import Batch, Module, Tree
from jaxvision.image import color
from jaxvision.losses import detection as losses
from jaxvision.tasks.detection import augmentation
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import update

MOST_DETECTIONS = 100  # of an image, as in COCO's evaluation

# Of a batch without objects the loss is divided by this, for each image.
_LEAST_WEIGHT = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseDetection:
    """A one-stage detector of the spec's images.

    Attributes:
        model: the detector.
        spec: of the data.
        options: the config's task.
        dtype: of the images.
    """

    model: Module
    spec: Spec
    options: Config
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'DenseDetection':
        """Build the detector of a config.

        Raises:
            UserError: The model or its variant is wrong.
        """
        return cls(
            model=make_model(config, num_classes=len(spec.class_names)),
            spec=spec,
            options=config.task,
            dtype=jnp.dtype(config.model.param_dtype),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's images, pixels."""
        height, width, _ = self.spec.inputs['image'].shape
        return height, width

    def init(self, key: PRNGKeyArray, batch: Batch) -> tuple[Tree, Tree]:
        """Draw (the parameters, the model state)."""
        images = color.to_float(batch['image'], self.dtype)
        variables = self.model.init(key, images)
        return variables.pop('params'), variables

    def normalize(self, images: Float[Array, '...']) -> Float[Array, '...']:
        """Normalise pixels in [0, 1] by the preprocessing's mean and std."""
        preprocessing = self.spec.preprocessing
        return color.normalize(images, preprocessing.mean, preprocessing.std)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, update.Aux]:
        """The loss of scores and boxes, as `update.from_loss` takes it.

        Quality focal loss of the scores and generalised IoU of the boxes, for cells that
        task-aligned learning matches (TOOD, arXiv 2108.07755).
        """
        images = color.to_float(batch['image'], self.dtype)
        images, boxes = augmentation.apply(
            self.options.augment, key, batch['index'], images, batch['boxes']
        )
        example_keys = keys.per_example(keys.stream(key, 'model'), batch['index'])
        (outputs, _), model_state = self.model.apply(
            {'params': params, **state.model_state['model']},
            self.normalize(images),
            train=True,
            keys=example_keys,
            mutable=list(state.model_state['model']),
        )
        terms = jax.vmap(self._terms)(
            outputs['logits'],
            outputs['distances'],
            boxes,
            batch['box_classes'],
            batch['box_mask'],
            batch['crowd'],
        )
        class_values, box_values, weights = terms
        losses_by_term = {
            'class': (class_values, weights),
            'box': (self.options.box_weight * box_values, weights),
        }
        return losses_by_term, {'model_state': {'model': model_state}}

    def _terms(
        self,
        logits: Float[Array, 'n k'],
        distances: Float[Array, 'n 4'],
        truth: Float[Array, 'm 4'],
        classes: Array,
        mask: Bool[Array, 'm'],
        crowd: Bool[Array, 'm'],
    ) -> tuple[Array, Array, Array]:
        """The summed losses of one image, and the weight that they are divided by."""
        centers, _ = map(jnp.asarray, self.model.cells(self.size))
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
        in_crowd = _inside_any(centers, truth, mask & crowd)
        counts = is_matched | ~in_crowd
        class_values = losses.quality_focal(logits, targets).sum(axis=-1)
        box_values = losses.giou(predicted, truth[matched]) * matches.quality
        weight = jax.lax.stop_gradient(matches.quality.sum()) + _LEAST_WEIGHT
        return (
            jnp.sum(jnp.where(counts, class_values, 0)),
            jnp.sum(jnp.where(is_matched, box_values, 0)),
            weight,
        )

    def apply(
        self, variables: Tree, images: Float[Array, 'b h w c']
    ) -> tuple[Batch, Scalars]:
        """The model's outputs and intermediates for normalised images, in inference."""
        model_variables = {
            'params': variables['params']['model'],
            **variables['model_state']['model'],
        }
        return self.model.apply(model_variables, images)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Detect objects.

        Args:
            variables: of the state.
            inputs: 'image' [B, H, W, C], in [0, 255].

        Returns:
            The best `MOST_DETECTIONS` of each image: 'boxes' [B, D, 4] in pixels of the
            input, 'scores' [B, D] in [0, 1], 'classes' [B, D] and 'valid' [B, D], False for
            padding.
        """
        images = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        outputs, _ = self.apply(variables, self.normalize(images))
        centers, _ = map(jnp.asarray, self.model.cells(self.size))
        height, width = self.size
        limits = jnp.array([height, width, height, width], jnp.float32)

        def select(
            logits: Float[Array, 'n k'], distances: Float[Array, 'n 4']
        ) -> Batch:
            boxes = coders.decode_distances(distances, centers)
            boxes = jnp.clip(boxes, 0, limits)
            scores = jax.nn.sigmoid(logits.max(axis=-1))
            classes = logits.argmax(axis=-1)
            kept = nms.by_argmax(
                boxes,
                scores,
                classes,
                iou=self.options.nms_iou,
                limit=MOST_DETECTIONS,
                score=self.options.least_score,
            )
            return {
                'boxes': boxes[kept.index] * kept.valid[:, None],
                'scores': scores[kept.index] * kept.valid,
                'classes': classes[kept.index] * kept.valid,
                'valid': kept.valid,
            }

        return jax.vmap(select)(outputs['logits'], outputs['distances'])


def _inside_any(
    centers: Float[Array, 'n 2'], boxes: Float[Array, 'm 4'], mask: Bool[Array, 'm']
) -> Bool[Array, 'n']:
    """Whether each centre lies in one of the boxes that count."""
    points = centers[:, None]
    inside = (points >= boxes[:, :2]) & (points <= boxes[:, 2:])
    return jnp.any(jnp.all(inside, axis=-1) & mask, axis=1)
