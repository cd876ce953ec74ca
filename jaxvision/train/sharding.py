"""Where arrays live: one mesh over all devices, batches split along its `data` axis, the state
whole on every device."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from collections import deque
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxvision.errors import UserError

Tree = Any


def make_mesh() -> Mesh:
    """All devices along one axis."""
    return jax.make_mesh((jax.device_count(),), ('data',), axis_types=(AxisType.Auto,))


def whole(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_size(mesh: Mesh, batch_size: int) -> None:
    if batch_size % mesh.size:
        raise UserError(f'data.batch_size={batch_size} does not divide over {mesh.size} devices')


def compile_update(update: Callable, mesh: Mesh) -> Callable:
    """`update(state, batch) -> (state, scalars)`, compiled; the old state's memory is reused."""
    return jax.jit(update, donate_argnums=0, in_shardings=(whole(mesh), split(mesh)),
                   out_shardings=(whole(mesh), whole(mesh)))


def compile_evaluate(evaluate: Callable, mesh: Mesh) -> Callable:
    """`evaluate(state, batch) -> records [B, ...]`, compiled."""
    return jax.jit(evaluate, in_shardings=(whole(mesh), split(mesh)), out_shardings=split(mesh))


def put(mesh: Mesh, batch: dict[str, np.ndarray]) -> Tree:
    """A host's batch split over the devices, without waiting."""
    return jax.device_put(batch, split(mesh))


def prefetch(mesh: Mesh, batches: Iterable[dict], ahead: int = 2) -> Iterator[Tree]:
    """The batches on the devices, copied while the ones before are worked on."""
    batches = iter(batches)
    queue = deque(put(mesh, batch) for batch in islice(batches, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(put(mesh, batch) for batch in islice(batches, 1))
