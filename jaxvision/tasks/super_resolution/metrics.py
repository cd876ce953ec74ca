"""How near enlarged images are to the truth, beside bicubic interpolation."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.core.task import (
    Pictures,
)
from jaxvision.core.types import Batch, Example, Records
from jaxvision.metrics import restoration
from jaxvision.viz import figures

STRIP_SIDE = 96  # pixels of an image that a strip shows at most


def compare(
    restored: Float[Array, 'h w c'],
    bicubic: Float[Array, 'h w c'],
    truth: Float[Array, 'h w c'],
    border: int,
) -> Batch:
    """Measure one enlarged image in 8 bits, as a file holds it.

    Args:
        restored: the network's image, in [0, 1].
        bicubic: the image of bicubic interpolation, in [0, 1].
        truth: in [0, 1].
        border: pixels on each side that are left out of the errors.

    Returns:
        The squared error and the SSIM of both images, on luma and, of colour images, on
        RGB; no SSIM where no window fits. 'strip' shows the middle of the three images.
    """
    restored, bicubic = (jnp.round(255 * image) / 255 for image in (restored, bicubic))
    spaces = {'y': restoration.luma}
    if truth.shape[-1] == 3:
        spaces['rgb'] = _unchanged
    record = {}
    for prefix, image in (('', restored), ('bicubic_', bicubic)):
        for space, convert in spaces.items():
            pair = convert(image), convert(truth)
            error = restoration.squared_error(*pair, border)
            record[f'{prefix}error_{space}'] = error
            if _window_fits(min(truth.shape[:2]), border):
                record[f'{prefix}ssim_{space}'] = restoration.ssim(*pair, border)
    strip = jnp.concatenate([_middle(image) for image in (bicubic, restored, truth)], 1)
    return {**record, 'strip': jnp.round(255 * strip).astype(jnp.uint8)}


def names(
    crop: int, channels: int, border: int, pooled_classes: Sequence[str] = ()
) -> tuple[str, ...]:
    """The metrics that `summarize` returns, and those of classes without an example.

    Args:
        crop: side of the images, pixels.
        channels: 1 or 3.
        border: as `compare` takes it.
        pooled_classes: the class names where PSNR is pooled by class.
    """
    measures = ['psnr', 'bicubic']
    if _window_fits(crop, border):
        measures += ['ssim', 'bicubic_ssim']
    spaces = ('y', 'rgb') if channels == 3 else ('y',)
    of_spaces = [f'{measure}_{space}' for space in spaces for measure in measures]
    of_classes = [f'psnr_y/{name}' for name in pooled_classes]
    return ('gain_y', *of_spaces, *of_classes)


def summarize(
    pool: str, class_names: Sequence[str], records: Records
) -> dict[str, float]:
    """Compute PSNR in dB and SSIM, without the border.

    Args:
        pool: 'image': the mean over images. 'label': the squared errors of a class are
            averaged first, as those of one photograph's tiles, and classes count alike.
        class_names: names of the classes, in the order of the labels.
        records: as `compare` makes them, with 'index' and 'label'.

    Returns:
        psnr and ssim on luma ('_y') and RGB ('_rgb'); 'bicubic' names those of bicubic
        interpolation; gain_y is the PSNR on luma minus bicubic's. With pool 'label' also
        psnr_y/CLASS. No image or class counts more than 100 dB.
    """
    pool_names, pools = np.unique(
        records['label' if pool == 'label' else 'index'], return_inverse=True
    )

    def average(name):
        return np.bincount(pools, records[name].astype(np.float64)) / np.bincount(pools)

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
    means = {name: float(each.mean()) for name, each in values.items()}
    metrics = {
        'psnr_y': means['psnr_y'],
        'gain_y': means['psnr_y'] - means['bicubic_y'],
        **means,
    }
    if pool == 'label':
        for label, value in zip(pool_names, values['psnr_y'], strict=True):
            metrics[f'psnr_y/{class_names[label]}'] = float(value)
    return metrics


def draw_strips(records: Records, example: Callable[[int], Example]) -> Pictures:
    """Draw a few images: bicubic, restored, truth."""
    some = np.unique(np.linspace(0, len(records['strip']) - 1, 8).astype(int))
    return {'strips': figures.grid(list(records['strip'][some]), columns=2)}


def _window_fits(side: int, border: int) -> bool:
    return side >= restoration.WINDOW + 2 * border


def _unchanged(image):
    return image


def _middle(image):
    side = min(STRIP_SIDE, image.shape[0])
    start = (image.shape[0] - side) // 2
    return image[start : start + side, start : start + side]
