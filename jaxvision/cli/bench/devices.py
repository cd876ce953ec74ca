"""What accelerators can do on paper, and how many of them a name such as `v5e-256` stands for."""

import re
from dataclasses import dataclass

from jaxvision.core.errors import UserError, unknown


@dataclass(frozen=True)
class Device:
    """One JAX device: a TPU chip or a GPU. Peaks without sparsity; bandwidths one way, per device.

    `float32` is the peak of a float32 matmul at JAX's default precision, which rounds to bfloat16
    on a TPU and to TF32 on these GPUs (docs.jax.dev/en/latest/201/precision.html).
    """

    name: str
    bfloat16: float  # FLOP/s
    float32: float  # FLOP/s
    memory: int  # bytes
    memory_bandwidth: float  # bytes/s
    link: float  # bytes/s to the others of its slice (ICI) or node (NVLink)
    network: float  # bytes/s to other slices or nodes
    domain: int  # devices of the largest slice, or of a node
    host: int  # devices of one host machine
    torus: int  # axes of the slice's torus; 0: a switch
    sources: tuple[str, ...]

    def peak(self, dtype: str) -> float:
        """FLOP/s of matmuls and convolutions in a dtype."""
        peaks = {
            'bfloat16': self.bfloat16,
            'float16': self.bfloat16,
            'float32': self.float32,
        }
        if dtype not in peaks:
            raise UserError(
                f'model.dtype={dtype}: the data sheets that are used give peaks for '
                f'{", ".join(peaks)}'
            )
        return peaks[dtype]


_GOOGLE = 'docs.cloud.google.com/tpu/docs/'
_SCALING = 'jax-ml.github.io/scaling-book/tpus (network per chip, host size)'
_DGX = (
    'docs.nvidia.com/dgx-basepod/reference-architecture-infrastructure-foundation-enterprise-ai'
    '/latest/core-components.html (a 400 Gb/s port a GPU)'
)

# TPU links: half of the page's bidirectional bandwidth, which is its all-reduce bandwidth per pod
# over the pod's chips; v4's page has only the latter, 1.1 PB/s over 4,096. NVLink: half likewise.
DEVICES = {
    device.name: device
    for device in (
        Device(
            'v4',
            275e12,
            275e12,
            32 * 2**30,
            1200e9,
            1.1e15 / 4096,
            6.25e9,
            4096,
            4,
            3,
            (_GOOGLE + 'v4', _SCALING),
        ),
        Device(
            'v5e',
            197e12,
            197e12,
            16 * 10**9,
            819e9,
            200e9,
            6.4e12 / 8 / 256,
            256,
            8,
            2,
            (_GOOGLE + 'v5e',),
        ),
        Device(
            'v5p',
            459e12,
            459e12,
            95 * 2**30,
            2765e9,
            600e9,
            50e9 / 8,
            8960,
            4,
            3,
            (_GOOGLE + 'v5p', _SCALING),
        ),
        Device(
            'v6e',
            918e12,
            918e12,
            32 * 10**9,
            1638e9,
            400e9,
            12.5e9,
            256,
            8,
            2,
            (_GOOGLE + 'v6e', _SCALING),
        ),
        Device(
            'A100',
            312e12,
            156e12,
            80 * 10**9,
            2039e9,
            300e9,
            25e9,
            8,
            8,
            0,
            (
                'glennklockwood.com/garden/processors/A100, after the data sheet of the SXM4 80 GB',
                'github.com/calculon-ai/calculon/blob/main/systems/a100_80g.json (network)',
            ),
        ),
        Device(
            'H100',
            989.4e12,
            494.7e12,
            80 * 10**9,
            3350e9,
            450e9,
            50e9,
            8,
            8,
            0,
            ('glennklockwood.com/garden/processors/h100, of the SXM5', _DGX),
        ),
        Device(
            'H200',
            989.4e12,
            494.7e12,
            141 * 10**9,
            4800e9,
            450e9,
            50e9,
            8,
            8,
            0,
            ('www.morphllm.com/nvidia-h200, after the data sheet of the SXM', _DGX),
        ),
    )
}

CORES = 2  # in `v4-32` and `v5p-32` the number counts TensorCores, two to a chip


@dataclass(frozen=True)
class Topology:
    name: str
    device: Device
    devices: int


def topology(name: str) -> Topology:
    """'v5e-256' is 256 chips, 'v4-32' 16 chips of two cores, '64xA100' 8 nodes of 8."""
    tpu, gpu = re.fullmatch(r'(v\d\w*)-(\d+)', name), re.fullmatch(r'(\d+)x(\w+)', name)
    if not (tpu or gpu):
        raise UserError(
            f'{name!r} is no topology: write v5e-256, v4-32 (cores), 8xH100 or 64xA100'
        )
    kind, number = (tpu[1], int(tpu[2])) if tpu else (gpu[2], int(gpu[1]))
    if kind not in DEVICES:
        raise unknown('there are no figures for the device', kind, DEVICES)
    cores = CORES if tpu and kind in ('v4', 'v5p') else 1
    if number < cores or number % cores:
        raise UserError(
            f'{name}: {kind} is counted in TensorCores, {cores} to a chip'
            if cores > 1
            else f'{name}: at least one device'
        )
    return Topology(name, DEVICES[kind], number // cores)
