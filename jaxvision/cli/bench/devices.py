"""Data sheets of accelerators, and names of topologies such as `v5e-256`."""

import re
from dataclasses import dataclass

from jaxvision.core.errors import UserError, unknown


@dataclass(frozen=True)
class Device:
    """The data sheet of one JAX device: a TPU chip or a GPU.

    Attributes:
        name: as in a topology.
        bfloat16: peak of matmuls without sparsity, FLOP/s.
        float32: peak of float32 matmuls at JAX's default precision, FLOP/s. They are rounded
            to bfloat16 on a TPU and to TF32 on these GPUs
            (docs.jax.dev/en/latest/201/precision.html).
        memory: bytes.
        memory_bandwidth: bytes/s.
        link: bandwidth to the other devices of the slice (ICI) or node (NVLink), one way,
            bytes/s.
        network: bandwidth to other slices or nodes, one way, bytes/s.
        domain: devices of the largest slice, or of a node.
        host: devices of one host machine.
        torus: axes of the slice's torus; 0: a switch joins the devices.
        sources: where the numbers are from.
    """

    name: str
    bfloat16: float
    float32: float
    memory: int
    memory_bandwidth: float
    link: float
    network: float
    domain: int
    host: int
    torus: int
    sources: tuple[str, ...]

    def peak(self, dtype: str) -> float:
        """Return the peak of matmuls and convolutions in a dtype, in FLOP/s.

        It is known for 'float32', 'bfloat16' and, with the same value, 'float16'.

        Raises:
            UserError: The data sheets have no peak for the dtype.
        """
        peaks = {
            'bfloat16': self.bfloat16,
            'float16': self.bfloat16,
            'float32': self.float32,
        }
        if dtype not in peaks:
            raise UserError(
                f'model.dtype={dtype}: expected one of {", ".join(peaks)}, for which the '
                'data sheets give a peak.'
            )
        return peaks[dtype]


_GOOGLE = 'docs.cloud.google.com/tpu/docs/'
_SCALING = 'jax-ml.github.io/scaling-book/tpus (network per chip, host size)'
_DGX = (
    'docs.nvidia.com/dgx-basepod/reference-architecture-infrastructure-foundation-enterprise-ai'
    '/latest/core-components.html (a 400 Gb/s port a GPU)'
)

# The page of a TPU gives the bidirectional bandwidth of its links. Half of it is the all-reduce
# bandwidth of a pod divided by its chips. The page of v4 has only the latter: 1.1 PB/s over 4,096
# chips. NVLink is halved as well.
_DEVICES = (
    Device(
        name='v4',
        bfloat16=275e12,
        float32=275e12,
        memory=32 * 2**30,
        memory_bandwidth=1200e9,
        link=1.1e15 / 4096,
        network=6.25e9,
        domain=4096,
        host=4,
        torus=3,
        sources=(_GOOGLE + 'v4', _SCALING),
    ),
    Device(
        name='v5e',
        bfloat16=197e12,
        float32=197e12,
        memory=16 * 10**9,
        memory_bandwidth=819e9,
        link=200e9,
        network=6.4e12 / 8 / 256,
        domain=256,
        host=8,
        torus=2,
        sources=(_GOOGLE + 'v5e',),
    ),
    Device(
        name='v5p',
        bfloat16=459e12,
        float32=459e12,
        memory=95 * 2**30,
        memory_bandwidth=2765e9,
        link=600e9,
        network=50e9 / 8,
        domain=8960,
        host=4,
        torus=3,
        sources=(_GOOGLE + 'v5p', _SCALING),
    ),
    Device(
        name='v6e',
        bfloat16=918e12,
        float32=918e12,
        memory=32 * 10**9,
        memory_bandwidth=1638e9,
        link=400e9,
        network=12.5e9,
        domain=256,
        host=8,
        torus=2,
        sources=(_GOOGLE + 'v6e', _SCALING),
    ),
    Device(
        name='A100',
        bfloat16=312e12,
        float32=156e12,
        memory=80 * 10**9,
        memory_bandwidth=2039e9,
        link=300e9,
        network=25e9,
        domain=8,
        host=8,
        torus=0,
        sources=(
            'glennklockwood.com/garden/processors/A100, after the data sheet of the SXM4 80 GB',
            'github.com/calculon-ai/calculon/blob/main/systems/a100_80g.json (network)',
        ),
    ),
    Device(
        name='H100',
        bfloat16=989.4e12,
        float32=494.7e12,
        memory=80 * 10**9,
        memory_bandwidth=3350e9,
        link=450e9,
        network=50e9,
        domain=8,
        host=8,
        torus=0,
        sources=('glennklockwood.com/garden/processors/h100, of the SXM5', _DGX),
    ),
    Device(
        name='H200',
        bfloat16=989.4e12,
        float32=494.7e12,
        memory=141 * 10**9,
        memory_bandwidth=4800e9,
        link=450e9,
        network=50e9,
        domain=8,
        host=8,
        torus=0,
        sources=('www.morphllm.com/nvidia-h200, after the data sheet of the SXM', _DGX),
    ),
)
DEVICES = {device.name: device for device in _DEVICES}

# The number of `v4-32` and `v5p-32` counts TensorCores, two per chip.
CORES_PER_CHIP = {'v4': 2, 'v5p': 2}


@dataclass(frozen=True)
class Topology:
    """Several devices of one kind.

    Attributes:
        name: as the user gave it.
        device: the data sheet of each device.
        devices: number of JAX devices.
    """

    name: str
    device: Device
    devices: int


def topology(name: str) -> Topology:
    """Read the name of a topology.

    Args:
        name: 'v5e-256' is 256 chips, 'v4-32' 16 chips of two cores, '64xA100' 8 nodes of 8.

    Raises:
        UserError: The name has another form, there is no such device, or the number is
            0 or no multiple of the cores of a chip.
    """
    tpu = re.fullmatch(r'(v\d\w*)-(\d+)', name)
    gpu = re.fullmatch(r'(\d+)x(\w+)', name)
    if tpu:
        kind = tpu[1]
        number = int(tpu[2])
    elif gpu:
        kind = gpu[2]
        number = int(gpu[1])
    else:
        raise UserError(
            f'--topology={name}: expected a name such as v5e-256, v4-32, 8xH100 or 64xA100.'
        )
    if kind not in DEVICES:
        raise unknown('there is no data sheet of the device', kind, DEVICES)
    cores = CORES_PER_CHIP.get(kind, 1)
    if number < 1:
        raise UserError(f'--topology={name}: expected at least one device.')
    if number % cores:
        raise UserError(
            f'--topology={name}: expected a multiple of {cores}. The number of {kind} counts '
            f'TensorCores, {cores} per chip.'
        )
    return Topology(name, DEVICES[kind], number // cores)
