"""The limit for simple numbers: a step of 0.1 s, devices of 100 FLOP/s and 50 B/s."""

import pytest

from jaxvision.cli.bench.limit import limit


@pytest.mark.parametrize(
    'rate, flops, moved, by, numbers',
    [
        (300.0, 9, 1, 'input pipeline', ('300 images/s', '320')),
        (330.0, 9, 1, 'compute', ('90%', '20%')),
        (None, 9, 1, 'compute', ('90%', '20%')),
        (330.0, 6, 4, 'memory bandwidth', ('60%', '80%')),
        (330.0, 2, 1, 'overheads', ('20%', 'too small')),
    ],
)
def test_the_limit_is_named_with_its_numbers(rate, flops, moved, by, numbers):
    result = limit(
        0.1,
        32,
        rate,
        {
            'peak_flops_per_second': 100,
            'copy_bytes_per_second': 50,
            'flops': flops,
            'bytes': moved,
        },
    )
    assert result['by'] == by
    assert all(number in result['because'] for number in numbers)


def test_unknown_flops_name_the_device_alone():
    peaks = {'peak_flops_per_second': 100, 'copy_bytes_per_second': 50, 'why': 'a loop'}
    assert limit(0.1, 32, None, peaks)['by'] == 'device'
    assert limit(0.1, 32, 10.0, peaks)['by'] == 'input pipeline'
