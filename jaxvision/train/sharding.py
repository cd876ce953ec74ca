"""Where arrays live: a mesh of the axes `data` and `fsdp`. A batch is split over both, and large
parameters, with the optimizer's and the average's copies of them, over `fsdp`.

Under 'jit' the compiler sees one program over the whole batch. Under 'pmap' each device runs the
update on its own part, so batch statistics are its own, and update.py takes the means.
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
from jaxvision.core.task import Evaluate, Update
from jaxvision.core.types import Batch, Records, Tree
from jaxvision.train.update import REPLICAS

SMALLEST = 2**14  # elements of an array that is worth splitting
# Parts of the state that every device writes alike.
REPLICATED = ('step', 'key', 'bad_step', 'model_state')

Mode = Literal['jit', 'pmap']


def make_mesh(mode: Mode = 'jit', fsdp: int = 1) -> Mesh:
    """All devices of all processes; each `fsdp` in a row share the parameters among them.

    In order of the processes, so that process p has the p-th part of a batch; and a group of
    `fsdp` devices is on one machine where it fits.
    """
    devices = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    if mode == 'pmap' and fsdp > 1:
        raise UserError(
            "parallel.fsdp is for parallel.mode='jit': under pmap every device holds "
            'all parameters'
        )
    if len(devices) % fsdp:
        raise UserError(
            f'parallel.fsdp={fsdp} does not divide the {len(devices)} devices'
        )
    if mode == 'pmap':
        return Mesh(np.array(devices), (REPLICAS,))
    return Mesh(np.array(devices).reshape(-1, fsdp), ('data', 'fsdp'))


def whole(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def fsdp_spec(
    path: tuple[str, ...], shape: tuple[int, ...], shards: int
) -> PartitionSpec:
    """Which axis of a leaf of the state is split over `fsdp`: the largest that divides, of equals
    the last, if the leaf is large."""
    divisible = [axis for axis, size in enumerate(shape) if size % shards == 0]
    if (
        shards == 1
        or path[0] in REPLICATED
        or math.prod(shape) < SMALLEST
        or not divisible
    ):
        return PartitionSpec()
    longest = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*[None] * longest, 'fsdp')


def place(mesh: Mesh, state: Tree) -> Tree:
    """The sharding of each leaf of a state."""
    shards = mesh.shape.get('fsdp', 1)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(
            mesh, fsdp_spec(_names(path), leaf.shape, shards)
        ),
        state,
    )


def part_size(mesh: Mesh, batch_size: int) -> int:
    """How many examples an update sees at once: all of a batch, or under pmap a device's part."""
    if batch_size % mesh.size:
        raise UserError(
            f'data.batch_size={batch_size} does not divide over {mesh.size} devices'
        )
    return batch_size // mesh.size if REPLICAS in mesh.axis_names else batch_size


def compile_update(update: Update, mesh: Mesh, state: Tree) -> Update:
    """`update(state, batch) -> (state, scalars)`, compiled for a state of these shapes; the old
    state's memory is reused."""
    if REPLICAS in mesh.axis_names:
        # As jax.pmap does it today, without its detour over arrays of one process.
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
        out_shardings=(placed, whole(mesh)),
    )


def _gathered(mesh: Mesh, state: Tree, *parts: str) -> Tree:
    """The state with these parts whole: left to itself the compiler sometimes gathers activations
    in the place of the parameters."""
    if mesh.shape.get('fsdp', 1) == 1:
        return state
    return state.replace(
        **{
            part: jax.lax.with_sharding_constraint(getattr(state, part), whole(mesh))
            for part in parts
        }
    )


def compile_evaluate(evaluate: Evaluate, mesh: Mesh, state: Tree) -> Evaluate:
    """`evaluate(state, batch) -> records [B, ...]`, compiled; with the batch's index, and which of
    it are present, all whole on every device, so that each process has those of all."""

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
        out_shardings=whole(mesh),
    )


def put(mesh: Mesh, batch: Records) -> Batch:
    """This process's part of a batch, on its devices as its part of the global one, without
    waiting."""
    if jax.process_count() == 1:
        return jax.device_put(batch, split(mesh))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(split(mesh), np.asarray(x)),
        batch,
    )


def prefetch(mesh: Mesh, batches: Iterable[Records], ahead: int = 2) -> Iterator[Batch]:
    """The batches on the devices, copied while the ones before are worked on."""
    batches = iter(batches)
    queue = deque(put(mesh, batch) for batch in islice(batches, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(put(mesh, batch) for batch in islice(batches, 1))


def table(mesh: Mesh, state: Tree) -> str:
    """Every leaf of a state: how it is split, and its bytes on each device; sums by part."""
    rows, whole_bytes, device_bytes = [], Counter(), Counter()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for (path, leaf), sharding in zip(
        leaves, jax.tree.leaves(place(mesh, state)), strict=True
    ):
        names = _names(path)
        size = leaf.dtype.itemsize
        here = math.prod(sharding.shard_shape(leaf.shape)) * size
        whole_bytes[names[0]] += math.prod(leaf.shape) * size
        device_bytes[names[0]] += here
        axis = next(
            (f'axis {i}' for i, name in enumerate(sharding.spec) if name), 'whole'
        )
        rows.append(
            f'{axis:7} {here:>13,}  {leaf.dtype}{list(leaf.shape)}  {"/".join(names)}'
        )
    sums = [
        f'{part}: {device_bytes[part]:,} bytes a device, of {total:,}'
        for part, total in whole_bytes.items()
        if total > 16
    ]
    shape = ' x '.join(f'{size} {axis}' for axis, size in mesh.shape.items())
    return (
        '\n'.join([f'mesh {shape}', *sums, '', 'split   bytes a device', *rows]) + '\n'
    )


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
