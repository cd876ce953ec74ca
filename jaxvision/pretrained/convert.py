"""From a publisher's names and layouts to ours.

A leaf is named as Flax's tree has it, 'stage1_block1/conv1/kernel'; what has no name here keeps its
own, so that whoever takes the leaves over finds it without a counterpart.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.pretrained import position_embeddings

Tensors = Mapping[str, np.ndarray]
Leaves = dict[str, np.ndarray]
Modules = Callable[
    [str], str
]  # their name of a module -> ours; KeyError where there is none

_TORCH = {'bias': 'bias', 'running_mean': 'mean', 'running_var': 'var'}
_KERAS = {
    'kernel': 'kernel',
    'depthwise_kernel': 'kernel',
    'bias': 'bias',
    'gamma': 'scale',
    'beta': 'bias',
    'moving_mean': 'mean',
    'moving_variance': 'var',
}
_FLAX = ('kernel', 'scale', 'bias')
_STATISTICS = ('mean', 'var')  # of batch norm


class Format(NamedTuple):
    """One way in which the weights of a family are published."""

    publisher: str
    sign: str  # a tensor that every file of this format has, and none of the others
    leaves: Callable[[Tensors], Leaves]
    recipe: str | Callable[[Leaves], str]  # of recipes.py: how its images are prepared
    options: Callable[[Leaves], dict] = (
        lambda leaves: {}
    )  # of our model, which its weights are of
    image_size: Callable[[Leaves], int] = lambda leaves: (
        0
    )  # that they are for; 0: the recipe's


def from_torch(tensors: Tensors, modules: Modules) -> Leaves:
    """'layer1.0.conv1.weight' [out, in, *window] -> 'stage1_block1/conv1/kernel' [*window, in, out]

    What is no weight, bias or statistic of a module, as a class token, is named by `modules` whole.
    """
    leaves = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition('.')
        if leaf == 'num_batches_tracked':
            continue
        ours = _TORCH.get(leaf)
        if leaf == 'weight':
            ours = 'kernel' if tensor.ndim > 1 else 'scale'
        if ours == 'kernel':
            tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
        _put(leaves, modules, name, module, ours, tensor)
    return leaves


def from_keras(tensors: Tensors, modules: Modules) -> Leaves:
    """'conv2_block1_1_bn/gamma' -> 'stage1_block1/norm1/scale'; the layouts are ours,
    but of depthwise kernels [*window, C, 1]."""
    leaves = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition('/')
        _put(leaves, modules, name, module, _KERAS.get(leaf), tensor)
    return leaves


def from_flax(tensors: Tensors, modules: Modules) -> Leaves:
    """'Transformer/encoder_norm/scale' -> 'norm/scale'; all but the modules' names are ours."""
    leaves = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition('/')
        _put(leaves, modules, name, module, leaf if leaf in _FLAX else None, tensor)
    return leaves


def _put(
    leaves: Leaves,
    modules: Modules,
    name: str,
    module: str,
    leaf: str | None,
    tensor: np.ndarray,
) -> None:
    try:
        ours = f'{modules(module)}/{leaf}' if leaf else modules(name)
    except KeyError:
        ours = name
    exact = tensor.dtype in (np.float32, np.float64)
    leaves[name if ours in leaves else ours] = (
        tensor if exact else tensor.astype(np.float32)
    )


def without_bias(leaves: Leaves) -> Leaves:
    """A convolution's bias before batch norm, which the running mean may hold as well:
    (x + b) - m = x - (m - b). Trained, it would have no gradient."""
    leaves = dict(leaves)
    for name in [name for name in leaves if name.endswith('/bias')]:
        path, _, layer = name.removesuffix('/bias').rpartition('/')
        mean = f'{path}/{layer.replace("conv", "norm")}/mean'.lstrip('/')
        if 'conv' in layer and mean in leaves:
            leaves[mean] = leaves[mean] - leaves.pop(name)
    return leaves


def from_bgr(leaves: Leaves, first: str) -> Leaves:
    """The `first` kernel [*window, 3, out], of channels in the order BGR, for RGB."""
    return {**leaves, first: leaves[first][..., ::-1, :]} if first in leaves else leaves


def variables(leaves: Leaves) -> dict[str, dict]:
    """{'params': tree, 'batch_stats': tree} of leaves, as Flax nests them."""
    tree = {'params': {}, 'batch_stats': {}}
    for name, leaf in leaves.items():
        *modules, last = name.split('/')
        node = tree['batch_stats' if last in _STATISTICS else 'params']
        for module in modules:
            node = node.setdefault(module, {})
        node[last] = leaf
    return {collection: nested for collection, nested in tree.items() if nested}


def fitted(leaves: Leaves, shapes: dict) -> dict:
    """Variables of these `shapes` (a tree of Flax's, from `jax.eval_shape`), of the leaves' values.

    Raises:
        UserError: a leaf is missing, unknown or of another shape; it lists all of them.
    """
    wanted = names(shapes)
    leaves = {
        name: position_embeddings.fitting(leaf, wanted[name].shape)
        if name == 'position_embedding' and name in wanted
        else leaf
        for name, leaf in leaves.items()
    }
    missing, unknown = sorted(wanted.keys() - leaves), sorted(leaves.keys() - wanted)
    misshapen = [
        f'{name} {list(leaves[name].shape)} instead of {list(leaf.shape)}'
        for name, leaf in wanted.items()
        if name in leaves and leaves[name].shape != leaf.shape
    ]
    problems = [
        f'{what}: {_some(names)}'
        for what, names in (
            ('missing', missing),
            ('unknown', unknown),
            ('other shapes', misshapen),
        )
        if names
    ]
    if problems:
        raise UserError('these weights are not of this model; ' + '; '.join(problems))
    return jax.tree.structure(shapes).unflatten(
        [jnp.asarray(leaves[name], leaf.dtype) for name, leaf in wanted.items()]
    )


def names(variables: dict) -> dict[str, jax.Array | jax.ShapeDtypeStruct]:
    """{name: leaf} of Flax's tree, whose collections' leaves have names of their own."""
    return {
        '/'.join(key.key for key in path[1:]): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


def _some(names: list[str], most: int = 8) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(name[:80] for name in names[:most]) + more
