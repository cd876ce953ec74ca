"""Metrics of enlarged images, for the network and for bicubic interpolation."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.core.rows import evenly_spaced
from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import Batch, MetricValues, Records
from jaxvision.metrics import restoration
from jaxvision.viz import figures

# One image.
Image = Float[Array, 'h w c']

# Largest side, in pixels, of the image parts in a figure.
STRIP_SIDE = 96


def compare(
    restored: Image,
    bicubic: Image,
    truth: Image,
    border: int,
) -> Batch:
    """Measure one enlarged image after rounding to 8 bits.

    Args:
        restored: image of the network, in [0, 1].
        bicubic: image of bicubic interpolation, in [0, 1].
        truth: original image, in [0, 1].
        border: pixels on each side that are not measured.

    Returns:
        '[bicubic_]error_SPACE', the mean squared error, and '[bicubic_]ssim_SPACE', the SSIM,
        for SPACE y (luma) and, in colour images, rgb. There is no SSIM if the image without its
        border is smaller than the window of SSIM. 'strip', uint8, shows the central 96
        pixels of bicubic image, network and truth, side by side.
    """
    restored = jnp.round(255 * restored) / 255
    bicubic = jnp.round(255 * bicubic) / 255
    spaces = {'y': restoration.luma}
    if truth.shape[-1] == 3:
        spaces['rgb'] = _unchanged
    record = {}
    for prefix, image in (('', restored), ('bicubic_', bicubic)):
        for space, convert in spaces.items():
            pair = (convert(image), convert(truth))
            error = restoration.squared_error(*pair, border)
            record[f'{prefix}error_{space}'] = error
            if _window_fits(min(truth.shape[:2]), border):
                record[f'{prefix}ssim_{space}'] = restoration.ssim(*pair, border)
    strip = jnp.concatenate([_centre(image) for image in (bicubic, restored, truth)], 1)
    return {**record, 'strip': jnp.round(255 * strip).astype(jnp.uint8)}


def names(
    crop: int, channels: int, border: int, pooled_classes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names of the metrics of `summarize`.

    The names include classes without an example in the split.

    Args:
        crop: side of the images, in pixels.
        channels: 1 or 3.
        border: pixels on each side that are not measured.
        pooled_classes: names of the classes if PSNR is pooled by class, else empty.
    """
    measures = ['psnr', 'bicubic']
    if _window_fits(crop, border):
        measures += ['ssim', 'bicubic_ssim']
    of_luma = [f'{measure}_y' for measure in measures]
    of_rgb = []
    if channels == 3:
        of_rgb = [f'{measure}_rgb' for measure in measures]
    of_classes = [f'psnr_y/{name}' for name in pooled_classes]
    return ('gain_y', *of_luma, *of_rgb, *of_classes)


def summarize(pool: str, class_names: Sequence[str], records: Records) -> MetricValues:
    """Compute PSNR in dB and SSIM, without the border.

    Args:
        pool: 'image' for the mean PSNR of images. 'label' averages the squared errors of each
            class first (the tiles of one photograph), then the PSNR of classes. SSIM, too, is
            averaged within classes first.
        class_names: names of the classes, in the order of the labels.
        records: records of `compare`, with 'index' and 'label'.

    Returns:
        psnr_SPACE, ssim_SPACE, bicubic_SPACE (a PSNR) and bicubic_ssim_SPACE for SPACE y
        (luma) and, for colour images, rgb. gain_y is psnr_y - bicubic_y. With pool 'label' also
        psnr_y/CLASS, for classes with examples. The PSNR of an image or class is at most 100 dB.
    """
    pool_key = 'index'
    if pool == 'label':
        pool_key = 'label'
    pool_names, pools = np.unique(records[pool_key], return_inverse=True)
    counts = np.bincount(pools)

    def average(name):
        return np.bincount(pools, records[name].astype(np.float64)) / counts

    def psnr(name):
        return -10 * np.log10(np.maximum(average(name), 1e-10))

    values = {}
    for space in ('y', 'rgb'):
        if f'error_{space}' in records:
            values[f'psnr_{space}'] = psnr(f'error_{space}')
            values[f'bicubic_{space}'] = psnr(f'bicubic_error_{space}')
        for prefix in ('', 'bicubic_'):
            name = f'{prefix}ssim_{space}'
            if name in records:
                values[name] = average(name)
    means = {name: float(of_pools.mean()) for name, of_pools in values.items()}
    metrics = {
        'psnr_y': means['psnr_y'],
        'gain_y': means['psnr_y'] - means['bicubic_y'],
        **means,
    }
    if pool == 'label':
        for label, value in zip(pool_names, values['psnr_y'], strict=True):
            metrics[f'psnr_y/{class_names[label]}'] = float(value)
    return metrics


def draw_strips(records: Records, example: ReadExample) -> Pictures:
    """Draw up to 8 images of a split, evenly spaced.

    Args:
        records: records of `compare`, with 'strip'.
        example: not used.

    Returns:
        {'strips': the picture}. For each image, it shows the centres of bicubic interpolation,
        network and original, from left to right.
    """
    rows = evenly_spaced(len(records['strip']), 8)
    strips = list(records['strip'][rows])
    return {'strips': figures.grid(strips, columns=2)}


def _window_fits(side: int, border: int) -> bool:
    return side >= restoration.WINDOW + 2 * border


def _unchanged(image):
    return image


def _centre(image):
    side = min(STRIP_SIDE, image.shape[0])
    start = (image.shape[0] - side) // 2
    return image[start : start + side, start : start + side]
