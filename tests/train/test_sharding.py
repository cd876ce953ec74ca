import jax
import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.train import sharding


@pytest.fixture
def mesh():
    return sharding.make_mesh()


def batch(number, size=4):
    return {'image': np.full((size, 2), number, np.uint8), 'index': np.arange(size, dtype=np.int32)}


def test_the_mesh_holds_every_device_along_data(mesh):
    assert mesh.axis_names == ('data',) and mesh.size == jax.device_count()


def test_a_batch_keeps_its_values_and_dtypes_on_the_devices(mesh):
    there = sharding.put(mesh, batch(7, 4 * mesh.size))
    assert there['image'].dtype == np.uint8
    assert there['image'].sharding.is_equivalent_to(sharding.split(mesh), 2)
    np.testing.assert_array_equal(there['index'], np.arange(4 * mesh.size))


@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_prefetching_keeps_all_batches_in_order(mesh, count):
    found = [int(b['image'][0, 0]) for b in sharding.prefetch(mesh, map(batch, range(count)))]
    assert found == list(range(count))


def test_prefetching_reads_no_further_than_it_is_told(mesh):
    taken = []
    batches = (taken.append(i) or batch(i) for i in range(10))
    ahead = sharding.prefetch(mesh, batches, ahead=2)
    next(ahead)
    assert taken == [0, 1]
    next(ahead)
    assert taken == [0, 1, 2]


def test_a_compiled_update_takes_the_old_states_memory(mesh):
    update = lambda state, batch: (state + 1, {'mean': batch['x'].mean()})
    step = sharding.compile_update(update, mesh)
    state = jax.device_put(np.zeros(8, np.float32), sharding.whole(mesh))
    new, scalars = step(state, {'x': np.arange(4 * mesh.size, dtype=np.float32)})
    assert state.is_deleted() and new.sharding.is_fully_replicated
    np.testing.assert_array_equal(new, 1)
    assert scalars['mean'] == (4 * mesh.size - 1) / 2


@pytest.mark.parametrize('size', [6, 2])
def test_a_batch_that_the_devices_do_not_divide_is_refused(size):
    four = jax.sharding.Mesh(np.array(4 * jax.devices()[:1]), ('data',))
    sharding.check_batch_size(four, 8)
    with pytest.raises(UserError, match=f'data.batch_size={size} does not divide .* 4 devices'):
        sharding.check_batch_size(four, size)
