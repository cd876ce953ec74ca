"""What there is to choose from: the variants of each model, and their numbers of parameters."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import models
from jaxvision.core.registry import resolve

Inputs = tuple[jax.ShapeDtypeStruct, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What models of one kind are built from in the list, and what such a model is given."""

    purpose: str
    needs: dict[str, Any]
    inputs: tuple[Inputs, ...]  # of each network that `make` returns


@dataclasses.dataclass(frozen=True)
class Description:
    """One line of the list: a model, one of its variants, and the number of its parameters."""

    name: str
    variant: str
    purpose: str
    needs: dict[str, Any]
    parameters: int


def variants(name: str) -> tuple[str, ...]:
    """The documented variants of a model: `VARIANTS` of its module, () where it has none.

    Raises:
        UserError: There is no such model.
    """
    return tuple(getattr(resolve('models', name), 'VARIANTS', ()))


def describe(name: str, variant: str) -> Description:
    """Describe one variant of a model of `models.NAMES`; nothing is computed but shapes.

    The number of parameters is that of a model for 1,000 classes of 224-pixel images, or for what
    else the description's `needs` say. Of GANs it counts both players.

    Args:
        name: one of `models.NAMES`.
        variant: one of `variants(name)`, or another that the model's `make` takes.

    Returns:
        Its description.

    Raises:
        UserError: There is no such model or variant.
    """
    kind = _kind(name, variant)
    made = resolve('models', name).make(variant, **kind.needs)
    networks = made if isinstance(made, tuple) else (made,)
    parameters = sum(
        _count(network, inputs)
        for network, inputs in zip(networks, kind.inputs, strict=True)
    )
    return Description(name, variant, kind.purpose, kind.needs, parameters)


def _count(network: Any, inputs: Inputs) -> int:
    variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), dtype)


def _kind(name: str, variant: str) -> Kind:
    if name in models.BY_FOLDER['backbones']:
        return Kind('images', dict(num_classes=1000), ((_array(224, 224, 3),),))
    if name in models.BY_FOLDER['detectors']:
        return Kind('detection', dict(num_classes=80), ((_array(224, 224, 3),),))
    if name in ('conv_lstm_net', 'frame_average', 'lrcn'):
        return Kind('videos', dict(num_classes=10), (_video(64, 64, 3),))
    if name == 'frame_scorer':
        shape = (64, 64, 3) if variant else (64,)
        return Kind('frames of videos', {}, (_video(*shape),))
    if name == 'forecaster':
        needs = dict(frames=10, image_shape=(64, 64, 1))
        return Kind('future of videos', needs, ((_array(10, 64, 64, 1),),))
    if name == 'edsr':
        needs = dict(scale=2, channels=3)
        return Kind('super-resolution', needs, ((_array(48, 48, 3),),))
    if name == 'unet':
        given = _array(64, 64, 3), _array(64, 64, 1, dtype=bool)
        return Kind('inpainting', dict(channels=3), (given,))
    return _gan(name, variant)


def _video(*shape: int) -> Inputs:
    return _array(8, *shape), _array(8, dtype=bool)


def _gan(name: str, variant: str) -> Kind:
    """That of the size which the variant is for."""
    stages = variant.count('-') + 1
    side = {'dcgan': 4 * 2**stages, 'r3gan': 4 * 2 ** (stages - 1), 'sngan': 32}[name]
    needs = dict(num_classes=10, image_shape=(side, side, 3))
    label = _array(dtype=jnp.int32)
    players = (_array(64), label), (_array(side, side, 3), label)
    return Kind('generation', needs, players)
