"""Mask R-CNN: Faster R-CNN that also predicts a mask of each object (arXiv 1703.06870)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.core.options import call
from jaxvision.core.types import Value
from jaxvision.models.detectors import faster_rcnn
from jaxvision.models.detectors.faster_rcnn import Choose, FasterRCNN
from jaxvision.models.detectors.region_heads import MaskHead
from jaxvision.models.types import Images, Intermediates, Keys, Predictions

# `(outputs) -> further outputs`, of which 'mask_regions' [B, P, 4] get masks.
Choice = Callable[[Predictions], Predictions]


class MaskRCNN(FasterRCNN):
    """Faster R-CNN with a third head, which predicts masks.

    A call has one more argument than that of `FasterRCNN`, `choose_masks`. This
    function takes the outputs of `FasterRCNN` and returns further outputs. One of them,
    'mask_regions' [B, P, 4], has the edges in pixels of the regions that get masks. The
    call then also returns 'mask_logits' [B, P, M, M, K + 1], with M twice
    `mask_pooled_size`. Each is the logit of a cell of a region for a class.

    Attributes:
        third: predicts masks.
        mask_pooled_size: cells of a region along each side, as `third` sees it.
    """

    third: MaskHead
    mask_pooled_size: int

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
        choose: Choose | None = None,
        limits: Float[Array, 'b 4'] | None = None,
        choose_masks: Choice | None = None,
    ) -> tuple[Predictions, Intermediates]:
        """Propose regions, classify them, and predict the masks of some regions.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.
            choose: as for `FasterRCNN`.
            limits: as for `FasterRCNN`.
            choose_masks: chooses the regions that get masks; None: no region does.

        Returns:
            (the outputs of `FasterRCNN`, those of `choose_masks` and 'mask_logits';
            intermediates).
        """
        outputs, intermediates = super().__call__(image, train, keys, choose, limits)
        if self.is_initializing():
            choose_masks = _first_region
        if choose_masks is None:
            return outputs, intermediates
        further = choose_masks(outputs)
        regions = jax.lax.stop_gradient(further['mask_regions'])
        levels = range(1, 1 + len(self.features.strides))
        maps = [intermediates[f'pyramid{level}'] for level in levels]
        pooled = self.pool(maps, regions, self.mask_pooled_size)
        mask_logits = self.third(pooled)
        return {**outputs, **further, 'mask_logits': mask_logits}, intermediates


def _first_region(outputs: Predictions) -> Predictions:
    return {'mask_regions': outputs['regions'][:, :1]}


# torchvision's Mask R-CNN has the Faster R-CNN of this name.
_PUBLISHED = 'resnet50_fpn'

# The published one, and examples of the free form: a backbone's name and its variant.
VARIANTS = (_PUBLISHED, 'cnn:8x1-16x1-32x1-64x1-96-128', 'resnet:50')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    mask_width: int = 256,
    mask_depth: int = 4,
    mask_pooled_size: int = 14,
    **options: Value,
) -> MaskRCNN:
    """Build a Mask R-CNN.

    Args:
        variant: a published detector, or name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        mask_width: of the mask head's convolutions.
        mask_depth: number of its 3x3 convolutions.
        mask_pooled_size: cells of a region along each side, as the mask head sees it. A
            mask has twice as many.
        **options: of `faster_rcnn.make`.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    if variant in faster_rcnn.PUBLISHED and variant != _PUBLISHED:
        raise UserError(
            f'model.variant={variant!r}: expected {_PUBLISHED!r} or a backbone such as '
            "'resnet:50'. Only Faster R-CNN has this variant."
        )
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    detector = call(
        faster_rcnn.make,
        "model 'mask_rcnn'",
        variant,
        num_classes=num_classes,
        options=options,
        **types,
    )
    parts = {
        field.name: getattr(detector, field.name)
        for field in dataclasses.fields(FasterRCNN)
        if field.name not in ('parent', 'name')
    }
    third = MaskHead(num_classes, mask_width, mask_depth, **types)
    return MaskRCNN(**parts, third=third, mask_pooled_size=mask_pooled_size)
