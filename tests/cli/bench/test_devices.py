import pytest

from jaxvision.cli.bench.devices import DEVICES, topology
from jaxvision.core.errors import UserError


@pytest.mark.parametrize(
    'name, kind, devices',
    [
        ('v5e-256', 'v5e', 256),
        ('v6e-8', 'v6e', 8),
        ('v4-32', 'v4', 16),
        ('v5p-8', 'v5p', 4),
        ('8xH100', 'H100', 8),
        ('64xA100', 'A100', 64),
        ('1xH200', 'H200', 1),
    ],
)
def test_a_topology_is_so_many_jax_devices(name, kind, devices):
    result = topology(name)
    assert (result.device.name, result.devices) == (kind, devices)


@pytest.mark.parametrize(
    'name, message',
    [
        ('H100', '--topology=H100: expected a name such as'),
        ('v5f-8', "device 'v5f'; did you mean 'v5"),
        ('8xB7', "device 'B7'"),
        ('v4-3', 'expected a multiple of 2'),
        ('0xH100', 'expected at least one device'),
    ],
)
def test_a_wrong_topology_is_an_error(name, message):
    with pytest.raises(UserError, match=message):
        topology(name)


@pytest.mark.parametrize('device', DEVICES.values(), ids=DEVICES)
def test_figures_are_of_one_device_one_way(device):
    """Bounds that all these devices keep.

    Bits in place of bytes, or a peak with sparsity, would break them.
    """
    assert 150 < device.bfloat16 / device.memory_bandwidth < 600
    assert device.bfloat16 / device.float32 in (1, 2)
    assert device.memory_bandwidth > 2 * device.link > 10 * device.network
    assert device.domain % device.host == 0 and device.sources


def test_all_reduce_bandwidth_is_the_pages_pod_figure():
    for name, pod in {'v4': 1.1e15, 'v5e': 51.2e12, 'v6e': 102.4e12}.items():
        assert DEVICES[name].link * DEVICES[name].domain == pytest.approx(pod)


def test_a_dtype_without_a_figure_is_an_error():
    with pytest.raises(UserError, match='float64'):
        DEVICES['v4'].peak('float64')
