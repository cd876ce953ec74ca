"""What keeps a training step from being faster."""

from jaxvision.core.types import Json

BUSY = 0.5  # share of a step in which a resource at its peak could have done the step's work


def limit(
    step: float, batch_size: int, input_rate: float | None, compute: Json
) -> dict[str, str]:
    """{'by': what limits, 'because': the numbers that say so}.

    Args:
        step: seconds of a training step whose batch is already on the devices.
        input_rate: images/s that the host's pipeline delivers; None: unknown.
        compute: 'peak_flops_per_second' and 'copy_bytes_per_second' of the devices; and, where they
            are known, the step's 'flops' and the 'bytes' that it reads and writes.
    """
    rate = batch_size / step
    if input_rate is not None and input_rate < rate:
        return {
            'by': 'input pipeline',
            'because': f'the host delivers {input_rate:,.0f} images/s, the step takes '
            f'{rate:,.0f}',
        }
    if 'flops' not in compute:
        return {'by': 'device', 'because': 'what it is busy with is not known'}
    computing = compute['flops'] / compute['peak_flops_per_second'] / step
    moving = compute['bytes'] / compute['copy_bytes_per_second'] / step
    because = (
        f'of a step, its FLOPs at the peak would take {computing:.0%}, its bytes at the '
        f'bandwidth of a copy {moving:.0%}'
    )
    if max(computing, moving) < BUSY:
        return {
            'by': 'overheads',
            'because': f'{because}: its operations are too small, or far from the peak',
        }
    return {
        'by': 'compute' if computing >= moving else 'memory bandwidth',
        'because': because,
    }
