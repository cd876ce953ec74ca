"""Fill the hole of an image smoothly from the pixels around it, without a trained network."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxvision.image.types import Image

# An image, channels first.
Planes = Float[Array, 'c h w']
# 1 at some pixels, 0 at others.
Mask = Float[Array, '1 h w']
# Matrices that combine the rows or the columns of an image.
RowMatrix = Float[np.ndarray, 'new_h h']
ColumnMatrix = Float[np.ndarray, 'new_w w']


def thin_plate(
    image: Image,
    hole: Bool[Array, 'h w 1'],
    stiffness: float = 8.0,
    sweeps: int = 4,
    cycles: int = 1,
) -> Image:
    """Fill the hole of an image with a thin plate under tension that fits the known pixels.

    The plate u minimises the sum of |gradient|^2 + stiffness |Laplacian|^2. In the hole this means
    (L + stiffness L^2) u = 0. Stiffness 0 gives a membrane (harmonic), and infinite stiffness a
    biharmonic surface. Photographs lie between.

    The equation is solved approximately by full multigrid (Brandt 1977). Every step is a matrix
    product along one side, which all compilers and export formats support. This is fast for tiles,
    but slow for thousands of pixels along a side.

    Args:
        image: [H, W, C]. Its values in the hole do not matter.
        hole: True where pixels are missing, [H, W, 1].
        stiffness: weight of the curvature, at least 0.
        sweeps: number of smoothing steps before and after each coarser correction.
        cycles: number of V-cycles at the full size.

    Returns:
        The image, unchanged outside the hole. The filled pixels may overshoot the known values a
        little. They are black if no pixel is known.
    """
    known = 1 - hole.astype(image.dtype)
    planes = jnp.moveaxis(image * known, -1, 0)
    mask = jnp.moveaxis(1 - known, -1, 0)
    filled = _filled(planes, mask, stiffness, sweeps, cycles)
    filled = jnp.moveaxis(filled, 0, -1)
    return jnp.where(hole, filled, image)


def _filled(
    image: Planes,
    hole: Mask,
    stiffness: float,
    sweeps: int,
    cycles: int,
) -> Planes:
    """Fill an image, starting from the filled image of half its size.

    Args:
        image: an image with 0 in the hole. At half the size, known pixels are averaged.
        hole: 1 where pixels are missing.
        stiffness: as for `thin_plate`.
        sweeps: as for `thin_plate`.
        cycles: as for `thin_plate`.
    """
    _, height, width = image.shape
    if max(height, width) == 1:
        return image
    row_pairs = _pairs(height)
    column_pairs = _pairs(width)
    known = _along(row_pairs, column_pairs, 1 - hole)
    sums = _along(row_pairs, column_pairs, image)
    half = sums / jnp.maximum(known, 1)
    half_hole = 1 - jnp.minimum(known, 1)
    # Distances between pixels are twice as large, and curvature depends on their square.
    half = _filled(half, half_hole, stiffness / 4, sweeps, 1)
    doubled = _along(_doubling(height), _doubling(width), half)
    surface = image + hole * doubled
    for _ in range(cycles):
        no_force = jnp.zeros_like(surface)
        surface = _v_cycle(surface, no_force, hole, stiffness, sweeps)
    return surface


def _v_cycle(
    surface: Planes,
    force: Planes,
    hole: Mask,
    stiffness: float,
    sweeps: int,
) -> Planes:
    """Reduce the error of (L + stiffness L^2) surface = force in the hole by one V-cycle.

    Args:
        surface: the current solution.
        force: the right-hand side of the equation.
        hole: 1 where pixels are missing.
        stiffness: as for `thin_plate`.
        sweeps: as for `thin_plate`.
    """
    _, height, width = surface.shape
    surface = _sweep(surface, force, hole, stiffness, sweeps)
    if max(height, width) <= 4:
        return surface
    double_rows = _doubling(height)
    double_columns = _doubling(width)
    residual = hole * (force - _bent(surface, stiffness))
    half_residual = _along(double_rows.T, double_columns.T, residual)
    known = _along(_pairs(height), _pairs(width), 1 - hole)
    half_hole = 1 - jnp.minimum(known, 1)
    correction = _v_cycle(
        jnp.zeros_like(half_residual),
        half_residual,
        half_hole,
        stiffness / 4,
        sweeps,
    )
    doubled = _along(double_rows, double_columns, correction)
    surface = surface + hole * doubled
    return _sweep(surface, force, hole, stiffness, sweeps)


def _sweep(
    surface: Planes,
    force: Planes,
    hole: Mask,
    stiffness: float,
    sweeps: int,
) -> Planes:
    """Smooth the error by Chebyshev iteration on the upper 11/12 of the eigenvalues.

    A grid of half the size cannot represent the errors of these eigenvalues.

    Args:
        surface: the current solution.
        force: the right-hand side of the equation.
        hole: 1 where pixels are missing.
        stiffness: as for `thin_plate`.
        sweeps: number of steps.
    """
    largest = 8 + 64 * stiffness
    least = largest / 12
    angles = np.pi * (np.arange(sweeps) + 0.5) / sweeps
    steps = 2 / (largest + least + (largest - least) * np.cos(angles))
    for step in steps:
        residual = force - _bent(surface, stiffness)
        surface = surface + float(step) * hole * residual
    return surface


def _bent(
    surface: Planes,
    stiffness: float,
) -> Planes:
    """Compute (L + stiffness L^2) surface."""
    tension = surface + stiffness * _laplacian(surface)
    return _laplacian(tension)


def _laplacian(surface: Planes) -> Planes:
    """Apply the negative Laplacian L: four times a pixel less its neighbours."""
    _, height, width = surface.shape
    rows = _second_difference(height).astype(surface.dtype)
    columns = _second_difference(width).astype(surface.dtype)
    down = jnp.matmul(rows, surface, precision='highest')
    right = jnp.matmul(surface, columns, precision='highest')
    return down + right


def _along(
    rows: RowMatrix,
    columns: ColumnMatrix,
    image: Planes,
) -> Float[Array, 'c new_h new_w']:
    """Apply a matrix along the columns of an image and another one along its rows.

    Args:
        rows: the matrix that combines rows.
        columns: the matrix that combines columns.
        image: [C, H, W].
    """
    product = functools.partial(jnp.matmul, precision='highest')
    resized_rows = product(rows.astype(image.dtype), image)
    return product(resized_rows, columns.T.astype(image.dtype))


def _second_difference(n: int) -> Float[np.ndarray, 'n n']:
    """Matrix of the negative second difference of n pixels, with repeated pixels at the ends."""
    matrix = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    matrix[[0, -1], [0, -1]] -= 1
    return matrix


def _pairs(n: int) -> Float[np.ndarray, 'half n']:
    """Matrix that adds each two of n pixels. The last pixel of an odd number stays alone."""
    half = -(-n // 2)
    pair_of_pixel = np.arange(n) // 2
    is_member = pair_of_pixel == np.arange(half)[:, None]
    return is_member.astype(float)


def _doubling(n: int) -> Float[np.ndarray, 'n half']:
    """Matrix of linear interpolation from half as many pixels to n, aligned at the borders."""
    half = -(-n // 2)
    pixels = np.arange(n)
    nearest = pixels // 2
    directions = np.where(pixels % 2, 1, -1)
    second_nearest = np.clip(nearest + directions, 0, half - 1)
    identity = np.eye(half)
    return 3 / 4 * identity[nearest] + 1 / 4 * identity[second_nearest]
