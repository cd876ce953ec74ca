"""How near filled holes are to the truth, beside the smooth filling alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core.task import (
    Pictures,
)
from jaxvision.core.types import Batch, Example, Records
from jaxvision.image import color, fill
from jaxvision.viz import figures

NAMES = ('psnr_hole', 'plate_psnr_hole', 'mse_hole')


def smooth_filling(
    image: Float[Array, 'b h w c'], hole: Bool[Array, 'b h w 1']
) -> Float[Array, 'b h w c']:
    """Fill the holes of images in [0, 1] smoothly, as a thin plate."""
    return jnp.clip(jax.vmap(fill.thin_plate)(image, hole), 0, 1)


def compare(dtype: DTypeLike, outputs: Batch, batch: Batch) -> Batch:
    """Measure filled images.

    Args:
        dtype: dtype of the computation.
        outputs: 'image' in [0, 255], [B, H, W, C].
        batch: the true 'image', and 'mask', above 0 in the hole.

    Returns:
        The sums of squared errors in the hole, of the image and of the smooth filling
        alone; 'missing', the number of missing values; 'filled', the image, uint8.
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


def summarize(records: Records) -> dict[str, float]:
    """Compute metrics of all missing values of the split together.

    Returns:
        psnr_hole in dB; plate_psnr_hole, the PSNR of the smooth filling alone; mse_hole.
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


def draw_strips(records: Records, example: Callable[[int], Example]) -> Pictures:
    """Draw a few images: with the hole, filled, truth."""
    images = []
    for i in np.unique(np.linspace(0, len(records['index']) - 1, 16).astype(int)):
        truth = example(int(records['index'][i]))
        holed = np.where(truth['mask'] > 0, np.uint8(127), truth['image'])
        images += [holed, records['filled'][i], truth['image']]
    times = max(1, 96 // images[0].shape[0])
    return {'strips': figures.grid(images, columns=6, times=times)}
