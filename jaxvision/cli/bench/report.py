"""What the plan and the measurement say, as text."""

from jaxvision.cli.bench.devices import Topology
from jaxvision.cli.bench.plan import Number
from jaxvision.core.types import Json


def planned(title: str, topology: Topology, sections: dict[str, list[Number]]) -> str:
    lines = [f'{title} on {topology.name}; bytes and FLOPs are per device and step']
    for section, numbers in sections.items():
        lines += ['', section]
        lines += [
            f'  {number.name:<52} {_number(number):>13}   {number.origin}'
            for number in numbers
        ]
    return '\n'.join(
        [
            *lines,
            f"""
compiled program: XLA's, for {topology.devices} virtual CPU devices; nothing was run
data sheet: {', '.join(topology.device.sources)}
efficiency: against one device with the same part of the batch and nothing to send
links: all of a device's at once; a TPU slice too small to wrap around has fewer""",
        ]
    )


def measured(found: Json) -> str:
    """A line or two for each part of what `measure.measure` found."""
    sections = {
        'device': _device(found['device']),
        'run': [
            f'{found["config"]}: batch {found["batch_size"]} in {found["dtype"]}, '
            f'{found["data"]}'
        ],
        'compile': _compile(**found['compile']),
        'step': _step(found['step']),
        'compute': _compute(found['compute'], found['dtype']),
        'memory': _memory(found['memory']),
        'input': _input(found['input']),
        'energy': _energy(found['step']['energy']),
        'limit': [f'{found["limit"]["by"]}: {found["limit"]["because"]}'],
        'inference': _inference(found['inference']),
    }
    return '\n'.join(
        f'{name if not number else "":<10} {line}'
        for name, lines in sections.items()
        for number, line in enumerate(lines)
    )


def readable(value: float | int, unit: str) -> str:
    """1234567 B is '1.23 MB', 0.00123 s '1.230 ms'."""
    if unit == 's':
        return f'{value:.2f} s' if value >= 1 else f'{value * 1e3:.3f} ms'
    for prefix, scale in (('P', 1e15), ('T', 1e12), ('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= scale:
            return f'{value / scale:.2f} {prefix}{unit}'
    return f'{value:,.0f} {unit}'


def _number(number: Number) -> str:
    value = number.value
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if number.unit == 's':
        return f'{value * 1e3:.3f} ms'
    if not number.unit:
        return (
            f'{value:,}'
            if isinstance(value, int)
            else f'{value:,.3g}'
            if value < 1000
            else f'{value:,.0f}'
        )
    return readable(value, number.unit)


def _device(found: dict) -> list[str]:
    return [
        f'{found["number"]} x {found["kind"]} ({found["platform"]}), jax {found["jax"]}; host '
        f'{found["processor"]}, {found["cores"]} cores'
    ]


def _compile(trace_and_lower_seconds: float, compile_seconds: float) -> list[str]:
    return [
        f'trace and lower {readable(trace_and_lower_seconds, "s")}, '
        f'compile {readable(compile_seconds, "s")}'
    ]


def _step(found: dict) -> list[str]:
    seconds = found['seconds']
    return [
        f'{readable(seconds["median"], "s")}, median of {seconds["number"]} (5th to 95th '
        f'percentile {readable(seconds["p5"], "s")} to {readable(seconds["p95"], "s")})',
        f'{found["images_per_second"]:,.1f} images/s; inputs {found["inputs"]}, each step '
        'waited for',
    ]


def _compute(found: dict, dtype: str) -> list[str]:
    peak = (
        f'peak {readable(found["peak_flops_per_second"], "FLOP/s")}, of a {dtype} matmul of '
        f'side {found["peak_matmul_side"]}; a copy moves '
        f'{readable(found["copy_bytes_per_second"], "B/s")}'
    )
    if 'why' in found:
        return [f'FLOPs unknown: {found["why"]}', peak]
    return [
        f'{readable(found["flops"], "FLOP")} a step, '
        f'{readable(found["flops_per_second"], "FLOP/s")}: {found["fraction_of_peak"]:.1%} of the '
        'peak',
        peak,
    ]


def _memory(found: dict) -> list[str]:
    peak = found['device_peak_bytes']
    device = (
        'its peak is not reported'
        if peak is None
        else f'at its peak {readable(peak, "B")}'
    )
    return [
        f'a device: arguments {readable(found["argument_bytes"], "B")}, temporaries '
        f'{readable(found["temporary_bytes"], "B")} (compiled program); {device}',
        f'this process: at its peak {readable(found["host_peak_bytes"], "B")}',
    ]


def _input(found: dict) -> list[str]:
    return [
        found['why']
        if 'why' in found
        else f'{found["images_per_second"]:,.1f} images/s from {found["threads"]} threads, with '
        'nothing else running'
    ]


def _energy(found: dict) -> list[str]:
    return [
        found['why']
        if 'why' in found
        else f'{found["joules_per_image"]:.4g} J an image of the training step ({found["source"]})'
    ]


def _inference(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        seconds = row['seconds']
        median, p95 = readable(seconds['median'], 's'), readable(seconds['p95'], 's')
        lines.append(
            f'batch {row["batch_size"]:>3}: median {median:>10}, 95th percentile '
            f'{p95:>10} of {seconds["number"]}; {row["images_per_second"]:,.1f} images/s'
        )
    return [*lines, 'on one device, inputs already on it']
