"""Fine-tuning of any trained model: frozen blocks, frozen batch statistics and low-rank updates."""

from collections.abc import Callable, Collection
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.core.errors import UserError
from jaxvision.core.types import Tree
from jaxvision.models.blocks import layers

Path = tuple[str, ...]


def blocks(model: nn.Module, *inputs: Any) -> list[Path]:
    """List a model's blocks in the order of computation, the head last.

    A norm belongs to the block before it. Parameters without a module, such as tokens and
    positions, belong to the first block. The model is traced, but nothing is computed.

    Args:
        model: a model with a module 'head'.
        *inputs: its inputs, as arrays or shapes.

    Returns:
        A tuple for each block, with names from the top level of the model's 'params'.

    Raises:
        UserError: The model has no module 'head'.
    """
    # A dict keeps the order of first calls.
    called = {}

    def record_call(call, args, kwargs, context):
        path = context.module.path
        if len(path) == 1:
            called.setdefault(path[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(record_call):
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    params = variables['params']
    if 'head' not in params:
        raise _without_head(model)
    without_module = [name for name in params if name not in called]
    found_blocks = [without_module]
    for name in called:
        if name not in params:
            continue
        if _has_matrix(params[name]):
            found_blocks.append([])
        found_blocks[-1].append(name)
    first, second, *others = found_blocks
    return [tuple(block) for block in (first + second, *others)]


def _without_head(model: nn.Module) -> UserError:
    return UserError(
        'model.name: expected a model with a last module named head, which '
        'task.trained, task.layer_decay and task.probe need, but '
        f'{type(model).__name__} has none. Choose another model, or leave these fields '
        'at their defaults.'
    )


def _has_matrix(params: Tree) -> bool:
    """Tell a module with weights from a norm, which has only vectors."""
    return any(leaf.ndim > 1 for leaf in jax.tree.leaves(params))


def head_input(model: nn.Module, variables: Tree, *inputs: Any) -> Float[Array, 'b d']:
    """Compute the input of a model's head, without `train` and `keys`.

    Args:
        model: a model with a module 'head'.
        variables: its variables, {'params': tree, ...}.
        *inputs: its inputs.

    Returns:
        Features, [B, D], the input of the module 'head'.

    Raises:
        UserError: The model has no module 'head'.
    """
    features = []

    def record_input(call, args, kwargs, context):
        if context.module.path == ('head',):
            features.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(record_input):
        model.apply(variables, *inputs)
    if not features:
        raise _without_head(model)
    return features[0]


def tuned(
    staying: Collection[str] = (),
    statistics_stay: bool = False,
    lora: Tree | None = None,
) -> Any:
    """Change how models compute inside a `with` block: frozen parts and low-rank updates.

    It stops no gradients: the caller leaves frozen parameters out of the training.

    Args:
        staying: paths of frozen modules, such as 'encoder' or 'encoder/stem_norm'. In them and
            their submodules, batch norms use their running statistics and nothing is dropped.
        statistics_stay: True if all batch norms use, and do not update, running statistics.
        lora: low-rank updates from `low_rank`, or None. A linear layer x W + b with an update
            at its path returns x W + b + (x down) up.

    Returns:
        A context manager, for `init` and `apply` of Flax modules inside it.
    """

    def is_frozen(path: Path) -> bool:
        module = '/'.join(path) + '/'
        return any(module.startswith(f'{frozen}/') for frozen in staying)

    def call_tuned(
        call: Callable,
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ):
        module = context.module
        if module.scope is None:  # A method that needs no variables, such as `cells`.
            return call(*args, **kwargs)
        frozen = is_frozen(module.path)
        if isinstance(module, layers.BatchNorm) and (frozen or statistics_stay):
            return call(*args, **{**kwargs, 'use_running_average': True})
        if isinstance(module, layers.Dropout | layers.DropPath) and frozen:
            return call(args[0], None)
        update = {}
        if isinstance(module, nn.Dense):
            update = _at(lora or {}, module.path)
        if not update:
            return call(*args, **kwargs)
        x = args[0]
        down = update['down'].astype(x.dtype)
        up = update['up'].astype(x.dtype)
        return call(x) + (x @ down) @ up

    return nn.intercept_methods(call_tuned)


def low_rank(
    key: PRNGKeyArray,
    params: Tree,
    rank: int,
    dtype: DTypeLike = jnp.float32,
) -> Tree:
    """Initialise low-rank updates of a model's matrices (LoRA, Hu et al. 2021).

    Each kernel [in, out] of a linear layer, except the head's, gets 'down' [in, rank] and 'up'
    [rank, out]. The model must add their product to the kernel. It is zero at first, as 'up' is
    zero and 'down' is random.

    Args:
        key: the random key of 'down'.
        params: the model's parameters, which are not changed.
        rank: at least 1, and smaller than both sides of every such kernel.
        dtype: of the updates.

    Returns:
        A tree with 'down' and 'up' at the path of each linear layer.

    Raises:
        UserError: There is no such matrix, or one that is too small for the rank.
    """
    paths = []
    for path, leaf in jax.tree.leaves_with_path(params):
        names = tuple(part.key for part in path)
        if leaf.ndim == 2 and names[-1] == 'kernel' and names[0] != 'head':
            paths.append(names)
    if not paths:
        raise UserError(
            f"task.trained='lora {rank}': expected a model with linear layers below the "
            'head. Choose one such as vit.'
        )
    updates = {}
    matrix_keys = jax.random.split(key, len(paths))
    for path, matrix_key in zip(paths, matrix_keys, strict=True):
        rows, columns = _at(params, path).shape
        if not 0 < rank < min(rows, columns):
            raise UserError(
                f"task.trained='lora {rank}': expected a rank from 1 to "
                f'{min(rows, columns) - 1}, as {"/".join(path)} is {rows}x{columns}.'
            )
        layer = updates
        for name in path[:-1]:
            layer = layer.setdefault(name, {})
        normal = jax.random.normal(matrix_key, (rows, rank), dtype)
        layer['down'] = normal / np.sqrt(rows)
        layer['up'] = jnp.zeros((rank, columns), dtype)
    return updates


def _at(tree: Tree, path: Path) -> Any:
    """The subtree at a path, or an empty one."""
    for name in path:
        tree = tree.get(name, {})
    return tree
