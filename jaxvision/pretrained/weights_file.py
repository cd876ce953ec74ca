"""Pretrained weights in a file, as leaves of one of our models.

`identify` reads names and shapes alone, `read` reads the numbers too. Another family is a file
in families/, with its FORMATS, and an entry in FAMILIES.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.types import Values
from jaxvision.pretrained import known_files
from jaxvision.pretrained.convert import Format, Leaves, Tensors
from jaxvision.pretrained.families import (
    convnext,
    efficientnet,
    mobilenet_v2,
    resnet,
    vgg,
    vit,
)
from jaxvision.pretrained.formats import tensor_file
from jaxvision.pretrained.recipes import RECIPES, Recipe

# By the name of our model.
FAMILIES = {
    'resnet': resnet,
    'vgg': vgg,
    'vit': vit,
    'mobilenet_v2': mobilenet_v2,
    'efficientnet': efficientnet,
    'convnext': convnext,
}
# What training scripts put before the names of a network, one or several in any order.
_WRAPPERS = re.compile(r'(?:(?:model|module|_orig_mod)\.)*')
# Tensors of wrappers that count steps, and are no weights.
_COUNTERS = ('n_averaged',)
_LARGEST_IMAGE = 4096  # pixels


class Identity(NamedTuple):
    """What a file of weights is, apart from its numbers.

    Attributes:
        format: how the weights are published, and by whom.
        recipe: how their images are preprocessed.
        options: of our model that computes the same as the publisher's.
        image_size: side of the images that the weights are for, pixels; 0: any.
    """

    format: Format
    recipe: Recipe
    options: Values
    image_size: int


class PretrainedWeights(NamedTuple):
    """The numbers of a file by the names of our model, and what the file is."""

    leaves: Leaves
    identity: Identity


def identify(path: str | os.PathLike, family: str) -> Identity:
    """Find out what a file of weights is, without reading its numbers.

    Args:
        path: the file.
        family: name of the model that the weights are for, as 'resnet'.

    Raises:
        UserError: As `read`, but damage of the numbers goes unseen.
    """
    formats = _formats(path, family)
    # All elements of an array without strides are one number, so that it takes no memory.
    blank = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in tensor_file.read_shapes(path).items()
    }
    return _interpret(Path(path), family, formats, blank).identity


def read(path: str | os.PathLike, family: str) -> PretrainedWeights:
    """Read the weights of a model from a file.

    Args:
        path: the file.
        family: name of the model that the weights are for, as 'resnet'.

    Raises:
        UserError: The file is damaged, or of no format in which the family is published.
    """
    formats = _formats(path, family)
    return _interpret(Path(path), family, formats, tensor_file.read(path))


def _formats(path: str | os.PathLike, family: str) -> tuple[Format, ...]:
    if family not in FAMILIES:
        raise unknown(
            f'{path}: expected the name of a model that has pretrained weights, not',
            family,
            FAMILIES,
        )
    return FAMILIES[family].FORMATS


def _interpret(
    path: Path, family: str, formats: tuple[Format, ...], tensors: Tensors
) -> PretrainedWeights:
    """Convert tensors by the format that they are of, and tell what the file is."""
    tensors = _unwrapped(path, formats, tensors)
    format = next((each for each in formats if each.marker in tensors), None)
    if not format:
        known = ' or '.join(f'{each.publisher} ({each.marker})' for each in formats)
        raise UserError(
            f'{path}: expected {family} as published by {known}, but its tensors are '
            f'{", ".join(name[:80] for name in list(tensors)[:3])}, ... '
            'Check the name of the model'
        )
    try:
        leaves = format.convert(tensors)
        identity = _identity(path, format, leaves)
    # A file may give any shapes to tensors of these names.
    except (ValueError, TypeError, LookupError, MemoryError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'{path}: expected the tensors of {family}, but their shapes do not fit: '
            f'{reason}'
        ) from None
    if identity.image_size > _LARGEST_IMAGE:
        raise UserError(
            f'{path}: expected images of at most {_LARGEST_IMAGE} pixels a side, but its '
            f'position embeddings are for {identity.image_size}'
        )
    return PretrainedWeights(leaves, identity)


def _identity(path: Path, format: Format, leaves: Leaves) -> Identity:
    """What the file is by its tensors, or by its name where that tells more."""
    recipe = format.recipe(leaves) if callable(format.recipe) else format.recipe
    options = format.options(leaves)
    image_size = format.image_size(leaves)
    known = known_files.find(path)
    if known:
        recipe = known.recipe
        options = options | known.options
        image_size = known.image_size or image_size
    return Identity(format, RECIPES[recipe], options, image_size)


def _unwrapped(path: Path, formats: tuple[Format, ...], tensors: Tensors) -> Tensors:
    """Leave out what training scripts put before names, such as '_orig_mod.module.'.

    The marker of a format tells what stands before it. A tensor without it, which lies
    beside the network, keeps its name.

    Args:
        path: the file, for the message.
        formats: those that the file may have.
        tensors: {name: tensor} of the file.

    Raises:
        UserError: The file holds several networks.
    """
    # big_vision keeps the optimizer's state beside the parameters.
    parameters = {
        name.removeprefix('params/'): tensor
        for name, tensor in tensors.items()
        if name.startswith('params/')
    }
    tensors = parameters or tensors
    markers = {each.marker for each in formats}
    prefixes = {
        prefix
        for name, prefix in ((name, _wrappers(name)) for name in tensors)
        if name.removeprefix(prefix) in markers
    }
    if len(prefixes) > 1:
        listed = ', '.join(repr(prefix) for prefix in sorted(prefixes))
        raise UserError(
            f'{path}: expected one network, but its tensors are of {len(prefixes)}, whose '
            f'names begin with {listed}. Save one of them alone'
        )
    prefix = next(iter(prefixes), '')
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name not in _COUNTERS
    }


def _wrappers(name: str) -> str:
    match = _WRAPPERS.match(name)
    return match[0] if match else ''
