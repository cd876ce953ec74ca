"""The arithmetic of the plan, by hand."""

import dataclasses

import pytest

from jaxvision.cli.bench.collectives import Collective
from jaxvision.cli.bench.devices import Device, Topology
from jaxvision.cli.bench.plan import (
    Assumed,
    Costs,
    latency_seconds,
    plan,
    sent,
    spread,
    step_seconds,
    transfer_seconds,
    transfers,
)

DEVICE = Device(
    'toy',
    bfloat16=100.0,
    float32=50.0,
    memory=1000,
    memory_bandwidth=10.0,
    link=4.0,
    network=1.0,
    domain=4,
    host=4,
    torus=0,
    sources=('here',),
)
CERTAIN = Assumed(utilization=1.0, link_utilization=1.0, hop=0.0, network_hop=0.0)


def collective(
    size=8, members=(0, 1, 2, 3), kind='all-reduce', name='', waited=False, op='c'
):
    return Collective(op, kind, 'f32', (size,), tuple(members), name, waited, False)


@pytest.mark.parametrize(
    'kind, n, fraction',
    [
        ('all-reduce', 4, 1.5),
        ('all-reduce', 2, 1.0),
        ('all-reduce', 1, 0),
        ('all-gather', 4, 0.75),
        ('reduce-scatter', 8, 0.875),
        ('collective-permute', 2, 1),
    ],
)
def test_the_fraction_that_each_device_of_a_ring_sends(kind, n, fraction):
    assert sent(kind, n) == fraction


@pytest.mark.parametrize(
    'members, expected',
    [
        (range(4), (4, 1)),
        (range(16), (4, 4)),
        ((0, 4, 8, 12), (1, 4)),
        ((1,), (1, 1)),
        ((0, 1, 4, 5), (2, 2)),
    ],
)
def test_a_group_is_counted_within_and_across_nodes_of_four(members, expected):
    assert spread(members, 4) == expected


@pytest.mark.parametrize(
    'members, seconds',
    [
        (range(4), 1.5 * 32 / 4),  # on the links alone
        ((0, 4), 1.0 * 32 / 1),  # on the network alone
        (range(16), 1.5 * 32 / 4 + 1.5 * (32 / 4)),
    ],
)  # a quarter of the array each between nodes
def test_time_is_bytes_over_bandwidth(members, seconds):
    assert transfer_seconds(collective(8, members), DEVICE, CERTAIN) == pytest.approx(
        seconds
    )
    half = dataclasses.replace(CERTAIN, link_utilization=0.5)
    assert transfer_seconds(collective(8, members), DEVICE, half) == pytest.approx(
        2 * seconds
    )


@pytest.mark.parametrize(
    'torus, count, hops', [(0, 8, 3), (2, 256, 16), (3, 64, 6), (2, 1, 0)]
)
def test_latency_counts_hops_there_and_back(torus, count, hops):
    device = dataclasses.replace(DEVICE, torus=torus, domain=256)
    assumed = Assumed(hop=1.0)
    every = collective(1, range(count))
    assert latency_seconds(every, device, assumed) == pytest.approx(2 * hops)
    gather = dataclasses.replace(every, kind='all-gather')
    assert latency_seconds(gather, device, assumed) == pytest.approx(hops)


def test_a_combined_operation_pays_its_latency_once():
    pair = [
        collective(op='c', name='transpose(jvp'),
        collective(op='c', name='transpose(jvp'),
    ]
    [[group, moved]] = transfers(
        pair, DEVICE, Assumed(link_utilization=1.0, hop=1.0)
    ).items()
    assert (group, moved.operations, moved.arrays, moved.bytes) == (
        'gradient',
        1,
        2,
        64,
    )
    assert moved.seconds == pytest.approx(2 * 12 + 2 * 2) and moved.waited == 0


def test_overlap_hides_the_transfers_that_nothing_waits_for():
    moved = transfers(
        [
            collective(name='jvp(', waited=True, op='a'),
            collective(name='transpose(', op='b'),
        ],
        DEVICE,
        CERTAIN,
    ).values()
    assert step_seconds(100.0, moved) == (124, 112)  # 12 s each
    assert step_seconds(5.0, moved) == (
        29,
        24,
    )  # the gradient's transfer outlasts the work


def test_gathered_parameters_can_be_fetched_ahead():
    gathered = collective(kind='all-gather', waited=True)
    assert transfers([gathered], DEVICE, CERTAIN)['parameters gathered'].waited == 0


def test_a_whole_plan():
    """600 FLOPs at 50 take 12 s, 2 x 30 + 2 x 10 bytes at 10 take 8 s, 12 s of gradient."""
    costs = Costs(
        24,
        'float32',
        600.0,
        999.0,
        arguments=30,
        results=0,
        temporaries=10,
        parts={'parameters': 20, 'batch': 10},
        collectives=(collective(name='transpose(jvp'),),
    )
    sections = plan(costs, Topology('4xtoy', DEVICE, 4), CERTAIN)
    by_name = {n.name: n for numbers in sections.values() for n in numbers}

    def value(name):
        return by_name[name].value

    assert (value('compute'), by_name['compute'].unit) == (12, 's')
    assert [n.value for n in sections['work'] if n.name == 'memory'] == [8]
    assert (
        value('peak') == 40
        and value('fits')
        and value('fraction of the memory') == 0.04
    )
    assert (value('step without overlap'), value('step with overlap')) == (24, 12)
    assert (value('images/s without overlap'), value('images/s with overlap')) == (1, 2)
    assert (value('efficiency without overlap'), value('efficiency with overlap')) == (
        0.5,
        1,
    )
    assert value('gradient: bytes') == 32 and value('gradient: operations') == 1
    assert by_name['parameters'].origin == by_name['FLOPs'].origin == 'compiled program'
    assert {n.origin for n in sections['data sheet']} == {'data sheet'}
    assert {n.origin for n in sections['assumed']} == {'assumed'}
    assert (
        'assumed' in by_name['compute'].origin
        and 'assumed' in by_name['step with overlap'].origin
    )


def test_a_plan_that_exceeds_the_memory_does_not_fit():
    costs = Costs(4, 'float32', 1.0, 1.0, 900, 50, 51, {}, ())
    [fits] = [
        n
        for n in plan(costs, Topology('t', DEVICE, 1), CERTAIN)['memory']
        if n.name == 'fits'
    ]
    assert fits.value is False
