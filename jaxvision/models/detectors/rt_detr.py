"""RT-DETR: a transformer whose queries are the objects, without suppression (arXiv 2304.08069)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.core.types import Values
from jaxvision.models.backbones.feature_maps import make_backbone, parse_strides
from jaxvision.models.detectors.cspdarknet import Common
from jaxvision.models.detectors.hybrid_encoder import HybridEncoder
from jaxvision.models.detectors.query_decoder import QueryDecoder, QuerySelection
from jaxvision.models.detectors.transformer_layers import Settings
from jaxvision.models.types import Images, Intermediates, Keys, Predictions

POINTS = 4  # of each map and head that a query attends to


class RTDETR(nn.Module):
    """A backbone with a hybrid encoder, and a decoder of queries.

    A call takes normalised images and returns (outputs, intermediates). The outputs are
    those of L layers, the selection of Q queries first: 'logits' [B, L, Q, K], without
    background, and 'boxes' [B, L, Q, 4], [y, x, height, width] of centre and size as
    fractions of the image. The last layer's are the answer.

    Attributes:
        features: the backbone and its encoder.
        selection: chooses cells as queries.
        decoder: refines the queries' boxes.
    """

    features: HybridEncoder
    selection: QuerySelection
    decoder: QueryDecoder

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Predict a box and classes for each query.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout in the backbone.

        Returns:
            ({'logits': [B, L, Q, K], 'boxes': [B, L, Q, 4]}, intermediates), for the
            selection and each layer of the decoder.
        """
        maps, intermediates = self.features(image, train=train, keys=keys)
        shapes = [(x.shape[1], x.shape[2]) for x in maps]
        batch = image.shape[0]
        cells = [x.reshape(batch, -1, x.shape[-1]) for x in maps]
        memory = jnp.concatenate(cells, axis=1)
        queries = self.selection(memory, shapes)
        logits, boxes = self.decoder(memory, shapes, queries)
        outputs = {
            'logits': jnp.stack([queries.logits, *logits], axis=1),
            'boxes': jnp.stack([queries.boxes, *boxes], axis=1),
        }
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid, **outputs}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of a published detector.

    Attributes:
        backbone: its name and variant.
        norm: of the backbone.
        width: channels of the encoder.
        expansion: channels of the encoder's blocks, as a fraction of `width`.
        hidden: width inside the encoder's perceptron.
        layers: of the decoder.
    """

    backbone: str
    norm: str = ''
    width: int = 256
    expansion: float = 1.0
    hidden: int = 1024
    layers: int = 6

    @property
    def backbone_options(self) -> dict[str, Any]:
        """The options of the backbone of a published detector, a ResNet-vd."""
        if not self.norm:
            return {}
        return {'version': 'vd', 'stem': 'deep', 'norm': self.norm}


# By the names of their authors, which are rtdetr_r18vd and so on.
PUBLISHED = {
    'r18vd': Layout('resnet:18', 'batch', expansion=0.5, layers=3),
    'r34vd': Layout('resnet:34', 'batch', expansion=0.5, layers=4),
    'r50vd': Layout('resnet:50', 'frozen'),
    'r101vd': Layout('resnet:101', 'frozen', width=384, hidden=2048),
}

# The published ones, and an example of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'cnn:8x1-16x1-32x1-64x1-96-128')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '8-16-32',
    width: int = 0,
    hidden: int = 0,
    layers: int = 0,
    queries: int = 300,
    heads: int = 8,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> RTDETR:
    """Build an RT-DETR.

    Args:
        variant: a published detector, or name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each of three maps, the finest first.
        width: channels of the encoder and width of the decoder, a multiple of 4 and of
            `heads`; 0: as published, or 256.
        hidden: width inside the perceptrons; 0: as published, or 1024.
        layers: of the decoder; 0: as published, or 6.
        queries: number of the boxes that the decoder refines.
        heads: of the attention.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, unless its options say otherwise.
        backbone: options of the backbone by name, which replace those of a published
            detector; None: as published, or its defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    layout = PUBLISHED.get(variant) or Layout(variant)
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    encoder_width = width or layout.width
    decoder_width = width or 256
    if encoder_width % 4 or encoder_width % heads or decoder_width % heads:
        raise UserError(
            f'model.options.width={encoder_width}: expected a multiple of 4 and of '
            f'heads={heads}. Choose another width.'
        )
    of_maps = parse_strides(strides)
    if len(of_maps) != 3:
        raise UserError(
            f'model.options.strides={strides!r}: expected three strides. Write them as '
            "'8-16-32'"
        )
    options = {**layout.backbone_options, **(backbone or {})}
    features = HybridEncoder(
        backbone=make_backbone(layout.backbone, options, momentum=momentum, **types),
        depth=3,
        common=Common(False, momentum, dtype, param_dtype, epsilon=1e-5),
        strides=of_maps,
        width=encoder_width,
        hidden=int(layout.expansion * encoder_width),
        output=decoder_width,
        settings=Settings(heads, hidden or layout.hidden, dtype, param_dtype),
    )
    settings = Settings(heads, hidden or 1024, dtype, param_dtype)
    return RTDETR(
        features=features,
        selection=QuerySelection(num_classes, queries, settings),
        decoder=QueryDecoder(num_classes, layers or layout.layers, POINTS, settings),
    )
