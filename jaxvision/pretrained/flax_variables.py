"""From leaves to the variables of a model or of a run."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision.core.errors import UserError
from jaxvision.core.registry import resolve
from jaxvision.core.types import Tree
from jaxvision.pretrained import position_embeddings, weights_file
from jaxvision.pretrained.convert import Leaves
from jaxvision.pretrained.weights_file import Identity

_STATISTICS = ('mean', 'var')  # of batch norm
_MOST_LISTED = 8


def nest(leaves: Leaves) -> dict[str, Tree]:
    """Nest leaves as Flax does: {'params': tree, 'batch_stats': tree}, neither of them empty."""
    collections = {'params': {}, 'batch_stats': {}}
    for path, leaf in leaves.items():
        *modules, name = path.split('/')
        node = collections['batch_stats' if name in _STATISTICS else 'params']
        for module in modules:
            node = node.setdefault(module, {})
        node[name] = leaf
    return {name: tree for name, tree in collections.items() if tree}


def fit(leaves: Leaves, shapes: Tree) -> Tree:
    """Fit leaves into a model of these shapes; position embeddings are resampled to them.

    Args:
        leaves: {name: leaf}.
        shapes: the model's variables, from `jax.eval_shape`.

    Returns:
        A tree like `shapes`, of its dtypes, with the values of the leaves.

    Raises:
        UserError: A leaf is missing, unknown or of another shape. The message lists all.
    """
    expected = by_name(shapes)
    leaves = dict(leaves)
    embedding = 'position_embedding'
    if embedding in leaves and embedding in expected:
        leaves[embedding] = position_embeddings.resample(
            leaves[embedding], expected[embedding].shape
        )
    problems = _problems(leaves, expected)
    if problems:
        raise UserError('these weights are not of this model; ' + '; '.join(problems))
    fitted = [jnp.asarray(leaves[name], leaf.dtype) for name, leaf in expected.items()]
    return jax.tree.structure(shapes).unflatten(fitted)


def _problems(leaves: Leaves, expected: dict[str, jax.ShapeDtypeStruct]) -> list[str]:
    misshapen = [
        f'{name} {list(leaves[name].shape)} instead of {list(leaf.shape)}'
        for name, leaf in expected.items()
        if name in leaves and leaves[name].shape != leaf.shape
    ]
    kinds = {
        'missing': sorted(expected.keys() - leaves.keys()),
        'unknown': sorted(leaves.keys() - expected.keys()),
        'other shapes': misshapen,
    }
    return [f'{kind}: {_listed(names)}' for kind, names in kinds.items() if names]


def _listed(names: list[str]) -> str:
    listed = ', '.join(name[:80] for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f'{listed} and {more} more' if more > 0 else listed


def by_name(variables: Tree) -> dict[str, jax.Array | jax.ShapeDtypeStruct]:
    """{name: leaf} of a model's variables; no two collections share a name."""
    return {
        '/'.join(key.key for key in path[1:]): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


def of_run(config: ConfigDict, file: Path) -> Tree:
    """Read pretrained weights as the variables of a run that has the same `model`.

    Raises:
        UserError: The file is damaged, or its weights are not of `config.model`.
    """
    weights = weights_file.read(file, config.model.name)
    _check_options(config, file, weights.identity)
    return as_network(nest(weights.leaves))


def as_network(variables: Tree, network: str = 'model') -> Tree:
    """Arrange the variables of a model as a run has those of one of its networks."""
    statistics = {name: tree for name, tree in variables.items() if name != 'params'}
    return {
        'params': {network: variables['params']},
        'model_state': {network: statistics},
    }


def _check_options(config: ConfigDict, file: Path, identity: Identity) -> None:
    """Require the publisher's options: with others the same leaves compute something else."""
    model = config.model
    defaults = inspect.signature(resolve('models', model.name).make).parameters
    for name, value in identity.options.items():
        chosen = model.options.get(name, defaults[name].default)
        if chosen != value:
            raise UserError(
                f'model.options.{name}={chosen!r}: expected {value!r} for the weights of '
                f'{identity.format.publisher} in {file}. '
                f'Set --config.model.options.{name}={value!r}'
            )
