import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxvision.core import trees

names = st.sampled_from('abc')
nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(names, inner, min_size=1), max_leaves=8
)
dicts = st.dictionaries(names, nested, min_size=1)


def paths_of(tree, path=()):
    for name, node in tree.items():
        yield (*path, name)
        if isinstance(node, dict):
            yield from paths_of(node, (*path, name))


@given(dicts, st.data())
def test_a_part_and_the_rest_join_to_the_whole(tree, data):
    path = data.draw(st.sampled_from(list(paths_of(tree))))
    part = trees.only_path(tree, path)
    rest = trees.without_path(tree, path)
    assert trees.has_path(tree, path) and trees.has_path(part, path)
    assert not trees.has_path(rest, path)
    assert trees.joined(rest, part) == tree
    assert jax.tree.leaves(trees.part_like(tree, part)) == jax.tree.leaves(part)
    assert list(rest) == [name for name in tree if name in rest]


@given(dicts, st.sets(names))
def test_entries_split_by_name_are_all_entries(tree, chosen):
    inside, outside = trees.parted(tree, chosen)
    assert inside.keys() <= chosen and not outside.keys() & chosen
    assert {**inside, **outside} == tree


@given(dicts, st.data())
def test_a_path_is_removed_from_every_copy_of_a_tree(tree, data):
    path = data.draw(st.sampled_from(list(paths_of(tree))))
    state = ({'count': 3}, [tree, {'other': tree}])
    counts, (first, second) = trees.without_path_everywhere(state, path)
    assert counts == {'count': 3}
    assert first == second['other'] == trees.without_path(tree, path)


def test_a_hash_is_of_names_and_bytes():
    tree = {'a': np.float32([1, 2]), 'b': {'c': np.int32(3)}}
    assert trees.content_hash(tree) == trees.content_hash(dict(reversed(tree.items())))
    for other in (
        {'a': np.float32([1, 2]), 'b': {'d': np.int32(3)}},
        {'a': np.float32([1, 2]), 'b': {'c': np.int32(4)}},
    ):
        assert trees.content_hash(tree) != trees.content_hash(other)
