"""A training step on paper: from what the compiled program costs, and what a device can do, to the
time that the step takes, by rooflines (Williams et al. 2009)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from jaxvision.cli.bench.collectives import Collective
from jaxvision.cli.bench.devices import Device, Topology

COMPILED = 'compiled program'
DATA_SHEET = 'data sheet'
ASSUMED = 'assumed'
# They wait for nothing, so they can be fetched a layer ahead.
HIDEABLE = 'parameters gathered'


@dataclass(frozen=True)
class Assumed:
    """What neither the program nor a data sheet says."""

    utilization: float = 0.5  # of peak FLOP/s and of memory bandwidth that is achieved
    # Of link bandwidth; NVLink 0.83: github.com/NVIDIA/nccl/issues/1264
    link_utilization: float = 0.8
    hop: float = 1e-6  # seconds from a device to the next in its slice or node
    network_hop: float = 1e-5  # and from one slice or node to another


@dataclass(frozen=True)
class Costs:
    """What one device's part of the compiled step costs; bytes and FLOPs are per device."""

    batch_size: int  # of all devices
    dtype: str  # of matmuls and convolutions
    flops: float
    bytes_accessed: float
    arguments: int
    results: int  # that do not take an argument's place
    temporaries: int
    parts: dict[
        str, int
    ]  # bytes of the arguments by what they are: parameters, optimizer, ...
    collectives: tuple[Collective, ...]


@dataclass(frozen=True)
class Transfer:
    """The collectives of one group: bytes that they reduce or gather, time, and how much of it the
    computation has to wait for even where the two overlap as far as they can."""

    operations: int
    arrays: int
    bytes: int
    seconds: float
    waited: float


@dataclass(frozen=True)
class Number:
    name: str
    value: float | int | bool
    unit: str
    origin: str


def sent(kind: str, n: int) -> float:
    """What share of an array each of n devices sends, along a ring."""
    if n == 1:
        return 0.0
    return {'all-reduce': 2 * (n - 1) / n, 'collective-permute': 1.0}.get(
        kind, (n - 1) / n
    )


