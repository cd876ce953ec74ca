"""The resource that limits the speed of a training step."""

from jaxvision.core.types import Json

# A resource limits the step if it is busy for this fraction of it.
BUSY = 0.5


def limit(
    step: float, batch_size: int, input_rate: float | None, compute: Json
) -> dict[str, str]:
    """Name the resource that limits a training step.

    Args:
        step: seconds of a training step whose batch is on the devices already.
        batch_size: images of a step.
        input_rate: images/s of the input pipeline on the host; None: unknown.
        compute: 'peak_flops_per_second' and 'copy_bytes_per_second' of the devices; if they
            are known, also the 'flops' of a step and the 'bytes' that it reads and writes.

    Returns:
        {'by': the resource, 'because': the numbers that show it}. The resource is
        'input pipeline' if it delivers fewer images/s than the step takes. Otherwise it
        is 'compute' or 'memory bandwidth', whichever is busier. It is 'overheads' if
        neither of these two is busy for half of the step, and 'device' if FLOPs are
        unknown.
    """
    rate = batch_size / step
    if input_rate is not None and input_rate < rate:
        because = f'the host delivers {input_rate:,.0f} images/s, the step can process {rate:,.0f}'
        return {'by': 'input pipeline', 'because': because}
    if 'flops' not in compute:
        because = 'the FLOPs of the step are unknown'
        return {'by': 'device', 'because': because}
    compute_fraction = compute['flops'] / compute['peak_flops_per_second'] / step
    memory_fraction = compute['bytes'] / compute['copy_bytes_per_second'] / step
    because = (
        f'at the peak, the FLOPs would take {compute_fraction:.0%} of the step; at the '
        f'bandwidth of a copy, its bytes would take {memory_fraction:.0%}'
    )
    if max(compute_fraction, memory_fraction) < BUSY:
        because += '. Its operations are too small, or far from the peak'
        return {'by': 'overheads', 'because': because}
    if compute_fraction >= memory_fraction:
        return {'by': 'compute', 'because': because}
    return {'by': 'memory bandwidth', 'because': because}
