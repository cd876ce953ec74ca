"""RetinaNet: arXiv 1708.02002, a one-stage detector with anchors.

Each cell of a pyramid scores nine anchors for each class, and regresses each anchor's box.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.boxes import anchors
from jaxvision.core.types import Values
from jaxvision.image.types import Size
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.detectors.pyramid import (
    Extra,
    PyramidBackbone,
    make_features,
)
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys, Predictions

PRIOR = 0.01  # probability of each class at the start (arXiv 1708.02002, section 3.3)
RATIOS = (0.5, 1.0, 2.0)  # heights over widths of the anchors
_DEPTH = 4  # 3x3 convolutions of each branch


class AnchorOutputs(nn.Module):
    """A 3x3 convolution that gives numbers of each anchor of each cell.

    A call maps [B, H, W, C] to [B, H * W * anchors_per_cell, numbers], cell by cell.
    The parameters have separate axes of anchors and of numbers, so that weights of other
    classes are matched by name.

    Attributes:
        anchors_per_cell: number of anchors of a cell, on every level.
        numbers: number of outputs of an anchor.
        bias_init: initialiser of the bias.
        param_dtype: of the parameters and of the computation.
    """

    anchors_per_cell: int
    numbers: int
    bias_init: Callable[..., Array]
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap) -> Float[Array, 'b n k']:
        """Compute the numbers of all anchors, cell by cell."""
        shape = (self.anchors_per_cell, self.numbers)
        window = (3, 3, x.shape[-1])
        kernel = self.param(
            'kernel', nn.initializers.normal(0.01), (*window, *shape), self.param_dtype
        )
        bias = self.param('bias', self.bias_init, shape, self.param_dtype)
        outputs = convolution.convolve(
            x.astype(self.param_dtype),
            kernel.reshape(*window, -1),
            (1, 1),
            'SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        outputs = outputs + bias.reshape(-1)
        return outputs.reshape(x.shape[0], -1, self.numbers)


class AnchorHead(nn.Module):
    """Class logits and deltas of every anchor, by one network for all levels.

    A call on the maps returns the outputs of `RetinaNet`.

    Attributes:
        num_classes: without background.
        anchors_per_cell: number of anchors of a cell, on every level.
        norm: 'none', or 'group' after each convolution of a branch.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    anchors_per_cell: int
    norm: str
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap]) -> Predictions:
        """Predict for the anchors of all levels, see `RetinaNet`."""
        width = maps[0].shape[-1]
        output = functools.partial(
            AnchorOutputs, self.anchors_per_cell, param_dtype=self.param_dtype
        )
        prior = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        score = output(self.num_classes, bias_init=prior, name='scores')
        regress = output(4, bias_init=nn.initializers.zeros, name='deltas')
        class_branch = self._branch(width, 'class')
        box_branch = self._branch(width, 'box')
        logits = []
        deltas = []
        for x in maps:
            logits.append(score(_apply(class_branch, x)))
            deltas.append(regress(_apply(box_branch, x)))
        return {
            'logits': jnp.concatenate(logits, axis=1),
            'deltas': jnp.concatenate(deltas, axis=1),
        }

    def _branch(self, width: int, name: str) -> list[Callable[[Array], Array]]:
        """The layers of a branch, each a function of feature maps."""
        norm = None
        if self.norm != 'none':
            norm = layers.normalization(self.norm, False, self.dtype, self.param_dtype)
        branch = []
        for i in range(1, _DEPTH + 1):
            conv = convolution.Conv(
                width,
                (3, 3),
                use_bias=norm is None,
                kernel_init=nn.initializers.normal(0.01),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f'{name}_conv{i}',
            )
            branch.append(conv)
            if norm is not None:
                # The mean of squares less the square of the mean loses digits.
                precise = norm(name=f'{name}_norm{i}', use_fast_variance=False)
                branch.append(precise)
            branch.append(nn.relu)
        return branch


def _apply(branch: Sequence[Callable[[Array], Array]], x: FeatureMap) -> FeatureMap:
    for layer in branch:
        x = layer(x)
    return x


