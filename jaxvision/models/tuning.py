"""What tuning a trained model does to it from outside, whatever the model: blocks that stay as they
are, batch statistics that stay, and low-rank updates."""

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


def blocks(model: nn.Module, *inputs: Any) -> list[tuple[str, ...]]:
    """The names of what has parameters at a model's top, in the order of its computation: block by
    block, the head last.

    A norm belongs to the block before it, and tokens or positions, which are no module's, to the
    first one. `inputs` may be shapes.

    Raises:
        UserError: the model has no module 'head'.
    """
    called = {}

    def note(call, args, kwargs, context):
        if len(context.module.path) == 1:
            called.setdefault(context.module.path[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        params = jax.eval_shape(model.init, jax.random.key(0), *inputs)['params']
    if 'head' not in params:
        raise UserError(f'{type(model).__name__} has no module of the name head')
    found = [[name for name in params if name not in called]]
    for name in called:
        if name not in params:
            continue
        if any(leaf.ndim > 1 for leaf in jax.tree.leaves(params[name])):
            found.append([])
        found[-1].append(name)
    first, second, *others = found
    return [tuple(block) for block in (first + second, *others)]


def head_input(model: nn.Module, variables: Tree, *inputs: Any) -> Float[Array, 'b d']:
    """What the last layer sees, in evaluation."""
    seen = []

    def note(call, args, kwargs, context):
        if context.module.path == ('head',):
            seen.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        model.apply(variables, *inputs)
    return seen[0]


def tuned(
    staying: Collection[str] = (),
    statistics_stay: bool = False,
    lora: Tree | None = None,
) -> Any:
    """A context in which a model is applied.

    The modules at the paths `staying`, 'encoder' or 'encoder/stem_norm', and all in them, compute
    as in evaluation, though the others train; with `statistics_stay` all batch norms use their
    running statistics; and a linear layer with a place in `lora`, as `low_rank` makes it, adds
    its update.
    """

    def call_tuned(
        call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ):
        module = context.module
        stays = any(
            f'{"/".join(module.path)}/'.startswith(f'{path}/') for path in staying
        )
        if isinstance(module, layers.BatchNorm) and (stays or statistics_stay):
            return call(*args, **{**kwargs, 'use_running_average': True})
        if isinstance(module, layers.Dropout | layers.DropPath) and stays:
            return call(args[0], None)
        update = _at(lora or {}, module.path) if isinstance(module, nn.Dense) else {}
        if not update:
            return call(*args, **kwargs)
        x = args[0]
        return call(x) + (x @ update['down'].astype(x.dtype)) @ update['up'].astype(
            x.dtype
        )

    return nn.intercept_methods(call_tuned)


def low_rank(
    key: PRNGKeyArray, params: Tree, rank: int, dtype: DTypeLike = jnp.float32
) -> Tree:
    """LoRA (Hu et al., 2021): beside each matrix [in, out] of the parameters, but the head's, a
    'down' [in, rank] and an 'up' [rank, out], whose product is added to it, and is zero at first.

    Raises:
        UserError: the parameters hold no such matrix, or one that is too small.
    """
    flat = [
        tuple(key.key for key in path)
        for path, leaf in jax.tree.leaves_with_path(params)
        if leaf.ndim == 2 and path[-1].key == 'kernel' and path[0].key != 'head'
    ]
    if not flat:
        raise UserError(
            'LoRA is for models with linear layers below the head, such as vit'
        )
    tree = {}
    for path, one in zip(flat, jax.random.split(key, len(flat)), strict=True):
        wide, out = _at(params, path).shape
        if not 0 < rank < min(wide, out):
            raise UserError(
                f'a LoRA of rank {rank} is none for {"/".join(path)}, {wide}x{out}'
            )
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node['down'] = jax.random.normal(one, (wide, rank), dtype) / np.sqrt(wide)
        node['up'] = jnp.zeros((rank, out), dtype)
    return tree


def _at(tree: Tree, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name, {})
    return tree
