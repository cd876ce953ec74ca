import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from jaxvision.core.errors import UserError
from jaxvision.train import sharding


@pytest.fixture
def mesh():
    return sharding.make_mesh()


def four(**axes):
    """A mesh of 4 times the same device: enough to ask what would be where."""
    names = tuple(axes) or ('data', 'fsdp')
    devices = np.array(4 * jax.devices()[:1]).reshape(tuple(axes.values()) or (2, 2))
    return jax.sharding.Mesh(devices, names)


def batch(number, size=4):
    return {
        'image': np.full((size, 2), number, np.uint8),
        'index': np.arange(size, dtype=np.int32),
    }


def test_the_mesh_holds_every_device_along_data(mesh):
    assert dict(mesh.shape) == {'data': jax.device_count(), 'fsdp': 1}
    assert dict(sharding.make_mesh('pmap').shape) == {'replicas': jax.device_count()}


@pytest.mark.parametrize(
    'mode, fsdp, message',
    [
        ('jit', 7, 'parallel.fsdp=7: expected a divisor of the number of devices, 1'),
        ('pmap', 2, 'parallel.fsdp=2: expected 1 with parallel.mode=pmap'),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_an_error(mode, fsdp, message):
    with pytest.raises(UserError, match=message):
        sharding.make_mesh(mode, fsdp)


@pytest.mark.parametrize(
    'path, shape, spec',
    [
        (('params', 'kernel'), (3, 3, 256, 512), P(None, None, None, 'fsdp')),
        (('params', 'kernel'), (768, 12, 64), P('fsdp')),
        (('params', 'kernel'), (512, 512), P(None, 'fsdp')),  # of equals the last
        (('opt_state', 'mu', 'kernel'), (2048, 1000), P('fsdp')),
        (
            ('params', 'kernel'),
            (2049, 1000),
            P(None, 'fsdp'),
        ),  # the larger does not divide
        (('params', 'kernel'), (2049, 1001), P()),
        (('params', 'bias'), (2048,), P()),  # too small to be worth it
        (('model_state', 'mean'), (2**15,), P()),  # every device writes it
        (('step',), (), P()),
    ],
)
def test_the_longest_divisible_axis_of_a_large_leaf_is_split(path, shape, spec):
    assert sharding.fsdp_spec(path, shape, 8) == spec
    assert sharding.fsdp_spec(path, shape, 1) == P()


@settings(max_examples=50)
@given(st.lists(st.integers(1, 3000), max_size=4), st.sampled_from([2, 4, 8]))
def test_the_rule_splits_one_axis_evenly_or_none(shape, shards):
    spec = sharding.fsdp_spec(('params',), tuple(shape), shards)
    axes = [axis for axis, name in enumerate(spec) if name]
    assert len(axes) <= 1
    assert all(shape[axis] % shards == 0 for axis in axes)


def test_the_table_counts_the_bytes():
    state = {
        'params': {
            'kernel': jax.ShapeDtypeStruct((256, 512), 'float32'),
            'bias': jax.ShapeDtypeStruct((512,), 'float32'),
        },
        'step': jax.ShapeDtypeStruct((), 'int32'),
    }
    text = sharding.table(four(), state)
    assert 'mesh 2 data x 2 fsdp' in text
    assert (
        f'params: {256 * 512 * 4 // 2 + 512 * 4:,} bytes a device, of {257 * 512 * 4:,}'
        in text
    )
    (row,) = (line for line in text.splitlines() if line.endswith('params/kernel'))
    assert row.split() == [
        'axis',
        '1',
        f'{256 * 512 * 2:,}',
        'float32[256,',
        '512]',
        'params/kernel',
    ]


def test_a_batch_keeps_its_values_and_dtypes_on_the_devices(mesh):
    there = sharding.put(mesh, batch(7, 4 * mesh.size))
    assert there['image'].dtype == np.uint8
    assert there['image'].sharding.is_equivalent_to(sharding.split(mesh), 2)
    np.testing.assert_array_equal(there['index'], np.arange(4 * mesh.size))


@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_prefetching_keeps_all_batches_in_order(mesh, count):
    found = [
        int(b['image'][0, 0]) for b in sharding.prefetch(mesh, map(batch, range(count)))
    ]
    assert found == list(range(count))


def test_prefetching_reads_at_most_the_chosen_number_ahead(mesh):
    taken = []
    batches = (taken.append(i) or batch(i) for i in range(10))
    ahead = sharding.prefetch(mesh, batches, ahead=2)
    next(ahead)
    assert taken == [0, 1]
    next(ahead)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize('mode', ['jit', 'pmap'])
def test_a_compiled_update_takes_the_old_states_memory(mode):
    mesh = sharding.make_mesh(mode)

    def update(state, batch):
        return (
            {'params': state['params'] + 1},
            {'mean': batch['x'].mean()},
        )

    state = jax.device_put(
        {'params': np.zeros(8, np.float32)}, sharding.replicated(mesh)
    )
    step = sharding.compile_update(update, mesh, state)
    new, scalars = step(state, {'x': np.arange(4 * mesh.size, dtype=np.float32)})
    assert state['params'].is_deleted() and new['params'].sharding.is_fully_replicated
    np.testing.assert_array_equal(new['params'], 1)
    assert scalars['mean'] == (4 * mesh.size - 1) / 2


@pytest.mark.parametrize('axes, part', [({}, 8), ({'replicas': 4}, 2)])
def test_an_update_sees_the_batch_or_under_pmap_a_devices_part(axes, part):
    assert sharding.part_size(four(**axes), 8) == part
    for size in (6, 2):
        with pytest.raises(
            UserError,
            match=f'data.batch_size={size}: expected a multiple of the number of devices, 4',
        ):
            sharding.part_size(four(**axes), size)