def spread(members: Iterable[int], domain: int) -> tuple[int, int]:
    """Over how many devices of a slice or node, and how many of these, a group extends."""
    places = [member // domain for member in members]
    across = len(set(places))
    return len(places) // across, across


def transfer_seconds(one: Collective, device: Device, assumed: Assumed) -> float:
    """Bytes over bandwidth: first within the slice or node, then, each device with its part of the
    array, between them."""
    inside, across = spread(one.members, device.domain)
    return sent(one.kind, inside) * one.bytes / (
        device.link * assumed.link_utilization
    ) + sent(one.kind, across) * one.bytes / inside / (
        device.network * assumed.link_utilization
    )


def latency_seconds(one: Collective, device: Device, assumed: Assumed) -> float:
    """The hops of one operation, however little it moves: half way round each axis of a torus, or
    up a binary tree where a switch joins all; an all-reduce goes there and back."""
    inside, across = spread(one.members, device.domain)
    hops = (
        device.torus * inside ** (1 / device.torus) / 2
        if device.torus
        else math.log2(inside)
    )
    way = hops * assumed.hop * (inside > 1) + math.log2(across) * assumed.network_hop
    return way * (2 if one.kind == 'all-reduce' else 1)


def transfers(
    collectives: Iterable[Collective], device: Device, assumed: Assumed
) -> dict[str, Transfer]:
    """{group: its collectives together}, one after the other as they share the links; a combined
    operation pays its latency once, in the group of its first array that is waited for."""
    groups: dict[str, list] = {}
    paid = set()
    for one in sorted(collectives, key=lambda one: not one.waited_for):
        waited = one.waited_for and one.group != HIDEABLE
        seconds = transfer_seconds(one, device, assumed)
        if one.operation not in paid:
            seconds += latency_seconds(one, device, assumed)
            paid.add(one.operation)
        groups.setdefault(one.group, []).append((one, seconds, waited))
    return {group: _together(rows) for group, rows in groups.items()}


def _together(rows: list[tuple[Collective, float, bool]]) -> Transfer:
    return Transfer(
        len({one.operation for one, _, _ in rows}),
        len(rows),
        sum(one.bytes for one, _, _ in rows),
        math.fsum(seconds for _, seconds, _ in rows),
        math.fsum(seconds for _, seconds, waited in rows if waited),
    )


def compute_seconds(costs: Costs, device: Device, assumed: Assumed) -> float:
    return costs.flops / (device.peak(costs.dtype) * assumed.utilization)


def memory_seconds(costs: Costs, device: Device, assumed: Assumed) -> float:
    """Every argument read, every result written, every temporary written and read, once."""
    return once_bytes(costs) / (device.memory_bandwidth * assumed.utilization)


def once_bytes(costs: Costs) -> int:
    return 2 * costs.arguments + costs.results + 2 * costs.temporaries


def peak_bytes(costs: Costs) -> int:
    """Of memory; the new state takes the old one's place. Rather too much for bfloat16, in which
    XLA computes on an accelerator but not on a CPU: for v5e it made 319 MB of temporaries of a
    ResNet-50 step where it makes 597 MB of it for a CPU."""
    return costs.arguments + costs.results + costs.temporaries


def step_seconds(work: float, moved: Iterable[Transfer]) -> tuple[float, float]:
    """(without overlap, with): work and transfers one after the other; or what can hide hidden
    behind the work, and only what the work waits for added."""
    moved = list(moved)
    total, waited = (
        math.fsum(t.seconds for t in moved),
        math.fsum(t.waited for t in moved),
    )
    return work + total, waited + max(work, total - waited)


def plan(costs: Costs, topology: Topology, assumed: Assumed) -> dict[str, list[Number]]:
    """Everything that the plan says, in sections, each number with its origin."""
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
    parts = [Number(name, size, 'B', COMPILED) for name, size in costs.parts.items()]
    peak = peak_bytes(costs)
    return parts + [
        Number('activations and other temporaries', costs.temporaries, 'B', COMPILED),
        Number('peak', peak, 'B', COMPILED),
        Number(
            'fraction of the memory',
            peak / device.memory,
            '',
            f'{COMPILED}, {DATA_SHEET}',
        ),
        Number('fits', peak <= device.memory, '', f'{COMPILED}, {DATA_SHEET}'),
    ]


def _work(costs: Costs, compute: float, memory: float) -> list[Number]:
    mixed = f'{COMPILED}, {DATA_SHEET}, {ASSUMED} utilization'
    return [
        Number('FLOPs', costs.flops, 'FLOP', COMPILED),
        Number('compute', compute, 's', mixed),
        Number(
            'memory traffic if all is touched once', once_bytes(costs), 'B', COMPILED
        ),
        Number('memory', memory, 's', mixed),
        Number(
            'memory traffic as fused for a CPU (not used)',
            costs.bytes_accessed,
            'B',
            COMPILED,
        ),
    ]


def _collectives(moved: dict[str, Transfer], costs: Costs) -> list[Number]:
    mixed = f'{COMPILED}, {DATA_SHEET}, {ASSUMED} utilization and latency'
    rows = []
    for group, transfer in moved.items():
        rows += [
            Number(f'{group}: operations', transfer.operations, '', COMPILED),
            Number(f'{group}: bytes', transfer.bytes, 'B', COMPILED),
            Number(f'{group}: time', transfer.seconds, 's', mixed),
            Number(f'{group}: of it never hidden', transfer.waited, 's', mixed),
        ]
    promoted = sum(one.bytes for one in costs.collectives if one.promoted)
    if promoted:
        rows.append(
            Number(
                'in operations that send bfloat16 as float32 on a CPU only',
                promoted,
                'B',
                COMPILED,
            )
        )
    return rows


def _step(
    costs: Costs, topology: Topology, moved: dict[str, Transfer], work: float
) -> list[Number]:
    origin, rows = f'all of the above, {ASSUMED} overlap', []
    for how, step in zip(
        ('without overlap', 'with overlap'),
        step_seconds(work, moved.values()),
        strict=True,
    ):
        rows += [
            Number(f'step {how}', step, 's', origin),
            Number(f'images/s {how}', costs.batch_size / step, '', origin),
            Number(f'efficiency {how}', work / step, '', origin),
        ]
    return [
        Number('devices', topology.devices, '', 'topology'),
        Number('batch', costs.batch_size, '', 'config'),
        *rows,
    ]


def _data_sheet(topology: Topology, dtype: str) -> list[Number]:
    device, where = topology.device, DATA_SHEET
    return [
        Number(f'peak, {dtype}', device.peak(dtype), 'FLOP/s', where),
        Number('memory', device.memory, 'B', where),
        Number('memory bandwidth', device.memory_bandwidth, 'B/s', where),
        Number('link, one way', device.link, 'B/s', where),
        Number('network, one way', device.network, 'B/s', where),
        Number('devices joined by links', device.domain, '', where),
        Number('devices a host', device.host, '', where),
    ]


def _assumed(assumed: Assumed) -> list[Number]:
    return [
        Number(
            'fraction of peak and of memory bandwidth', assumed.utilization, '', ASSUMED
        ),
        Number('fraction of link bandwidth', assumed.link_utilization, '', ASSUMED),
        Number('latency of a hop', assumed.hop, 's', ASSUMED),
        Number(
            'latency of a hop between slices or nodes',
            assumed.network_hop,
            's',
            ASSUMED,
        ),
    ]
