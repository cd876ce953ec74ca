"""Images of a trained generator as training data (`data.synthetic`)."""

from pathlib import Path
from typing import cast

import jax
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.trees import content_hash
from jaxvision.data.protocol import LabelledSource, Source
from jaxvision.data.wrappers import Mixed
from jaxvision.train import saved
from jaxvision.train.saved import read_config

# Images per call of the generator.
BATCH = 100


def mixed(data: Config, real: Source) -> Mixed:
    """Add generated images to real examples. Their labels cycle through the classes.

    The images are generated in this call, always the same ones, and kept in memory.

    Args:
        data: the config group `data`, with the run folder of the GAN as `synthetic`.
        real: the labelled training split.

    Returns:
        A source with the real examples, followed by `data.synthetic_examples` generated
        ones. The real ones are repeated, or cut off, so that the generated ones are the
        fraction `data.synthetic_fraction` of all. At least one real example stays.

    Raises:
        UserError: `data.synthetic` is no run, generates no images of these classes and
            this size, or may have been trained on images that are held out here.
    """
    folder = Path(data.synthetic)
    if not (folder / 'config.json').exists():
        raise UserError(
            f'data.synthetic={data.synthetic}: expected the folder of a run. Check the path'
        )
    _check_splits(data, folder)
    class_names = list(real.info.class_names)
    task, variables, spec = saved.load(folder)
    is_conditional = set(spec.inputs) == {'latent', 'label'}
    if not is_conditional or list(spec.class_names) != class_names:
        raise UserError(
            f'data.synthetic={data.synthetic}: expected a conditional GAN of the classes '
            f'{", ".join(class_names[:5])} ... Train one on this dataset'
        )
    shape = (data.synthetic_examples, *spec.inputs['latent'].shape)
    latents = keys.host(0, 'synthetic').standard_normal(shape).astype(np.float32)
    labels = np.arange(len(latents), dtype=np.int32) % len(class_names)

    @jax.jit
    def generate(variables, inputs):
        return task.predict(variables, inputs)['image']

    batches = []
    for start in range(0, len(latents), BATCH):
        rows = slice(start, start + BATCH)
        batch = {'latent': latents[rows], 'label': labels[rows]}
        batches.append(generate(variables, batch))
    images = np.concatenate(jax.device_get(batches))
    images = _cropped(images, real.info.image_shape, data.synthetic)
    return Mixed(
        cast(LabelledSource, real),
        np.round(images).astype(np.uint8),
        labels,
        data.synthetic_fraction,
        content_hash(variables),
    )


def _check_splits(data: Config, folder: Path) -> None:
    """Check that the generator was not trained on images that are held out here.

    Raises:
        UserError: The generator may have seen held-out images.
    """
    if data.validation in ('', 'none'):
        return
    trained = read_config(folder).data
    fields = ('source', 'train_split', 'validation', 'test_split')
    different = [name for name in fields if trained[name] != data[name]]
    if different:
        settings = ', '.join(f'data.{name}={trained[name]!r}' for name in different)
        raise UserError(
            f'data.synthetic={folder}: the generator was trained with {settings}, so it may '
            f'have seen images that data.validation={data.validation} holds out. Train a '
            'generator with the same fields'
        )


def _cropped(images: np.ndarray, shape: tuple, name: str) -> np.ndarray:
    """Remove the padding with which images of `shape` were brought to the generator's size."""
    height, width, channels = shape
    generated_height, generated_width, generated_channels = images.shape[1:]
    if not height or not width:
        raise UserError(
            f'data.synthetic={name}: expected a dataset that declares one size for all of its '
            'images, and this one does not. Leave data.synthetic empty'
        )
    is_padded = (
        generated_height >= height
        and generated_width >= width
        and generated_channels == channels
    )
    if not is_padded:
        raise UserError(
            f'data.synthetic={name}: expected images of shape {list(shape)}, like the real '
            f'ones, but the generator makes {list(images.shape[1:])}. Train one on this '
            'dataset'
        )
    top = (generated_height - height) // 2
    left = (generated_width - width) // 2
    return images[:, top : top + height, left : left + width]
