import zlib

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core import keys

KEY = jax.random.key(7)


def data(key):
    return np.asarray(jax.random.key_data(key))


def test_a_stream_is_the_key_folded_with_the_crc_of_its_name():
    np.testing.assert_array_equal(
        data(keys.stream(KEY, 'flip')),
        data(jax.random.fold_in(KEY, zlib.crc32(b'flip'))),
    )


def test_streams_steps_and_examples_all_differ():
    drawn = [
        keys.stream(KEY, 'a'),
        keys.stream(KEY, 'b'),
        keys.at_step(KEY, 'a', 0),
        keys.at_step(KEY, 'a', 1),
        keys.at_step(KEY, 'b', 1),
        *keys.per_example(KEY, jnp.arange(3)),
        *keys.fold_name(keys.per_example(KEY, jnp.arange(3)), 'a'),
    ]
    assert len({data(key).tobytes() for key in drawn}) == len(drawn)


def test_a_traced_step_gives_the_key_of_a_python_step():
    traced = jax.jit(lambda step: keys.at_step(KEY, 'model', step))(5)
    np.testing.assert_array_equal(data(traced), data(keys.at_step(KEY, 'model', 5)))


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(8)))
def test_a_key_belongs_to_the_example_and_not_to_its_place(order):
    index = jnp.array(order)
    whole = data(keys.fold_name(keys.per_example(KEY, jnp.arange(8)), 'dropout'))
    moved = data(keys.fold_name(keys.per_example(KEY, index), 'dropout'))
    np.testing.assert_array_equal(moved, whole[index])


def test_the_host_generator_is_a_function_of_seed_name_and_numbers():
    def draw(*arguments):
        return keys.host(*arguments).integers(2**60)

    assert draw(1, 'shuffle', 2, 3) == draw(1, 'shuffle', 2, 3)
    assert (
        len(
            {
                draw(1, 'shuffle', 2, 3),
                draw(1, 'shuffle', 3, 2),
                draw(1, 'prepare', 2, 3),
                draw(2, 'shuffle', 2, 3),
                draw(1, 'shuffle', 2),
            }
        )
        == 5
    )
