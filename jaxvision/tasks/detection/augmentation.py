"""Random changes of images and their boxes on the device."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.image import color

# One image.
Image = Float[Array, 'h w c']

# The boxes of each image.
BatchOfBoxes = Float[Array, 'b m 4']

# The boxes of an image.
Boxes = Float[Array, 'm 4']


def apply(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Float[Array, 'b h w c'],
    boxes: BatchOfBoxes,
) -> tuple[Float[Array, 'b h w c'], BatchOfBoxes]:
    """Flip images with their boxes and change colours, each example by its own key.

    Args:
        options: the fields of `task.augment`, of which 'flip' and 'color' are used.
            Each is off if it is 0 or False.
        key: of the step.
        index: row of each example in its split, from which its key is made.
        images: in [0, 1].
        boxes: edges in pixels; padding may move.

    Returns:
        (images in [0, 1], boxes). Other arrays of the boxes need no change.
    """

    def example_keys(name: str) -> Key[Array, 'b']:
        return keys.per_example(keys.stream(key, name), index)

    if options.flip:
        is_flipped = flips(key, index)
        images, boxes = jax.vmap(_flipped)(is_flipped, images, boxes)
    if options.color:
        jitter = functools.partial(color.random_jitter, strength=options.color)
        images = jax.vmap(jitter)(example_keys('color'), images)
    return images, boxes


def flips(key: PRNGKeyArray, index: Int[Array, 'b']) -> Bool[Array, 'b']:
    """Whether `apply` mirrors each example, if 'flip' is on.

    Args:
        key: of the step.
        index: row of each example in its split.
    """
    return jax.vmap(jax.random.bernoulli)(
        keys.per_example(keys.stream(key, 'flip'), index)
    )


def apply_to_masks(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    box_masks: UInt8[Array, 'b o m m'],
) -> UInt8[Array, 'b o m m']:
    """Mirror the masks inside boxes as `apply` mirrors their images.

    Args:
        options: the fields of `task.augment`, of which 'flip' is used.
        key: of the step.
        index: row of each example in its split.
        box_masks: see `box_masks`.
    """
    if not options.flip:
        return box_masks
    is_flipped = flips(key, index)[:, None, None, None]
    return jnp.where(is_flipped, box_masks[..., ::-1], box_masks)


def _flipped(
    is_flipped: Bool[Array, ''], image: Image, boxes: Boxes
) -> tuple[Image, Boxes]:
    ymin, xmin, ymax, xmax = boxes.T
    width = image.shape[1]
    flipped = jnp.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)
    return (
        jnp.where(is_flipped, image[:, ::-1], image),
        jnp.where(is_flipped, flipped, boxes),
    )
