"""A trained generator's images as training data (`data.synthetic`)."""

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

BATCH = 100


def _check_rows(data: Config, run: Path) -> None:
    """Raise a UserError if the generator learned from images that are held out here."""
    trained = read_config(run).data
    fields = ('source', 'train_split', 'validation', 'test_split')
    differ = [name for name in fields if trained[name] != data[name]]
    if data.validation not in ('', 'none') and differ:
        settings = ', '.join(f'data.{name}={trained[name]!r}' for name in differ)
        raise UserError(
            f'data.synthetic={run}: the generator was trained with {settings}, so it may '
            f'have seen images that data.validation={data.validation} holds out. Train '
            'one with the same fields'
        )


def mixed(data: Config, real: Source) -> Mixed:
    """Add generated images to real examples, of all classes in turn.

    Raises:
        UserError: `data.synthetic` is no run, or generates no images of these classes.
    """
    if not Path(data.synthetic, 'config.json').exists():
        raise UserError(f'data.synthetic={data.synthetic} is no run')
    _check_rows(data, Path(data.synthetic))
    task, variables, spec = saved.load(Path(data.synthetic))
    inputs = spec.inputs
    names = list(real.info.class_names)
    if set(inputs) != {'latent', 'label'} or list(spec.class_names) != names:
        raise UserError(
            f'data.synthetic={data.synthetic} does not generate images of the classes '
            f'{", ".join(names[:5])} ... on demand'
        )
    generate = jax.jit(
        lambda variables, inputs: task.predict(variables, inputs)['image']
    )
    latents = (
        keys.host(0, 'synthetic')
        .standard_normal((data.synthetic_examples, *inputs['latent'].shape))
        .astype(np.float32)
    )
    labels = np.arange(len(latents), dtype=np.int32) % len(names)
    images = [
        generate(
            variables,
            {'latent': latents[i : i + BATCH], 'label': labels[i : i + BATCH]},
        )
        for i in range(0, len(latents), BATCH)
    ]
    images = _cropped(
        np.concatenate(jax.device_get(images)), real.info.image_shape, data.synthetic
    )
    return Mixed(
        cast(LabelledSource, real),
        np.round(images).astype(np.uint8),
        labels,
        data.synthetic_fraction,
        content_hash(variables),
    )


def _cropped(images: np.ndarray, shape: tuple, name: str) -> np.ndarray:
    """Cut off the padding that brought images of `shape` to the generator's size."""
    height, width, channels = shape
    fits = height and width and images.shape[1] >= height and images.shape[2] >= width
    if not fits or images.shape[3] != channels:
        raise UserError(
            f'data.synthetic={name} makes images of {list(images.shape[1:])}, and the '
            f'real ones are {list(shape)}'
        )
    top = (images.shape[1] - height) // 2
    left = (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]
