"""The verdict on made-up numbers: a step of 0.1 s, devices of 100 FLOP/s and 50 B/s."""

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
def test_the_verdict_names_the_numbers(rate, flops, moved, by, numbers):
    found = limit(
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
    assert found['by'] == by
    assert all(number in found['because'] for number in numbers)


def test_what_is_not_known_is_not_guessed():
    peaks = {'peak_flops_per_second': 100, 'copy_bytes_per_second': 50, 'why': 'a loop'}
    assert limit(0.1, 32, None, peaks)['by'] == 'device'
    assert limit(0.1, 32, 10.0, peaks)['by'] == 'input pipeline'
