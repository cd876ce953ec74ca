"""Placement of arrays on a mesh of devices with the axes `data` and `fsdp`.

A batch is split over both axes. Large parameters are split over `fsdp`, and so are their
optimizer state and their averages.

Under 'jit' the compiler sees one program over the whole batch. Under 'pmap' each device runs the
update on its part of the batch, with separate batch statistics, and update.py takes means.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvision.core.errors import UserError
from jaxvision.core.task import Evaluate, Evaluation, Update
from jaxvision.core.types import Batch, Records, Tree
from jaxvision.train.update import REPLICAS

# Number of elements from which an array is worth splitting.
SMALLEST = 2**14
# Parts of the state that are replicated on all devices.
REPLICATED = ('step', 'key', 'bad_step', 'model_state')

Mode = Literal['jit', 'pmap']


def make_mesh(mode: Mode = 'jit', fsdp: int = 1) -> Mesh:
    """Make a mesh of all devices of all processes.

    The devices are in the order of their processes. So process p has the p-th part of a batch,
    and a group of `fsdp` devices is on one machine if it fits.

    Args:
        mode: 'jit', or 'pmap' for a mesh with the axis REPLICAS only.
        fsdp: number of devices over which parameters are split.

    Returns:
        The mesh, with the axes ('data', 'fsdp'), or ('replicas',) under 'pmap'.

    Raises:
        UserError: `fsdp` does not fit the mode or the number of devices.
    """
    devices = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    if mode == 'pmap' and fsdp > 1:
        raise UserError(
            f'parallel.fsdp={fsdp}: expected 1 with parallel.mode=pmap, where every device '
            'has all parameters. Set parallel.mode=jit'
        )
    if len(devices) % fsdp:
        raise UserError(
            f'parallel.fsdp={fsdp}: expected a divisor of the number of devices, '
            f'{len(devices)}'
        )
    if mode == 'pmap':
        return Mesh(np.array(devices), (REPLICAS,))
    return Mesh(np.array(devices).reshape(-1, fsdp), ('data', 'fsdp'))


def replicated(mesh: Mesh) -> NamedSharding:
    """Make the sharding that keeps a whole copy of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Make the sharding that splits the first axis of an array over all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def fsdp_spec(
    path: tuple[str, ...], shape: tuple[int, ...], shards: int
) -> PartitionSpec:
    """Choose the axis of a leaf that is split over `fsdp`.

    It is the longest axis that `shards` divides, and the last of several equal ones.

    Args:
        path: the keys of the leaf in the state, such as ('params', 'model', 'kernel').
        shape: the shape of the leaf.
        shards: the size of the mesh axis `fsdp`.

    Returns:
        The partition. It is empty, for a copy on every device, if no axis is divisible,
        `shards` is 1, or the leaf has fewer than 16,384 elements. It is also empty for
        'step', 'key', 'bad_step' and the model state.
    """
    divisible = [axis for axis, size in enumerate(shape) if size % shards == 0]
    is_small = math.prod(shape) < SMALLEST
    if shards == 1 or path[0] in REPLICATED or is_small or not divisible:
        return PartitionSpec()
    longest = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*[None] * longest, 'fsdp')


def place(mesh: Mesh, state: Tree) -> Tree:
    """Choose the sharding of each leaf of a state; no array is moved.

    Args:
        mesh: the devices.
        state: a state, or its shapes.

    Returns:
        A tree with the structure of the state, and a `NamedSharding` per leaf.
    """
    shards = mesh.shape.get('fsdp', 1)

    def place_leaf(path, leaf):
        return NamedSharding(mesh, fsdp_spec(_keys(path), leaf.shape, shards))

    return jax.tree_util.tree_map_with_path(place_leaf, state)


def part_size(mesh: Mesh, batch_size: int) -> int:
    """Count the examples of one update: the whole batch, or under pmap the part of a device.

    Raises:
        UserError: The batch does not divide over the devices.
    """
    if batch_size % mesh.size:
        raise UserError(
            f'data.batch_size={batch_size}: expected a multiple of the number of devices, '
            f'{mesh.size}'
        )
    if REPLICAS in mesh.axis_names:
        return batch_size // mesh.size
    return batch_size


def compile_update(update: Update, mesh: Mesh, state: Tree) -> Update:
    """Compile an update, which then reuses the memory of the old state.

    Args:
        update: `(state, batch) -> (state, scalars)`. On a mesh for pmap it sees the
            part of a device, and itself averages gradients over the axis `REPLICAS`.
        mesh: the devices.
        state: a state, or its shapes.

    Returns:
        The compiled update. The state passed to it must not be used afterwards.
    """
    if REPLICAS in mesh.axis_names:
        # As jax.pmap does it today, but also for arrays of several processes.
        update = jax.shard_map(
            update,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(REPLICAS)),
            out_specs=PartitionSpec(),
            check_vma=False,
        )

    placed = place(mesh, state)
    return jax.jit(
        lambda state, batch: update(_gathered(mesh, state, 'params', 'frozen'), batch),
        donate_argnums=0,
        in_shardings=(placed, split(mesh)),
        out_shardings=(placed, replicated(mesh)),
    )