class RetinaNet(nn.Module):
    """A backbone with a pyramid, and a head for the anchors of its maps.

    A call takes normalised images and returns (outputs, intermediates). The outputs are
    'logits' [B, N, K], without background, and 'deltas' [B, N, 4] for
    `coders.decode_deltas`, level by level in the order of `anchors`.

    Attributes:
        features: the backbone and its pyramid.
        head: predicts for each anchor.
        anchor_scale: side of the smallest square anchor, in strides of its level.
        candidates: best scores of each level that become detections, before suppression.
        box_loss: 'l1' of the deltas or 'giou' of the boxes.
    """

    features: PyramidBackbone
    head: AnchorHead
    anchor_scale: float
    candidates: int
    box_loss: str

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Predict the classes and the box of each anchor.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.

        Returns:
            ({'logits': [B, N, K], 'deltas': [B, N, 4]}, intermediates). The N anchors are in
            the order of `anchors`.
        """
        maps, intermediates = self.features(image, train=train, keys=keys)
        outputs = self.head(maps)
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid, **outputs}

    def anchors(self, size: Size) -> list[Float[np.ndarray, '_ 4']]:
        """List the anchors of each level in pixels, the finest level first.

        Each level is listed row by row, nine anchors a cell: three sizes of the first
        of `RATIOS`, then of the next. Anchors are centred on the top-left corner of
        their cell, up to the rounding of their edges to whole pixels. They may leave
        the image.

        Args:
            size: (height, width) of the image, pixels.
        """
        levels = []
        for level, grid in enumerate(self.features.grids(size)):
            smallest = self.anchor_scale * self.features.strides[0] * 2**level
            # Whole pixels, as in torchvision.
            sides = [int(smallest * 2 ** (third / 3)) for third in range(3)]
            cell = anchors.cell_anchors(sides, RATIOS, rounded=True)
            levels.append(anchors.grid_anchors(cell, grid.shape, grid.stride))
        return levels


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of a published detector.

    Attributes:
        backbone: its name and variant, as 'resnet:50'.
        backbone_options: by name.
        extra: maps coarser than the backbone's.
        norm: of the head, 'none' or 'group'.
        box_loss: 'l1' of the deltas or 'giou' of the boxes.
    """

    backbone: str
    backbone_options: Values = dataclasses.field(default_factory=dict)
    extra: Extra = 'P5'
    norm: str = 'none'
    box_loss: str = 'l1'


# torchvision's detectors. The first one's batch norm has no epsilon in its weights of COCO.
PUBLISHED = {
    'resnet50_fpn': Layout(
        backbone='resnet:50', backbone_options={'norm': 'frozen', 'epsilon': 0.0}
    ),
    'resnet50_fpn_v2': Layout(
        backbone='resnet:50', extra='C5', norm='group', box_loss='giou'
    ),
}

# The published ones, and examples of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'cnn:8x1-16x1-32x1-64x1-96-128', 'resnet:50')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '8-16-32',
    width: int = 256,
    anchor_scale: float = 4.0,
    candidates: int = 1000,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> RetinaNet:
    """Build a RetinaNet.

    Args:
        variant: a published detector, or name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each map of the backbone, the finest first. Two coarser
            maps follow.
        width: channels of the pyramid and the head.
        anchor_scale: side of the smallest square anchor, in strides of its level.
        candidates: best scores of each level that become detections, before suppression.
        momentum: fraction of the running statistics that the backbone keeps in a
            training step, unless its options say otherwise. Nothing else has batch
            norm.
        backbone: options of the backbone by name, or None for none. Each replaces a
            published detector's option of this name. The others stay as published, or
            at their defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    layout = PUBLISHED.get(variant) or Layout(variant)
    features = make_features(
        layout.backbone,
        {**layout.backbone_options, **(backbone or {})},
        strides,
        width,
        extra=layout.extra,
        momentum=momentum,
        **types,
    )
    head = AnchorHead(
        num_classes=num_classes,
        anchors_per_cell=3 * len(RATIOS),
        norm=layout.norm,
        **types,
    )
    return RetinaNet(
        features=features,
        head=head,
        anchor_scale=anchor_scale,
        candidates=candidates,
        box_loss=layout.box_loss,
    )
