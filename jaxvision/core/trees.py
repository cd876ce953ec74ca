"""Nested dicts of arrays: paths, join, split, hash."""

import hashlib
from collections.abc import Collection, Sequence

import jax
import numpy as np

from jaxvision.core.types import Tree


def joined(tree: Tree, other: Tree) -> Tree:
    """Join two nested dicts that share no leaf."""
    if not other:
        return tree
    both = {
        name: joined(tree[name], other[name]) for name in tree.keys() & other.keys()
    }
    return {**tree, **other, **both}


def part_like(tree: Tree, other: Tree) -> Tree:
    """Select the entries of a nested dict that another one has too."""
    return {
        name: part_like(tree[name], node) if isinstance(node, dict) else tree[name]
        for name, node in other.items()
    }


def parted(tree: Tree, names: Collection[str]) -> tuple[Tree, Tree]:
    """Split a dict into the entries of these names and the others."""
    return (
        {name: tree[name] for name in tree if name in names},
        {name: tree[name] for name in tree if name not in names},
    )


def has_path(tree: Tree, path: Sequence[str]) -> bool:
    """Whether a nested dict has a node at a path of keys."""
    if not path:
        return True
    first, *rest = path
    return isinstance(tree, dict) and first in tree and has_path(tree[first], rest)


def only_path(tree: Tree, path: Sequence[str]) -> Tree:
    """Keep the node at a path, inside the dicts that lead to it."""
    if not path:
        return tree
    first, *rest = path
    return {first: only_path(tree[first], rest)}


def without_path(tree: Tree, path: Sequence[str]) -> Tree:
    """Remove the node at a path, but not the dicts that lead to it."""
    first, *rest = path
    others = {name: node for name, node in tree.items() if name != first}
    if not rest:
        return others
    changed = {**tree, first: without_path(tree[first], rest)}
    return {name: changed[name] for name in tree}


def without_path_everywhere(tree: Tree, path: Sequence[str]) -> Tree:
    """Remove the node at a path from every nested dict in a tree that has it.

    An optimizer's state holds several trees of the parameters' structure.
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
    """Hash the paths and bytes of all leaves."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()[:16]