def _gathered(mesh: Mesh, state: Tree, *parts: str) -> Tree:
    """Gather parts of the state on every device, inside a program.

    Otherwise the compiler sometimes gathers activations instead of parameters.
    """
    if mesh.shape.get('fsdp', 1) == 1:
        return state
    whole = replicated(mesh)
    gathered = {
        part: jax.lax.with_sharding_constraint(getattr(state, part), whole)
        for part in parts
    }
    return state.replace(**gathered)


def compile_evaluate(
    evaluate: Evaluate, mesh: Mesh, state: Tree, is_replicated: bool = True
) -> Evaluate:
    """Compile the map of an evaluation.

    Args:
        evaluate: `(state, batch) -> records [B, ...]`.
        mesh: the devices.
        state: a state, or its shapes.
        is_replicated: whether every process gets all records. Otherwise they are split
            like the batch, see `local_rows`.

    Returns:
        The compiled map. Its batch must hold 'index' and 'present', which it adds to
        the records.
    """

    def records(state, batch):
        state = _gathered(mesh, state, 'params', 'ema', 'frozen')
        return {
            **evaluate(state, batch),
            'index': batch['index'],
            'present': batch['present'],
        }

    return jax.jit(
        records,
        in_shardings=(place(mesh, state), split(mesh)),
        out_shardings=replicated(mesh) if is_replicated else split(mesh),
    )


def compile_evaluation(evaluation: Evaluation, mesh: Mesh, state: Tree) -> Evaluate:
    """Compile the map of an evaluation, whose compact records stay on their process.

    Args:
        evaluation: with the map `evaluate`.
        mesh: the devices.
        state: a state, or its shapes.
    """
    is_replicated = evaluation.compact is None
    return compile_evaluate(evaluation.evaluate, mesh, state, is_replicated)


def local_rows(records: Batch) -> Records:
    """Copy this process's part of records to the host.

    Args:
        records: arrays [B, ...], split over all devices along the first axis.

    Returns:
        The rows of this process's devices, in the order of the batch.
    """
    return {name: _local_rows(array) for name, array in records.items()}


def _local_rows(array: jax.Array) -> np.ndarray:
    shards = sorted(
        array.addressable_shards, key=lambda shard: shard.index[0].start or 0
    )
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def put(mesh: Mesh, batch: Records) -> Batch:
    """Copy this process's part of a batch to its devices, without waiting.

    Args:
        mesh: the devices.
        batch: {name: array}, which the devices of this process divide along the first
            axis.

    Returns:
        The global batch of all processes, split over all devices along the first axis.
    """
    sharding = split(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)

    def put_part(x):
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put_part, batch)


def prefetch(mesh: Mesh, batches: Iterable[Records], ahead: int = 2) -> Iterator[Batch]:
    """Copy batches to the devices ahead of their use.

    Args:
        mesh: the devices.
        batches: this process's parts of the batches.
        ahead: number of batches on the devices, with the one in use; at least 1.

    Yields:
        The batches on the devices.
    """
    batches = iter(batches)
    queue = deque(put(mesh, batch) for batch in islice(batches, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(put(mesh, batch) for batch in islice(batches, 1))


def table(mesh: Mesh, state: Tree) -> str:
    """Describe the placement and bytes of every leaf of a state, for sharding.txt.

    Args:
        mesh: the devices.
        state: a state, or its shapes.

    Returns:
        Lines with the mesh, the bytes per device of each part of the state, and of each
        leaf.
    """
    rows = []
    total_bytes = Counter()
    device_bytes = Counter()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    shardings = jax.tree.leaves(place(mesh, state))
    for (path, leaf), sharding in zip(leaves, shardings, strict=True):
        keys = _keys(path)
        part = keys[0]
        shard_shape = sharding.shard_shape(leaf.shape)
        shard_bytes = math.prod(shard_shape) * leaf.dtype.itemsize
        total_bytes[part] += math.prod(leaf.shape) * leaf.dtype.itemsize
        device_bytes[part] += shard_bytes
        array = f'{leaf.dtype}{list(leaf.shape)}'
        placement = _placement(sharding.spec)
        name = '/'.join(keys)
        rows.append(f'{placement:7} {shard_bytes:>13,}  {array}  {name}')
    sums = [
        f'{part}: {device_bytes[part]:,} bytes a device, of {total:,}'
        for part, total in total_bytes.items()
        if total > 16
    ]
    shape = ' x '.join(f'{size} {axis}' for axis, size in mesh.shape.items())
    lines = [f'mesh {shape}', *sums, '', 'split   bytes a device', *rows]
    return '\n'.join(lines) + '\n'


def _placement(spec: PartitionSpec) -> str:
    for axis, name in enumerate(spec):
        if name:
            return f'axis {axis}'
    return 'whole'


def _keys(path: tuple) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
