"""The time of a training step on other hardware, predicted by rooflines.

The prediction combines the costs of a compiled program with data sheets (Williams et al. 2009,
doi.org/10.1145/1498765.1498785).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxvision.cli.bench.collectives import Collective
from jaxvision.cli.bench.devices import Device, Topology

COMPILED = 'compiled program'
DATA_SHEET = 'data sheet'
ASSUMED = 'assumed'
# Parameters depend on no computation, so they can be fetched one layer ahead.
HIDEABLE = 'parameters gathered'


@dataclass(frozen=True)
class Assumed:
    """Assumptions, where neither the program nor a data sheet has a number.

    Attributes:
        utilization: fraction of peak FLOP/s and of memory bandwidth that is achieved.
        link_utilization: fraction of link bandwidth that is achieved. NVLink achieves 0.83:
            github.com/NVIDIA/nccl/issues/1264.
        hop: latency from a device to its neighbour in the slice or node, seconds.
        network_hop: latency from one slice or node to another, seconds.
    """

    utilization: float = 0.5
    link_utilization: float = 0.8
    hop: float = 1e-6
    network_hop: float = 1e-5


@dataclass(frozen=True)
class Costs:
    """The costs of a compiled training step, per device.

    Attributes:
        batch_size: images of all devices together.
        dtype: of matmuls and convolutions.
        flops: floating-point operations.
        bytes_accessed: memory traffic of the program as XLA fuses it for a CPU.
        arguments: bytes of all arguments.
        results: bytes of the results that do not take the place of an argument.
        temporaries: bytes of activations and other temporary arrays.
        parts: {name: bytes} of the arguments, such as 'parameters' and 'optimizer'.
        collectives: the arrays that devices exchange.
    """

    batch_size: int
    dtype: str
    flops: float
    bytes_accessed: float
    arguments: int
    results: int
    temporaries: int
    parts: dict[str, int]
    collectives: tuple[Collective, ...]


@dataclass(frozen=True)
class Transfer:
    """The collectives of one group.

    Attributes:
        operations: number of operations.
        arrays: number of arrays.
        bytes: bytes of all arrays, as reduced, as gathered, or before they are
            scattered.
        seconds: duration without overlap.
        waited: seconds for which the computation must wait even with the best overlap.
    """

    operations: int
    arrays: int
    bytes: int
    seconds: float
    waited: float


@dataclass(frozen=True)
class Number:
    """One number of the plan.

    Attributes:
        name: what it measures.
        value: the number.
        unit: such as 'B', 's' or 'FLOP'; '' without a unit.
        origin: where it is from, such as 'compiled program', 'data sheet' or 'config'.
    """

    name: str
    value: float | int | bool
    unit: str
    origin: str


def sent(kind: str, n: int) -> float:
    """Return the fraction of an array that each of n devices in a ring sends.

    It is 0 for a single device, 2 (n - 1) / n for an all-reduce, 1 for a
    collective-permute, and (n - 1) / n for other kinds.

    Args:
        kind: kind of the collective, such as 'all-reduce'.
        n: number of devices.
    """
    if n == 1:
        return 0.0
    if kind == 'all-reduce':
        return 2 * (n - 1) / n
    if kind == 'collective-permute':
        return 1.0
    return (n - 1) / n


def spread(members: Iterable[int], domain: int) -> tuple[int, int]:
    """Count the slices or nodes of a group of devices.

    Args:
        members: numbers of the devices from 0, at least one, equally many in each slice
            or node.
        domain: number of devices of a whole slice or node.

    Returns:
        (devices in each slice or node, number of slices or nodes).
    """
    places = [member // domain for member in members]
    across = len(set(places))
    return len(places) // across, across


def transfer_seconds(collective: Collective, device: Device, assumed: Assumed) -> float:
    """Return the seconds of a transfer: the bytes sent divided by the bandwidth.

    The devices exchange the array within their slice or node first. Then each device exchanges its
    part of the array with other slices or nodes.

    Args:
        collective: the array.
        device: data sheet of the devices.
        assumed: the fraction of the bandwidth that is achieved.
    """
    inside, across = spread(collective.members, device.domain)
    link = device.link * assumed.link_utilization
    network = device.network * assumed.link_utilization
    inside_bytes = sent(collective.kind, inside) * collective.bytes
    across_bytes = sent(collective.kind, across) * collective.bytes / inside
    return inside_bytes / link + across_bytes / network


def latency_seconds(collective: Collective, device: Device, assumed: Assumed) -> float:
    """Return the latency of an operation in seconds, which does not depend on its size.

    A message goes half way round each axis of a torus, or up a binary tree below a switch. An
    all-reduce goes there and back.

    Args:
        collective: an array of the operation.
        device: data sheet of the devices.
        assumed: the latency of a hop.
    """
    inside, across = spread(collective.members, device.domain)
    hops = math.log2(inside)
    if device.torus:
        hops = device.torus * inside ** (1 / device.torus) / 2
    one_way = math.log2(across) * assumed.network_hop
    if inside > 1:
        one_way += hops * assumed.hop
    if collective.kind == 'all-reduce':
        return 2 * one_way
    return one_way


def transfers(
    collectives: Iterable[Collective], device: Device, assumed: Assumed
) -> dict[str, Transfer]:
    """Add up the collectives of each group, which share the links one after the other.

    A combined operation pays its latency once. The latency is added to the group of its
    first array that is waited for, or else of its first array.

    Args:
        collectives: all of a program.
        device: data sheet of the devices.
        assumed: bandwidth and latency that are achieved.

    Returns:
        {group: its collectives together}.
    """
    rows_by_group: dict[str, list[tuple[Collective, float, bool]]] = {}
    paid_operations = set()
    for collective in sorted(collectives, key=lambda c: not c.waited_for):
        is_waited_for = collective.waited_for and collective.group != HIDEABLE
        seconds = transfer_seconds(collective, device, assumed)
        if collective.operation not in paid_operations:
            seconds += latency_seconds(collective, device, assumed)
            paid_operations.add(collective.operation)
        rows = rows_by_group.setdefault(collective.group, [])
        rows.append((collective, seconds, is_waited_for))
    return {group: _together(rows) for group, rows in rows_by_group.items()}


def _together(rows: list[tuple[Collective, float, bool]]) -> Transfer:
    """Add up (array, seconds, whether it is waited for)."""
    return Transfer(
        operations=len({collective.operation for collective, _, _ in rows}),
        arrays=len(rows),
        bytes=sum(collective.bytes for collective, _, _ in rows),
        seconds=math.fsum(seconds for _, seconds, _ in rows),
        waited=math.fsum(seconds for _, seconds, waited in rows if waited),
    )


def compute_seconds(costs: Costs, device: Device, assumed: Assumed) -> float:
    """Return the seconds of the FLOPs of a step, at the achieved FLOP/s.

    Args:
        costs: the costs of the step per device.
        device: data sheet of the devices.
        assumed: the fraction of the peak that is achieved.

    Raises:
        UserError: The data sheets have no peak for the dtype.
    """
    return costs.flops / (device.peak(costs.dtype) * assumed.utilization)


def memory_seconds(costs: Costs, device: Device, assumed: Assumed) -> float:
    """Return the seconds of the traffic `once_bytes`, at the achieved bandwidth.

    Args:
        costs: the costs of the step per device.
        device: data sheet of the devices.
        assumed: the fraction of the bandwidth that is achieved.
    """
    return once_bytes(costs) / (device.memory_bandwidth * assumed.utilization)


def once_bytes(costs: Costs) -> int:
    """Return the bytes of memory traffic per device if every array is touched once.

    Arguments and temporaries are read once and written once. Other results are written
    once.
    """
    return 2 * costs.arguments + costs.results + 2 * costs.temporaries


def peak_bytes(costs: Costs) -> int:
    """Return the peak memory of a step, bytes per device; the new state replaces the
    old.

    The peak is too high for bfloat16, because XLA computes bfloat16 as float32 on a CPU. A step of
    ResNet-50 has 597 MB of temporaries compiled for a CPU, and 319 MB compiled for v5e.
    """
    return costs.arguments + costs.results + costs.temporaries


def step_seconds(work: float, moved: Iterable[Transfer]) -> tuple[float, float]:
    """Return the time of a step without and with overlap of computation and transfers.

    Args:
        work: seconds of the computation.
        moved: the transfers.

    Returns:
        (seconds if all follow each other, seconds if the transfers run beside the
        computation as far as it need not wait for them). The second number is at most
        the first.
    """
    moved = list(moved)
    total = math.fsum(transfer.seconds for transfer in moved)
    waited = math.fsum(transfer.waited for transfer in moved)
    return work + total, waited + max(work, total - waited)


def plan(costs: Costs, topology: Topology, assumed: Assumed) -> dict[str, list[Number]]:
    """Predict a training step.

    Args:
        costs: the costs of the compiled step per device.
        topology: the devices.
        assumed: the numbers that are assumed.

    Returns:
        {section: its numbers}, each number with its origin. The sections are 'memory',
        'work', 'collectives', 'step', 'data sheet' and 'assumed'.

    Raises:
        UserError: The data sheets have no peak for the dtype.
    """
    device = topology.device
    moved = transfers(costs.collectives, device, assumed)
    compute = compute_seconds(costs, device, assumed)
    memory = memory_seconds(costs, device, assumed)
    return {
        'memory': _memory(costs, device),
        'work': _work(costs, compute, memory),
        'collectives': _collectives(moved, costs),
        'step': _step(costs, topology, moved, max(compute, memory)),
        'data sheet': _data_sheet(topology, costs.dtype),
        'assumed': _assumed(assumed),
    }


def _memory(costs: Costs, device: Device) -> list[Number]:
    peak = peak_bytes(costs)
    both = f'{COMPILED}, {DATA_SHEET}'
    temporaries = 'activations and other temporaries'
    return [
        *(Number(name, size, 'B', COMPILED) for name, size in costs.parts.items()),
        Number(temporaries, costs.temporaries, 'B', COMPILED),
        Number('peak', peak, 'B', COMPILED),
        Number('fraction of the memory', peak / device.memory, '', both),
        Number('fits', peak <= device.memory, '', both),
    ]


def _work(costs: Costs, compute: float, memory: float) -> list[Number]:
    """The FLOPs and the memory traffic.

    Args:
        costs: of the step.
        compute: seconds of the FLOPs.
        memory: seconds of the memory traffic.
    """
    mixed = f'{COMPILED}, {DATA_SHEET}, {ASSUMED} utilization'
    once = 'memory traffic if every array is touched once'
    fused = 'memory traffic as fused for a CPU (not used)'
    return [
        Number('FLOPs', costs.flops, 'FLOP', COMPILED),
        Number('compute', compute, 's', mixed),
        Number(once, once_bytes(costs), 'B', COMPILED),
        Number('memory', memory, 's', mixed),
        Number(fused, costs.bytes_accessed, 'B', COMPILED),
    ]


def _collectives(moved: Mapping[str, Transfer], costs: Costs) -> list[Number]:
    mixed = f'{COMPILED}, {DATA_SHEET}, {ASSUMED} utilization and latency'
    rows = []
    for group, transfer in moved.items():
        rows += [
            Number(f'{group}: operations', transfer.operations, '', COMPILED),
            Number(f'{group}: bytes', transfer.bytes, 'B', COMPILED),
            Number(f'{group}: time', transfer.seconds, 's', mixed),
            Number(f'{group}: time that is never hidden', transfer.waited, 's', mixed),
        ]
    promoted = [c.bytes for c in costs.collectives if c.promoted]
    if sum(promoted):
        name = 'bfloat16 that only a CPU sends as float32'
        rows.append(Number(name, sum(promoted), 'B', COMPILED))
    return rows


def _step(
    costs: Costs, topology: Topology, moved: Mapping[str, Transfer], work: float
) -> list[Number]:
    """The time, speed and efficiency of a step.

    Args:
        costs: of the step.
        topology: the devices.
        moved: the transfers by group.
        work: seconds of the computation.
    """
    origin = f'all of the above, {ASSUMED} overlap'
    rows = [
        Number('devices', topology.devices, '', 'topology'),
        Number('batch', costs.batch_size, '', 'config'),
    ]
    without, overlapped = step_seconds(work, moved.values())
    for name, step in {'without overlap': without, 'with overlap': overlapped}.items():
        rows += [
            Number(f'step {name}', step, 's', origin),
            Number(f'images/s {name}', costs.batch_size / step, '', origin),
            Number(f'efficiency {name}', work / step, '', origin),
        ]
    return rows


def _data_sheet(topology: Topology, dtype: str) -> list[Number]:
    device = topology.device
    return [
        Number(f'peak, {dtype}', device.peak(dtype), 'FLOP/s', DATA_SHEET),
        Number('memory', device.memory, 'B', DATA_SHEET),
        Number('memory bandwidth', device.memory_bandwidth, 'B/s', DATA_SHEET),
        Number('link, one way', device.link, 'B/s', DATA_SHEET),
        Number('network, one way', device.network, 'B/s', DATA_SHEET),
        Number('devices joined by links', device.domain, '', DATA_SHEET),
        Number('devices a host', device.host, '', DATA_SHEET),
    ]


def _assumed(assumed: Assumed) -> list[Number]:
    names = {
        'fraction of peak and of memory bandwidth': (assumed.utilization, ''),
        'fraction of link bandwidth': (assumed.link_utilization, ''),
        'latency of a hop': (assumed.hop, 's'),
        'latency of a hop between slices or nodes': (assumed.network_hop, 's'),
    }
    return [Number(name, value, unit, ASSUMED) for name, (value, unit) in names.items()]
