"""A list of all models, their variants and their numbers of parameters."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import models
from jaxvision.core.errors import unknown
from jaxvision.core.registry import resolve

Inputs = tuple[jax.ShapeDtypeStruct, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How models of one kind are built and called for the list.

    Attributes:
        purpose: the input of the model, or its task.
        needs: keyword arguments for `make`, such as the number of classes.
        inputs: for each network that `make` returns, the shapes and dtypes of its inputs,
            with a batch of one.
    """

    purpose: str
    needs: dict[str, Any]
    inputs: tuple[Inputs, ...]


@dataclasses.dataclass(frozen=True)
class Description:
    """One line of the list.

    Attributes:
        name: of the model.
        variant: of the model.
        purpose: the input of the model, or its task.
        needs: keyword arguments with which the model was built.
        parameters: the number of parameters, of a GAN's two networks together.
    """

    name: str
    variant: str
    purpose: str
    needs: dict[str, Any]
    parameters: int


def variants(name: str) -> tuple[str, ...]:
    """Return the documented variants of a model, or () if its module lists none.

    Some models accept more than these, such as any list of widths, any patch or any
    backbone.

    Raises:
        UserError: There is no such model.
    """
    module = resolve('models', name)
    return tuple(getattr(module, 'VARIANTS', ()))


def describe(name: str, variant: str) -> Description:
    """Describe one variant of a model, and count its parameters without computing any.

    A backbone is counted for the 224-pixel images and the 1,000 classes of ImageNet, any other
    model for the description's `needs`. For a GAN, both networks count. Batch statistics are
    no parameters.

    Args:
        name: one of `models.NAMES`.
        variant: one of `variants(name)`, or another one that the model's `make` accepts.

    Raises:
        UserError: There is no such model in `models.NAMES`, or it has no such variant.
    """
    if name not in models.NAMES:
        raise unknown('there is no model', name, models.NAMES)
    kind = _kind(name, variant)
    networks = resolve('models', name).make(variant, **kind.needs)
    if not isinstance(networks, tuple):
        networks = (networks,)
    parameters = 0
    for network, inputs in zip(networks, kind.inputs, strict=True):
        parameters += _count(network, inputs)
    return Description(name, variant, kind.purpose, kind.needs, parameters)


def _count(network: Any, inputs: Inputs) -> int:
    """Number of a network's parameters."""
    variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    parameters = jax.tree.leaves(variables['params'])
    return sum(math.prod(leaf.shape) for leaf in parameters)


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """The shape of a batch of one."""
    return jax.ShapeDtypeStruct((1, *shape), dtype)


def _video(*shape: int) -> Inputs:
    """The shapes of a video of 8 frames and of its mask."""
    return _array(8, *shape), _array(8, dtype=bool)


def _kind(name: str, variant: str) -> Kind:
    if name in models.BY_FOLDER['backbones']:
        image = _array(224, 224, 3)
        return Kind('images', dict(num_classes=1000), ((image,),))
    if name in models.BY_FOLDER['detectors']:
        image = _array(224, 224, 3)
        return Kind('detection', dict(num_classes=80), ((image,),))
    if name in models.BY_FOLDER['segmenters']:
        image = _array(224, 224, 3)
        # The classes of VOC or of ADE20K.
        num_classes = 150 if name == 'segformer' else 21
        return Kind('segmentation', dict(num_classes=num_classes), ((image,),))
    if name in ('conv_lstm_net', 'frame_average', 'lrcn'):
        return Kind('videos', dict(num_classes=10), (_video(64, 64, 3),))
    if name == 'frame_scorer':
        # Without a variant its input is features.
        frame = (64,)
        if variant:
            frame = (64, 64, 3)
        return Kind('frames of videos', {}, (_video(*frame),))
    if name == 'forecaster':
        needs = dict(frames=10, image_shape=(64, 64, 1))
        past = _array(10, 64, 64, 1)
        return Kind('future of videos', needs, ((past,),))
    if name == 'edsr':
        needs = dict(scale=2, channels=3)
        image = _array(48, 48, 3)
        return Kind('super-resolution', needs, ((image,),))
    if name == 'unet':
        image = _array(64, 64, 3)
        hole = _array(64, 64, 1, dtype=bool)
        return Kind('inpainting', dict(channels=3), ((image, hole),))
    return _gan(name, variant)


def _gan(name: str, variant: str) -> Kind:
    """The kind of a GAN, for images of the size that its variant generates."""
    stages = variant.count('-') + 1
    sides = {'dcgan': 4 * 2**stages, 'r3gan': 4 * 2 ** (stages - 1), 'sngan': 32}
    side = sides[name]
    needs = dict(num_classes=10, image_shape=(side, side, 3))
    label = _array(dtype=jnp.int32)
    generator_inputs = (_array(64), label)
    discriminator_inputs = (_array(side, side, 3), label)
    return Kind('generation', needs, (generator_inputs, discriminator_inputs))
