"""Nested dicts of arrays: join, split, remove a path, hash."""

import hashlib
from collections.abc import Collection, Sequence

import jax
import numpy as np

from jaxvision.core.types import Tree


def joined(tree: Tree, other: Tree) -> Tree:
    """Join two nested dicts that share no leaf. Neither is changed."""
    if not other:
        return tree
    merged = {**tree, **other}
    for name in tree.keys() & other.keys():
        merged[name] = joined(tree[name], other[name])
    return merged


def part_like(tree: Tree, other: Tree) -> Tree:
    """Select the entries of `tree` at the paths of `other`, with the values of `tree`.

    `tree` must have every path of `other`.
    """
    part = {}
    for name, node in other.items():
        if isinstance(node, dict):
            part[name] = part_like(tree[name], node)
        else:
            part[name] = tree[name]
    return part


def parted(tree: Tree, names: Collection[str]) -> tuple[Tree, Tree]:
    """Split a dict into (the entries with these names, the other entries).

    Names that the dict lacks are ignored.
    """
    return (
        {name: tree[name] for name in tree if name in names},
        {name: tree[name] for name in tree if name not in names},
    )


def has_path(tree: Tree, path: Sequence[str]) -> bool:
    """Whether a nested dict has a node, a dict or a leaf, at a path of keys.

    The empty path is always there.
    """
    node = tree
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def only_path(tree: Tree, path: Sequence[str]) -> Tree:
    """Copy only the node at a path, inside the dicts that lead to it.

    The path must exist. An empty path keeps the whole tree.
    """
    if not path:
        return tree
    first, *rest = path
    return {first: only_path(tree[first], rest)}


def without_path(tree: Tree, path: Sequence[str]) -> Tree:
    """Copy a nested dict without the node at a path, but with the dicts above it.

    The path has at least one key. All keys but the last must exist.
    """
    first, *rest = path
    others = {name: node for name, node in tree.items() if name != first}
    if not rest:
        return others
    changed = {**tree, first: without_path(tree[first], rest)}
    return {name: changed[name] for name in tree}


def without_path_everywhere(tree: Tree, path: Sequence[str]) -> Tree:
    """Copy a tree without the node at a path, in each outermost dict that has the path.

    Dicts below such a dict are not searched. The path has at least one key. An
    optimizer state holds several trees with the structure of the parameters.
    """

    def cut(node):
        if not isinstance(node, dict):
            return node
        if has_path(node, path):
            return without_path(node, path)
        return {
            name: without_path_everywhere(inner, path) for name, inner in node.items()
        }

    return jax.tree.map(cut, tree, is_leaf=lambda node: isinstance(node, dict))


def content_hash(variables: Tree) -> str:
    """Hash the paths and bytes of all leaves, as 16 hexadecimal digits.

    Shapes and dtypes are not hashed: equal bytes, such as zeros in float32 and in int32,
    have one hash. Compare the hashes of one model only. Runs store these hashes, so the
    format must stay.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        array = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
