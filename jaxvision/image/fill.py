"""Fill the hole of an image smoothly from the pixels around it."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Planes = Float[Array, 'c h w']  # an image, channels first
Mask = Float[Array, '1 h w']  # 1 and 0


def thin_plate(
    image: Float[Array, 'h w c'],
    hole: Bool[Array, 'h w 1'],
    stiffness: float = 8.0,
    sweeps: int = 4,
    cycles: int = 1,
) -> Float[Array, 'h w c']:
    """Fill the hole of an image with a thin plate under tension, held by the known pixels.

    The plate u has the least sum of |gradient|^2 + stiffness |Laplacian|^2, which is
    (L + stiffness L^2) u = 0 in the hole. Stiffness 0 gives a membrane (harmonic), infinite
    stiffness a biharmonic surface. Photographs lie between.

    The equation is solved approximately by full multigrid (Brandt 1977). Every step is a product
    with a matrix of one side, which all compilers and export formats support: right for tiles, slow
    for thousands of pixels a side.

    Args:
        image: [H, W, C]. Its values in the hole do not matter.
        hole: True where pixels are missing.
        stiffness: at least 0.
        sweeps: smoothing steps before and after each coarser correction.
        cycles: V-cycles at the full size.

    Returns:
        The image, unchanged outside the hole. The filling may overshoot the known values a little.
        Without any known pixel it is black.
    """
    known = 1 - hole.astype(image.dtype)
    planes = [jnp.moveaxis(x, -1, 0) for x in (image * known, 1 - known)]
    filled = _filled(*planes, stiffness, sweeps, cycles)
    return jnp.where(hole, jnp.moveaxis(filled, 0, -1), image)


def _filled(
    image: Planes, hole: Mask, stiffness: float, sweeps: int, cycles: int
) -> Planes:
    """Fill an image, beginning with the filled image of half its size.

    Args:
        image: 0 in the hole. At half the size, known pixels are averaged.
        hole: 1 where pixels are missing.
        stiffness: as for `thin_plate`.
        sweeps: as for `thin_plate`.
        cycles: as for `thin_plate`.
    """
    size = image.shape[1:]
    if max(size) == 1:
        return image
    pairs = [_pairs(n) for n in size]
    known = _along(*pairs, 1 - hole)
    half = _along(*pairs, image) / jnp.maximum(known, 1)
    # Pixels are twice as far apart there, and curvature depends on the square of distances.
    half = _filled(half, 1 - jnp.minimum(known, 1), stiffness / 4, sweeps, 1)
    surface = image + hole * _along(*[_doubling(n) for n in size], half)
    for _ in range(cycles):
        surface = _v_cycle(surface, jnp.zeros_like(surface), hole, stiffness, sweeps)
    return surface


def _v_cycle(
    surface: Planes, force: Planes, hole: Mask, stiffness: float, sweeps: int
) -> Planes:
    """Reduce the error of (L + stiffness L^2) surface = force in the hole."""
    size = surface.shape[1:]
    surface = _sweep(surface, force, hole, stiffness, sweeps)
    if max(size) <= 4:
        return surface
    double = [_doubling(n) for n in size]
    residual = hole * (force - _bent(surface, stiffness))
    rest = _along(*[matrix.T for matrix in double], residual)
    missing = 1 - jnp.minimum(_along(*[_pairs(n) for n in size], 1 - hole), 1)
    correction = _v_cycle(jnp.zeros_like(rest), rest, missing, stiffness / 4, sweeps)
    surface = surface + hole * _along(*double, correction)
    return _sweep(surface, force, hole, stiffness, sweeps)


def _sweep(
    surface: Planes, force: Planes, hole: Mask, stiffness: float, sweeps: int
) -> Planes:
    """Smooth by Chebyshev's iteration on the upper eleven twelfths of the eigenvalues.

    A grid of half the size does not represent these.
    """
    largest = 8 + 64 * stiffness
    least = largest / 12
    angles = np.pi * (np.arange(sweeps) + 0.5) / sweeps
    for step in 2 / (largest + least + (largest - least) * np.cos(angles)):
        surface = surface + float(step) * hole * (force - _bent(surface, stiffness))
    return surface


def _bent(surface: Planes, stiffness: float) -> Planes:
    """(L + stiffness L^2) surface."""
    return _laplacian(surface + stiffness * _laplacian(surface))


def _laplacian(surface: Planes) -> Planes:
    """L, the negative Laplacian: four times a pixel less its neighbours."""
    _, height, width = surface.shape
    rows = _second_difference(height).astype(surface.dtype)
    columns = _second_difference(width).astype(surface.dtype)
    down = jnp.matmul(rows, surface, precision='highest')
    right = jnp.matmul(surface, columns, precision='highest')
    return down + right


def _along(
    rows: np.ndarray, columns: np.ndarray, image: Planes
) -> Float[Array, 'c new_h new_w']:
    """Apply a matrix along the columns of an image and another one along its rows."""
    product = functools.partial(jnp.matmul, precision='highest')
    resized_rows = product(rows.astype(image.dtype), image)
    return product(resized_rows, columns.T.astype(image.dtype))


def _second_difference(n: int) -> Float[np.ndarray, 'n n']:
    """The negative second difference of n pixels. The pixels at the ends neighbour themselves."""
    matrix = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    matrix[[0, -1], [0, -1]] -= 1
    return matrix


def _pairs(n: int) -> Float[np.ndarray, 'half n']:
    """Sums of two pixels. The last one of an odd number is alone."""
    return (np.arange(n) // 2 == np.arange(-(-n // 2))[:, None]).astype(float)


def _doubling(n: int) -> Float[np.ndarray, 'n half']:
    """Linear interpolation from half as many pixels to n, aligned at the borders."""
    half = -(-n // 2)
    pixels = np.arange(n)
    nearest = pixels // 2
    second_nearest = np.clip(nearest + np.where(pixels % 2, 1, -1), 0, half - 1)
    identity = np.eye(half)
    return 3 / 4 * identity[nearest] + 1 / 4 * identity[second_nearest]
