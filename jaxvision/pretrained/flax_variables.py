"""Make the variables of a model or of a run from converted leaves."""

import inspect
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvision.core.errors import UserError
from jaxvision.core.registry import resolve
from jaxvision.core.types import Tree, Value
from jaxvision.pretrained import position_embeddings, weights_file
from jaxvision.pretrained.convert import Leaves
from jaxvision.pretrained.weights_file import Identity

# Leaves of batch norm that are statistics.
_STATISTICS = ('mean', 'var')
_MOST_LISTED = 8


def nest(leaves: Leaves) -> dict[str, Tree]:
    """Nest leaves as Flax does: {'params': tree, 'batch_stats': tree}.

    Args:
        leaves: {'module/.../leaf': array}. The leaves 'mean' and 'var' are statistics.

    Returns:
        The nested dicts. A tree without leaves is left out.
    """
    collections = {'params': {}, 'batch_stats': {}}
    for path, leaf in leaves.items():
        *modules, name = path.split('/')
        node = collections['batch_stats' if name in _STATISTICS else 'params']
        for module in modules:
            node = node.setdefault(module, {})
        node[name] = leaf
    return {name: tree for name, tree in collections.items() if tree}


def fit(leaves: Leaves, shapes: Tree) -> Tree:
    """Arrange leaves as the variables of a model.

    A leaf 'position_embedding' of another grid is resampled.

    Args:
        leaves: {'module/.../leaf': array}.
        shapes: the variables of the model, {'params': tree, ...}, from
            `jax.eval_shape`.

    Returns:
        A tree with the structure and dtypes of `shapes`, and the values of the leaves.

    Raises:
        UserError: A leaf is missing, unknown or of another shape. The message lists at
            most 8 of each kind.
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
        raise UserError(
            f'these weights are not of this model; {"; ".join(problems)}. Check the name '
            'and variant of the model'
        )
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
    if more > 0:
        listed += f' and {more} more'
    return listed


def by_name(variables: Tree) -> dict[str, jax.Array | jax.ShapeDtypeStruct]:
    """Flatten the variables of a model to {'module/.../leaf': leaf}.

    A name does not contain the collection, such as 'params'. Collections share no name.
    """
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(variables):
        name = '/'.join(key.key for key in path[1:])
        leaves[name] = leaf
    return leaves


def of_run(config: ConfigDict, file: Path) -> tuple[Tree, tuple[str, ...]]:
    """Read pretrained weights as variables of a run.

    Args:
        config: the config of the run, with the model of the weights.
        file: the weights file.

    Returns:
        ({'params': {'model': tree}, 'model_state': {'model': {collection: tree}}}, names of the
        classes of the outputs, '' for an output without a class; empty if the file does
        not reveal them). Shapes are not compared with those of the run.

    Raises:
        UserError: The file is damaged, or its weights are of another model, or need
            other `model.options`.
    """
    weights = weights_file.read(file, model_of_weights(config))
    _check_options(config, file, weights.identity)
    return as_network(nest(weights.leaves)), weights.identity.classes.names


def license_of(config: ConfigDict, file: Path) -> str:
    """The licence of pretrained weights, if it restricts their use; otherwise ''.

    Args:
        config: the config of the run, with the model of the weights.
        file: the weights file.

    Raises:
        UserError: The file is damaged, or its weights are of another model.
    """
    identity = weights_file.identify(file, model_of_weights(config))
    return identity.format.license


def model_of_weights(config: ConfigDict) -> str:
    """Name the model that pretrained weights are for: a detector's is its backbone.

    Args:
        config: the config of a run. The variant of a detector is NAME:VARIANT of its
            backbone. A variant without a colon means `config.model.name`.
    """
    backbone, colon, _ = config.model.variant.partition(':')
    return backbone if colon else config.model.name


def as_network(variables: Tree, network: str = 'model') -> Tree:
    """Arrange the variables of a model in the form of `TrainState.variables`.

    Args:
        variables: the variables of the model, {'params': tree, collection: tree, ...}.
        network: the name of the network in the run.

    Returns:
        {'params': {network: tree}, 'model_state': {network: {collection: tree}}}.
    """
    statistics = {name: tree for name, tree in variables.items() if name != 'params'}
    return {
        'params': {network: variables['params']},
        'model_state': {network: statistics},
    }


def _check_options(config: ConfigDict, file: Path, identity: Identity) -> None:
    """Require the options of the published model, with which the leaves were trained."""
    model = model_of_weights(config)
    field = 'model.options'
    options = config.model.options
    if model != config.model.name:
        field = 'model.options.backbone'
        options = options.get('backbone', {})
    defaults = inspect.signature(resolve('models', model).make).parameters
    for name, value in identity.options.items():
        # A model may pass options on, and is then built without them by default.
        default = defaults[name].default if name in defaults else None
        chosen = options.get(name, default)
        if isinstance(value, Mapping):
            chosen = dict(chosen or {})
        if not _meets(chosen, value):
            setting = f'{field}.{name}={value!r}'
            if isinstance(value, Mapping):
                # A shell would take it apart.
                setting = f'{field}.{name}="{chosen | value}"'
            if model != config.model.name:
                # The options of a backbone are one value, a dict.
                setting = f'{field}="{dict(options) | {name: value}}"'
            raise UserError(
                f'{field}.{name}={chosen!r}: expected {value!r}, since {file} holds '
                f'weights of {identity.format.publisher}. Set --config.{setting}'
            )


def _meets(chosen: Value, required: Value) -> bool:
    """Whether an option is as required; options of a backbone may have further entries."""
    if not isinstance(required, Mapping):
        return chosen == required
    return all(chosen.get(name) == value for name, value in required.items())
