"""Segmenters of one feature map of a backbone, whose last stages may be dilated."""

import inspect

import flax.linen as nn
from jax.typing import DTypeLike

from jaxvision.core.registry import resolve
from jaxvision.core.types import Values
from jaxvision.models.backbones import feature_maps
from jaxvision.models.types import Images, Intermediates, Keys, Predictions

FINE_STRIDE = 4  # pixels of a cell of the map that a decoder reads beside the last one


class AtrousSegmenter(nn.Module):
    """A backbone, and a head for its last feature map of some stride.

    A call takes normalised images. In training, and at initialisation, an auxiliary
    head reads the map before the last one.

    Attributes:
        backbone: a model without a head, called as `backbone(image, train=train,
            keys=keys)`. It returns (features, intermediates).
        head: called as `head(x, fine, train, keys)` with the last map, and the last one
            of a stride of 4 pixels or None.
        auxiliary: another head, or None.
        output_stride: pixels of a cell of the map for the head.
        has_decoder: whether the head reads the map of a stride of 4 pixels.
    """

    backbone: nn.Module
    head: nn.Module
    auxiliary: nn.Module | None
    output_stride: int
    has_decoder: bool = False

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Compute the logits of each cell.

        Args:
            image: normalised, [B, H, W, C], of any size that the backbone takes.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.

        Returns:
            ({'logits': [B, h, w, K]}, intermediates). h and w are H and W over the stride
            of the map, rounded as the backbone does, see `maps.resized`. In training,
            'auxiliary' are the logits of the auxiliary head, if there is one.

        Raises:
            UserError: The backbone has no map of the output stride.
        """
        _, intermediates = self.backbone(image, train=train, keys=keys)
        before, features = feature_maps.last_two(
            intermediates, image, self.output_stride
        )
        fine = None
        if self.has_decoder:
            _, fine = feature_maps.last_two(intermediates, image, FINE_STRIDE)
        outputs = {'logits': self.head(features, fine, train, keys)}
        if self.auxiliary is not None and (train or self.is_initializing()):
            outputs['auxiliary'] = self.auxiliary(before, None, train, keys)
        return outputs, {**intermediates, **outputs}


def make_dilated(
    variant: str,
    options: Values | None,
    output_stride: int,
    *,
    momentum: float,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
) -> nn.Module:
    """Build a backbone without its head, dilated to an output stride if it can be.

    Args:
        variant: NAME:VARIANT of the backbone.
        options: of the backbone, by name; None: its defaults.
        output_stride: pixels of a cell of its last map. A backbone without such an option
            keeps its strides.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: There is no such backbone, or it has no such option.
    """
    options = dict(options or {})
    name, colon, _ = variant.partition(':')
    if colon:
        parameters = inspect.signature(resolve('models', name).make).parameters
        if 'output_stride' in parameters:
            options.setdefault('output_stride', output_stride)
    return feature_maps.make_backbone(
        variant, options, momentum=momentum, dtype=dtype, param_dtype=param_dtype
    )
