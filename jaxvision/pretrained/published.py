"""A file of published weights as leaves of one of our models, with all that goes with them.

Another family is a file beside this one, with its FORMATS, and its name in FAMILIES.
"""

import os
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.errors import UserError, unknown
from jaxvision.pretrained import file_names, recipes
from jaxvision.pretrained.convert import Format, Leaves, Tensors
from jaxvision.pretrained.families import (
    convnext,
    efficientnet,
    mobilenet_v2,
    resnet,
    vgg,
    vit,
)
from jaxvision.pretrained.formats import files

FAMILIES = {
    'resnet': resnet,
    'vgg': vgg,
    'vit': vit,
    'mobilenet_v2': mobilenet_v2,
    'efficientnet': efficientnet,
    'convnext': convnext,
}  # by the name of their model
_PREFIXES = (
    'model.',
    'module.',
    '_orig_mod.',
)  # that training scripts put before every name
_LARGEST_IMAGE = 4096  # pixels


class Published(NamedTuple):
    leaves: Leaves
    format: Format
    recipe: recipes.Recipe
    options: dict  # of our model, which these weights are of
    image_size: int  # that they are for; 0: any


def read(path: str | os.PathLike, family: str) -> Published:
    """The weights of a model of this name.

    Raises:
        UserError: the file is damaged or of no format that the family is published in.
    """
    if family not in FAMILIES:
        raise unknown(
            f'{path}: weights are read from files for some models, but not for',
            family,
            FAMILIES,
        )
    tensors, formats = _without_prefix(files.read(path)), FAMILIES[family].FORMATS
    format = next((each for each in formats if each.sign in tensors), None)
    if not format:
        known = ', '.join(f'{each.publisher} ({each.sign})' for each in formats)
        raise UserError(
            f'{path} is no {family} as it is published by {known}: its tensors are '
            f'{", ".join(name[:80] for name in list(tensors)[:3])}, ...'
        )
    try:
        leaves = format.leaves(tensors)
        size = format.image_size(leaves)
    except (
        ValueError,
        LookupError,
        MemoryError,
    ) as error:  # of axes that are not there
        raise UserError(
            f'{path} holds tensors that are no {family}: '
            + ' '.join(str(error).split())
        ) from None
    if size > _LARGEST_IMAGE:
        raise UserError(
            f'{path}: its position embeddings would be of {size}x{size} pixels'
        )
    recipe = format.recipe(leaves) if callable(format.recipe) else format.recipe
    options = format.options(leaves)
    if known := file_names.find(Path(path)):
        recipe, options, size = (
            known.recipe,
            options | known.options,
            known.image_size or size,
        )
    return Published(leaves, format, recipes.RECIPES[recipe], options, size)


def _without_prefix(tensors: Tensors) -> Tensors:
    parameters = {
        name.removeprefix('params/'): tensor
        for name, tensor in tensors.items()
        if name.startswith('params/')
    }
    tensors = parameters or tensors  # big_vision keeps its optimizer's beside them
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {
                name.removeprefix(prefix): tensor for name, tensor in tensors.items()
            }
    return tensors
