"""The plan and the measurement as text."""

from jaxvision.cli.bench.devices import Topology
from jaxvision.cli.bench.plan import Number
from jaxvision.core.types import Json

PREFIXES = {'P': 1e15, 'T': 1e12, 'G': 1e9, 'M': 1e6, 'k': 1e3}


def planned(title: str, topology: Topology, sections: dict[str, list[Number]]) -> str:
    """Write a plan as text.

    Args:
        title: name of the config.
        topology: the devices.
        sections: {section: numbers of the plan}, the result of `plan.plan`.

    Returns:
        Lines of text, without a line break at the end.
    """
    lines = [f'{title} on {topology.name}; bytes and FLOPs are per device and step']
    for section, numbers in sections.items():
        lines += ['', section]
        for number in numbers:
            lines.append(f'  {number.name:<52} {_number(number):>13}   {number.origin}')
    lines += [
        '',
        f'compiled program: by XLA for {topology.devices} virtual CPU devices, not run',
        f'data sheet: {", ".join(topology.device.sources)}',
        'efficiency: relative to one device with the same part of the batch and no transfers',
        'links: all links of a device together; a TPU slice too small for a torus has fewer',
    ]
    return '\n'.join(lines)


def measured(report: Json) -> str:
    """Write a measurement as text, one line or several for each part.

    Args:
        report: the result of `measure.measure`, with the texts 'config' and 'data'
            added.

    Returns:
        Lines of text, without a line break at the end.
    """
    limit = report['limit']
    run = (
        f'{report["config"]}: batch {report["batch_size"]} in {report["dtype"]}, '
        f'{report["data"]}'
    )
    sections = {
        'device': [_device(report['device'])],
        'run': [run],
        'compile': [_compile(report['compile'])],
        'step': _step(report['step']),
        'compute': _compute(report['compute'], report['dtype']),
        'memory': _memory(report['memory']),
        'input': [_input(report['input'])],
        'energy': [_energy(report['step']['energy'])],
        'limit': [f'{limit["by"]}: {limit["because"]}'],
        'inference': _inference(report['inference']),
    }
    lines = []
    for name, section in sections.items():
        titles = [name] + [''] * (len(section) - 1)
        for title, line in zip(titles, section, strict=True):
            lines.append(f'{title:<10} {line}')
    return '\n'.join(lines)


def readable(value: float | int, unit: str) -> str:
    """Write a value >= 0 with a unit: 1234567 B is '1.23 MB', 0.00123 s is '1.230 ms'.

    Prefixes are decimal. Seconds from 1 on stay seconds.
    """
    if unit == 's':
        if value >= 1:
            return f'{value:.2f} s'
        return _milliseconds(value)
    for prefix, scale in PREFIXES.items():
        if value >= scale:
            return f'{value / scale:.2f} {prefix}{unit}'
    return f'{value:,.0f} {unit}'


def _milliseconds(seconds: float) -> str:
    return f'{seconds * 1e3:.3f} ms'


def _number(number: Number) -> str:
    """The value of a number in the plan, with its unit."""
    value = number.value
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if number.unit == 's':
        return _milliseconds(value)
    if number.unit:
        return readable(value, number.unit)
    if isinstance(value, int):
        return f'{value:,}'
    if value < 1000:
        return f'{value:,.3g}'
    return f'{value:,.0f}'


def _device(part: Json) -> str:
    return (
        f'{part["number"]} x {part["kind"]} ({part["platform"]}), jax {part["jax"]}; host '
        f'{part["processor"]}, {part["cores"]} cores'
    )


def _compile(part: Json) -> str:
    lower = readable(part['trace_and_lower_seconds'], 's')
    compiled = readable(part['compile_seconds'], 's')
    return f'trace and lower {lower}, compile {compiled}'


def _step(part: Json) -> list[str]:
    seconds = part['seconds']
    median = readable(seconds['median'], 's')
    p5 = readable(seconds['p5'], 's')
    p95 = readable(seconds['p95'], 's')
    return [
        f'{median}, median of {seconds["number"]} (5th to 95th percentile {p5} to {p95})',
        f'{part["images_per_second"]:,.1f} images/s; inputs {part["inputs"]}, each step '
        'timed alone',
    ]


def _compute(part: Json, dtype: str) -> list[str]:
    peak = readable(part['peak_flops_per_second'], 'FLOP/s')
    copy = readable(part['copy_bytes_per_second'], 'B/s')
    peak_line = (
        f'peak {peak}, of a {dtype} matmul of side {part["peak_matmul_side"]}; a copy '
        f'moves {copy}'
    )
    if 'why' in part:
        return [f'FLOPs unknown: {part["why"]}', peak_line]
    flops = readable(part['flops'], 'FLOP')
    rate = readable(part['flops_per_second'], 'FLOP/s')
    step_line = f'{flops} a step, {rate}: {part["fraction_of_peak"]:.1%} of the peak'
    return [step_line, peak_line]


def _memory(part: Json) -> list[str]:
    arguments = readable(part['argument_bytes'], 'B')
    temporaries = readable(part['temporary_bytes'], 'B')
    host_peak = readable(part['host_peak_bytes'], 'B')
    device_peak = 'peak not reported'
    if part['device_peak_bytes'] is not None:
        device_peak = f'peak {readable(part["device_peak_bytes"], "B")}'
    return [
        f'per device: arguments {arguments}, temporaries {temporaries} (compiled '
        f'program); {device_peak}',
        f'this process: peak {host_peak}',
    ]


def _input(part: Json) -> str:
    if 'why' in part:
        return part['why']
    return (
        f'{part["images_per_second"]:,.1f} images/s from {part["threads"]} threads, while '
        'nothing else runs'
    )


def _energy(part: Json) -> str:
    if 'why' in part:
        return f'unknown: {part["why"]}'
    return (
        f'{part["joules_per_image"]:.4g} J an image of the training step '
        f'({part["source"]})'
    )


def _inference(rows: list[Json]) -> list[str]:
    lines = []
    for row in rows:
        seconds = row['seconds']
        median = readable(seconds['median'], 's')
        p95 = readable(seconds['p95'], 's')
        lines.append(
            f'batch {row["batch_size"]:>3}: median {median:>10}, 95th percentile '
            f'{p95:>10} of {seconds["number"]}; {row["images_per_second"]:,.1f} images/s'
        )
    return [*lines, 'on one device, inputs already on it']
