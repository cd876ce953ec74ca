"""Read pretrained weights from a file as leaves of one of our models.

`identify` reads only names and shapes, and `read` also reads the numbers. To add a family, add a
file with FORMATS to families/, and an entry to FAMILIES.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.types import Values
from jaxvision.pretrained import known_files
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors
from jaxvision.pretrained.families import (
    convnext,
    deeplab,
    efficientnet,
    faster_rcnn,
    fcn,
    mask_rcnn,
    mit,
    mobilenet_v2,
    resnet,
    retinanet,
    rt_detr,
    segformer,
    vgg,
    vit,
    yolox,
)
from jaxvision.pretrained.formats import tensor_file
from jaxvision.pretrained.recipes import RECIPES, Recipe

# {name of our model: module}
FAMILIES = {
    'resnet': resnet,
    'vgg': vgg,
    'vit': vit,
    'mobilenet_v2': mobilenet_v2,
    'efficientnet': efficientnet,
    'convnext': convnext,
    'yolox': yolox,
    'faster_rcnn': faster_rcnn,
    'mask_rcnn': mask_rcnn,
    'retinanet': retinanet,
    'rt_detr': rt_detr,
    'fcn': fcn,
    'deeplab': deeplab,
    'mit': mit,
    'segformer': segformer,
}
# Prefixes that training scripts put before the names of a network, in any order.
_WRAPPERS = re.compile(r'(?:(?:model|module|_orig_mod)\.)*')
# Tensors of wrappers that count steps and are no weights.
_COUNTERS = ('n_averaged',)
# Largest side of an image in pixels.
_LARGEST_IMAGE = 4096


class Identity(NamedTuple):
    """The description of a weights file, without its numbers.

    Attributes:
        format: the format of the file.
        recipe: the preprocessing of its images. Some published files are recognised
            only by their file name, see `known_files`.
        options: the options with which our model computes the same outputs.
        image_size: side of the images in pixels; 0: any.
        classes: the classes of the outputs; empty: unknown.
    """

    format: Format
    recipe: Recipe
    options: Values
    image_size: int
    classes: OutputClasses = OutputClasses()


class PretrainedWeights(NamedTuple):
    """The weights in a file.

    Attributes:
        leaves: {name: array}, with our name and layout if our model has such a leaf,
            else as published.
        identity: the description of the file.
    """

    leaves: Leaves
    identity: Identity


def identify(path: str | os.PathLike, family: str) -> Identity:
    """Identify a weights file without reading its numbers.

    Args:
        path: the file.
        family: name of our model, such as 'resnet'.

    Raises:
        UserError: The file is missing or of no known format of the family, its header
            is damaged, or no pretrained weights are known for the family. Or the file
            holds several networks, or tensors whose shapes do not fit the family.
    """
    formats = _formats(path, family)
    # Arrays without strides repeat one number, so they need no memory.
    blank = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in tensor_file.read_shapes(path).items()
    }
    return _interpret(Path(path), family, formats, blank).identity


def read(path: str | os.PathLike, family: str) -> PretrainedWeights:
    """Read the weights of a model from a file.

    Args:
        path: the file.
        family: name of our model, such as 'resnet'.

    Returns:
        The leaves with our names and layouts, and the description of the file. A tensor
        without a counterpart in our model keeps its published name. Prefixes of
        training scripts, such as 'module.', are removed before.

    Raises:
        UserError: The file is missing, damaged or of no known format of the family, or
            its numbers are not finite. Or no weights are known for the family. Or the
            file holds several networks, or tensors whose shapes do not fit the family.
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
    """Find the format of tensors, convert them, and describe the file."""
    tensors = _unwrapped(path, formats, tensors)
    format = _format_of(path, family, formats, tensors)
    try:
        leaves = format.convert(tensors)
        identity = _identity(path, format, leaves)
    # A file may have tensors of these names with any shapes.
    except (ValueError, TypeError, LookupError, MemoryError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'{path}: expected the tensors of {family}, but their shapes do not fit: '
            f'{reason}. Check the name of the model'
        ) from None
    if identity.image_size > _LARGEST_IMAGE:
        raise UserError(
            f'{path}: expected images with sides of at most {_LARGEST_IMAGE} pixels, but its '
            f'position embeddings are for {identity.image_size}. Download the file again'
        )
    return PretrainedWeights(leaves, identity)


def _format_of(
    path: Path, family: str, formats: tuple[Format, ...], tensors: Tensors
) -> Format:
    for format in formats:
        if format.marker in tensors:
            return format
    known = ' or '.join(f'{format.publisher} ({format.marker})' for format in formats)
    first_names = ', '.join(name[:80] for name in list(tensors)[:3])
    raise UserError(
        f'{path}: expected {family} as published by {known}, but its tensors are '
        f'{first_names}, ... Check the name of the model'
    )


def _identity(path: Path, format: Format, leaves: Leaves) -> Identity:
    """Describe a file by its tensors, or by its name if it is a known file."""
    recipe = format.recipe
    if callable(recipe):
        recipe = recipe(leaves)
    options = format.options(leaves)
    image_size = format.image_size(leaves)
    known = known_files.find(path)
    if known:
        recipe = known.recipe
        options = {**options, **known.options}
        image_size = known.image_size or image_size
    return Identity(
        format, RECIPES[recipe], options, image_size, format.classes(leaves)
    )


def _unwrapped(path: Path, formats: tuple[Format, ...], tensors: Tensors) -> Tensors:
    """Remove prefixes of training scripts from names, such as '_orig_mod.module.'.

    The prefix is the one before the marker of a format. A tensor without this prefix, which does
    not belong to the network, keeps its name.

    Args:
        path: the file, for messages.
        formats: the formats of the family.
        tensors: {name: tensor} of the file.

    Raises:
        UserError: The file holds several networks.
    """
    # big_vision saves the optimizer state beside the parameters.
    parameters = {
        name.removeprefix('params/'): tensor
        for name, tensor in tensors.items()
        if name.startswith('params/')
    }
    tensors = parameters or tensors
    markers = {format.marker for format in formats}
    prefixes = set()
    for name in tensors:
        prefix = _wrappers(name)
        if name.removeprefix(prefix) in markers:
            prefixes.add(prefix)
    if len(prefixes) > 1:
        listed = ', '.join(repr(prefix) for prefix in sorted(prefixes))
        raise UserError(
            f'{path}: expected one network, but it holds {len(prefixes)}, with the prefixes '
            f'{listed}. Save one of them alone'
        )
    prefix = next(iter(prefixes), '')
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name not in _COUNTERS
    }


def _wrappers(name: str) -> str:
    """Return the prefix of a name that training scripts put there, or ''."""
    match = _WRAPPERS.match(name)
    assert match  # The pattern matches the empty string.
    return match[0]
