"""Metrics of filled holes, for the network and for the smooth filling alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core.rows import evenly_spaced
from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import Batch, MetricValues, Records
from jaxvision.image import color, fill
from jaxvision.viz import figures

NAMES = ('psnr_hole', 'plate_psnr_hole', 'mse_hole')


def smooth_filling(
    image: Float[Array, 'b h w c'], hole: Bool[Array, 'b h w 1']
) -> Float[Array, 'b h w c']:
    """Fill the holes of images in [0, 1] smoothly, like a thin plate under tension.

    The hole is True at missing pixels, whose values do not matter. The result is clipped to [0, 1].
    """
    return jnp.clip(jax.vmap(fill.thin_plate)(image, hole), 0, 1)


def compare(dtype: DTypeLike, outputs: Batch, batch: Batch) -> Batch:
    """Measure the errors of filled images. Outside the holes they must have no error.

    Args:
        dtype: dtype of the computation.
        outputs: the filled 'image' [B, H, W, C] in [0, 255].
        batch: the true 'image', and 'mask', which is above 0 in the hole.

    Returns:
        'squared_error' and 'plate_squared_error' [B]: the sums of squared errors of the
        image, not rounded, and of the smooth filling alone, for pixels in [0, 1].
        'missing' [B]: the number of missing values, one per channel of a pixel.
        'filled': the network's image as uint8.
    """
    truth = color.to_float(batch['image'], dtype)
    hole = batch['mask'] > 0

    def squared_error(image):
        return jnp.square(image - truth).sum((1, 2, 3))

    return {
        'squared_error': squared_error(outputs['image'] / 255),
        'plate_squared_error': squared_error(smooth_filling(truth, hole)),
        'missing': truth.shape[-1] * hole.sum((1, 2, 3), dtype=jnp.int32),
        'filled': jnp.round(outputs['image']).astype(jnp.uint8),
    }


def summarize(records: Records) -> MetricValues:
    """Compute metrics over all missing values of the split.

    `records` are those of `compare`, with at least one missing value.

    Returns:
        'psnr_hole' in dB, at most 100, 'plate_psnr_hole' of the smooth filling alone, and
        'mse_hole', for pixels in [0, 1].
    """

    def mean(name):
        return records[name].sum(dtype=np.float64) / records['missing'].sum()

    def psnr(mse):
        return float(-10 * np.log10(max(mse, 1e-10)))

    mse = mean('squared_error')
    return {
        'psnr_hole': psnr(mse),
        'plate_psnr_hole': psnr(mean('plate_squared_error')),
        'mse_hole': float(mse),
    }


def draw_strips(records: Records, example: ReadExample) -> Pictures:
    """Draw up to 16 images, evenly spaced in a split.

    Args:
        records: records of an evaluation, with 'index' and 'filled'.
        example: `example(index)` returns a prepared example, with 'mask'.

    Returns:
        {'strips': the picture}. It has two images per row, each with a grey hole, filled, and as
        the original.
    """
    images = []
    for row in evenly_spaced(len(records['index']), 16):
        truth = example(int(records['index'][row]))
        with_hole = np.where(truth['mask'] > 0, np.uint8(127), truth['image'])
        images += [with_hole, records['filled'][row], truth['image']]
    times = max(1, 96 // images[0].shape[0])
    return {'strips': figures.grid(images, columns=6, times=times)}
