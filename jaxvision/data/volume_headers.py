"""What is known of a volume before its voxels are read."""

import dataclasses

# A larger volume is refused before it is read.
MOST_VOXELS = 2**30


@dataclasses.dataclass(frozen=True)
class Header:
    """The size of a volume.

    Attributes:
        shape: (slices, height, width).
        spacing: (height, width) of a pixel in millimetres; None: unknown.
        thickness: distance of two slices in millimetres; None: unknown.
        bits: of a voxel of a TIFF; 0: of another file, in which they say nothing.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float] | None
    thickness: float | None = None
    bits: int = 0
