"""Nested dicts of arrays: join, split, hash."""

import hashlib
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

Tree = Any


def joined(tree: Tree, other: Tree) -> Tree:
    """Two nested dicts as one; they share no leaf."""
    if not other:
        return tree
    both = {
        name: joined(tree[name], other[name]) for name in tree.keys() & other.keys()
    }
    return {**tree, **other, **both}


def part_like(tree: Tree, other: Tree) -> Tree:
    """What of a nested dict another one has too."""
    return {
        name: part_like(tree[name], node) if isinstance(node, dict) else tree[name]
        for name, node in other.items()
    }


def parted(tree: Tree, names: Collection[str]) -> tuple[Tree, Tree]:
    """A dict's entries of these names, and the others."""
    return (
        {name: tree[name] for name in tree if name in names},
        {name: tree[name] for name in tree if name not in names},
    )


def content_hash(variables: Tree) -> str:
    """Of the weights' paths and bytes."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return found.hexdigest()[:16]
