"""Filling the hole of an image smoothly from what is around it."""

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
    """The image with its hole filled by a thin plate under tension that the known pixels hold.

    That is the least sum of |gradient|^2 + stiffness |Laplacian|^2: (L + stiffness L^2) u = 0 in
    the hole. Without stiffness it is a membrane (harmonic), stiffer than all tension a biharmonic
    surface; photographs lie between. Solved roughly, by full multigrid (Brandt 1977): at each size
    `cycles` V-cycles of that many `sweeps` before and after. What is outside the hole is the
    image's; what is in it does not matter; where nothing is known it is black. The filling may
    overshoot the known values a little. Every step is a product with a matrix of one side, which
    all compilers and export formats take: right for tiles, slow for thousands of pixels a side.
    """
    known = 1 - hole.astype(image.dtype)
    planes = [jnp.moveaxis(x, -1, 0) for x in (image * known, 1 - known)]
    return jnp.where(
        hole, jnp.moveaxis(_filled(*planes, stiffness, sweeps, cycles), 0, -1), image
    )


def _filled(
    image: Planes, hole: Mask, stiffness: float, sweeps: int, cycles: int
) -> Planes:
    """From the filling of the image at half its size, where known pixels are averaged."""
    size = image.shape[1:]
    if max(size) == 1:
        return image
    pairs = [_pairs(n) for n in size]
    known = _along(*pairs, 1 - hole)
    half = _along(*pairs, image) / jnp.maximum(known, 1)
    # Pixels are twice as far apart there, and curvature counts by the square of a distance.
    half = _filled(half, 1 - jnp.minimum(known, 1), stiffness / 4, sweeps, 1)
    surface = image + hole * _along(*[_doubling(n) for n in size], half)
    for _ in range(cycles):
        surface = _v_cycle(surface, jnp.zeros_like(surface), hole, stiffness, sweeps)
    return surface


def _v_cycle(
    surface: Planes, force: Planes, hole: Mask, stiffness: float, sweeps: int
) -> Planes:
    """Brings (L + stiffness L^2) surface nearer to `force` in the hole."""
    size = surface.shape[1:]
    surface = _sweep(surface, force, hole, stiffness, sweeps)
    if max(size) <= 4:
        return surface
    double = [_doubling(n) for n in size]
    residual = hole * (force - _bent(surface, stiffness))
    rest = _along(*[matrix.T for matrix in double], residual)
    missing = 1 - jnp.minimum(_along(*[_pairs(n) for n in size], 1 - hole), 1)
    correction = _v_cycle(jnp.zeros_like(rest), rest, missing, stiffness / 4, sweeps)
    return _sweep(
        surface + hole * _along(*double, correction), force, hole, stiffness, sweeps
    )


def _sweep(
    surface: Planes, force: Planes, hole: Mask, stiffness: float, sweeps: int
) -> Planes:
    """Chebyshev's iteration on the eigenvalues that a grid of half the size cannot see, the upper
    eleven twelfths of them."""
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
    rows, columns = (
        _second_difference(n).astype(surface.dtype) for n in surface.shape[1:]
    )
    return jnp.matmul(rows, surface, precision='highest') + jnp.matmul(
        surface, columns, precision='highest'
    )


def _along(
    rows: np.ndarray, columns: np.ndarray, image: Planes
) -> Float[Array, 'c new_h new_w']:
    """The image with a matrix applied along its columns and another along its rows."""
    product = functools.partial(jnp.matmul, precision='highest')
    return product(
        product(rows.astype(image.dtype), image), columns.T.astype(image.dtype)
    )


def _second_difference(n: int) -> Float[np.ndarray, 'n n']:
    """Beyond either end a pixel is its own neighbour."""
    matrix = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    matrix[[0, -1], [0, -1]] -= 1
    return matrix


def _pairs(n: int) -> Float[np.ndarray, 'half n']:
    """Sums of two; of an odd number the last is alone."""
    return (np.arange(n) // 2 == np.arange(-(-n // 2))[:, None]).astype(float)


def _doubling(n: int) -> Float[np.ndarray, 'n half']:
    """Linear interpolation to n pixels, whose centres stay in place."""
    half = -(-n // 2)
    nearest, near = (
        np.arange(n) // 2,
        np.arange(n) // 2 + np.where(np.arange(n) % 2, 1, -1),
    )
    matrix = 3 / 4 * np.eye(half)[nearest]
    return matrix + 1 / 4 * np.eye(half)[np.clip(near, 0, half - 1)]
