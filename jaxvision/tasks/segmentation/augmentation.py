"""Random changes of images and their label maps on the device."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, PRNGKeyArray

from jaxvision.core import keys
from jaxvision.core.fields import Config
from jaxvision.image import color

Images = Float[Array, 'b h w c']
# Maps of one image by name, which move with it.
Maps = dict[str, Num[Array, '...']]


def apply(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Images,
    maps: Maps,
) -> tuple[Images, Maps]:
    """Flip and turn images with their maps and change colours, each example by its own key.

    Args:
        options: the fields of `task.augment`, of which 'flip', 'turn' and 'color' are
            used. Each is off if it is 0 or False.
        key: of the step.
        index: row of each example in its split, from which its key is made.
        images: in [0, 1].
        maps: [B, H, W] by name.

    Returns:
        (images in [0, 1], maps).
    """

    def example_keys(name: str) -> Key[Array, 'b']:
        return keys.per_example(keys.stream(key, name), index)

    moved = {**maps, 'image': images}
    if options.flip or options.turn:
        moved = jax.vmap(_random_flip)(example_keys('flip'), moved)
    if options.turn:
        moved = jax.vmap(_random_turn)(example_keys('turn'), moved)
    images = moved.pop('image')
    if options.color:
        jitter = functools.partial(color.random_jitter, strength=options.color)
        images = jax.vmap(jitter)(example_keys('color'), images)
    return images, moved


def _random_flip(key: PRNGKeyArray, maps: Maps) -> Maps:
    is_flipped = jax.random.bernoulli(key)
    return {name: jnp.where(is_flipped, x[:, ::-1], x) for name, x in maps.items()}


def _random_turn(key: PRNGKeyArray, maps: Maps) -> Maps:
    """Turn maps by a multiple of 90 degrees, or of 180 if they are not square."""
    height, width = maps['image'].shape[:2]
    quarters = range(0, 4, 1 if height == width else 2)
    choice = jax.random.randint(key, (), 0, len(quarters))
    turned = {}
    for name, x in maps.items():
        turns = [functools.partial(jnp.rot90, k=number) for number in quarters]
        turned[name] = jax.lax.switch(choice, turns, x)
    return turned
