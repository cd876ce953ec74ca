"""Filling the hole of an image smoothly from what is around it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Image = Float[Array, 'h w c']
Mask = Float[Array, 'h w 1']  # 1 and 0


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
    overshoot the known values a little.
    """
    missing = hole.astype(image.dtype)
    return _filled(image * (1 - missing), missing, stiffness, sweeps, cycles)


def _filled(image: Image, hole: Mask, stiffness: float, sweeps: int, cycles: int) -> Image:
    """From the filling of the image at half its size, where known pixels are averaged."""
    height, width, _ = image.shape
    if max(height, width) == 1:
        return image
    known = _sums_of_four(1 - hole)
    half = _sums_of_four(image) / jnp.maximum(known, 1)
    # Pixels are twice as far apart there, and curvature counts by the square of a distance.
    half = _filled(half, 1 - jnp.minimum(known, 1), stiffness / 4, sweeps, 1)
    surface = image + hole * _double(half, height, width)
    for _ in range(cycles):
        surface = _v_cycle(surface, jnp.zeros_like(surface), hole, stiffness, sweeps)
    return surface


def _v_cycle(surface: Image, force: Image, hole: Mask, stiffness: float, sweeps: int) -> Image:
    """Brings (L + stiffness L^2) surface nearer to `force` in the hole."""
    height, width, _ = surface.shape
    surface = _sweep(surface, force, hole, stiffness, sweeps)
    if max(height, width) <= 4:
        return surface
    enlarge = lambda half: _double(half, height, width)
    all_missing = 1 - jnp.minimum(_sums_of_four(1 - hole), 1)
    correction = jnp.zeros((*all_missing.shape[:2], surface.shape[2]), surface.dtype)
    residual = hole * (force - _bent(surface, stiffness))
    # The transpose of an enlargement adds up the four pixels that become one of twice the side.
    rest, = jax.linear_transpose(enlarge, correction)(residual)
    correction = _v_cycle(correction, rest, all_missing, stiffness / 4, sweeps)
    return _sweep(surface + hole * enlarge(correction), force, hole, stiffness, sweeps)


def _sweep(surface: Image, force: Image, hole: Mask, stiffness: float, sweeps: int) -> Image:
    """Chebyshev's iteration on the eigenvalues that a grid of half the size cannot see, the upper
    eleven twelfths of them."""
    largest = 8 + 64 * stiffness
    least = largest / 12
    angles = np.pi * (np.arange(sweeps) + 0.5) / sweeps
    steps = 2 / (largest + least + (largest - least) * np.cos(angles))

    def step(surface, size):
        return surface + size * hole * (force - _bent(surface, stiffness)), None
    # Rolled: the compiler would fuse unrolled steps and compute each again for its neighbours.
    return jax.lax.scan(step, surface, jnp.asarray(steps, surface.dtype))[0]


def _bent(surface: Image, stiffness: float) -> Image:
    """(L + stiffness L^2) surface, with L the negative Laplacian."""
    return _laplacian(surface + stiffness * _laplacian(surface))


def _laplacian(surface: Image) -> Image:
    """Four times a pixel less its neighbours; beyond the edge a pixel is its own neighbour."""
    padded = jnp.pad(surface, ((1, 1), (1, 1), (0, 0)), 'edge')
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return 4 * surface - around


def _sums_of_four(image: Image) -> Float[Array, 'half_h half_w c']:
    """Of each 2x2 pixels; there are zeros beyond an odd side."""
    height, width, channels = image.shape
    even = jnp.pad(image, ((0, height % 2), (0, width % 2), (0, 0)))
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).sum((1, 3))


def _double(image: Image, height: int, width: int) -> Float[Array, '{height} {width} c']:
    """Twice as large, bilinearly, of pixels whose centres stay in place; cut to a size."""
    for axis in (0, 1):
        size = image.shape[axis]
        padded = jnp.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(3)], 'edge')
        before, after = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2))
        pair = jnp.stack([(3 * image + before) / 4, (3 * image + after) / 4], axis + 1)
        image = pair.reshape(*image.shape[:axis], 2 * size, *image.shape[axis + 1:])
    return image[:height, :width]
