"""A PyTorch state dict as the variables of a Flax model of the same architecture."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.errors import UserError

_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean',
           'var': 'running_var'}


def convert(
    tensors: Mapping[str, np.ndarray], shapes: dict, module_name: Callable[[str], str]
) -> dict:
    """Variables of these `shapes` (a tree of Flax's, from `jax.eval_shape`), of `tensors`' values.

    `module_name` is PyTorch's name of a Flax module: 'stage1_block1/conv1' -> 'layer1.0.conv1'.
    The match is exact but for PyTorch's counters of batches: raises UserError that lists every
    tensor that is missing, unknown or of another shape.
    """
    tensors = {name: tensor for name, tensor in tensors.items()
               if not name.endswith('num_batches_tracked')}
    leaves, tree = jax.tree.flatten_with_path(shapes)
    names = [_torch_name(path, module_name) for path, _ in leaves]
    wanted = {name: _torch_shape(leaf.shape) for name, (_, leaf) in zip(names, leaves)}
    _require_match({name: tensor.shape for name, tensor in tensors.items()}, wanted)
    return tree.unflatten([jnp.asarray(_flax_layout(tensors[name]), leaf.dtype)
                           for name, (_, leaf) in zip(names, leaves)])


def _torch_name(path, module_name) -> str:
    _, *modules, leaf = (key.key for key in path)
    return f"{module_name('/'.join(modules))}.{_LEAVES[leaf]}"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[*window, in, out] in Flax is [out, in, *window] in PyTorch."""
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) > 1 else shape


def _flax_layout(tensor: np.ndarray) -> np.ndarray:
    return np.moveaxis(tensor, (0, 1), (-1, -2)) if tensor.ndim > 1 else tensor


def _require_match(found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    missing, unknown = sorted(wanted.keys() - found), sorted(found.keys() - wanted)
    misshapen = [f'{name} {list(found[name])} instead of {list(shape)}'
                 for name, shape in wanted.items() if found.get(name, shape) != shape]
    problems = [f'{what}: {", ".join(names)}' for what, names in
                (('missing', missing), ('unknown', unknown), ('other shapes', misshapen)) if names]
    if problems:
        raise UserError('these weights are not of this model; ' + '; '.join(problems))
