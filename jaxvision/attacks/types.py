"""Types of the arrays and functions in this room.

Images are in [0, 1], and eps is in the same units. An attack never sees normalised pixels: the
normalisation is inside of the function from images to logits.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Array, Bool, Float, Int, Integer, Key

Images = Float[Array, 'b h w c']
# The class of each example, from 0.
Labels = Integer[Array, 'b']
# One key for each example.
Keys = Key[Array, 'b']
PerExample = Float[Array, 'b']
Flags = Bool[Array, 'b']
Counts = Int[Array, 'b']
# The logits of K classes.
Outputs = Float[Array, 'b k']
# A number that may be traced.
Scalar = float | int | Float[Array, '']
# One radius for all examples, or one for each.
Radius = Scalar | Float[Array, 'b 1 1 1']
# The norm that measures a perturbation: the largest change of a pixel, or the Euclidean length.
Norm = Literal['linf', 'l2']
# `(images in [0, 1]) -> logits`, in inference mode. A `jax.tree_util.Partial` of a function and
# the variables is compiled once for all variables of the same shapes.
Logits = Callable[[Images], Outputs]
# `(logits, labels, targets) -> values` of each example, which an attack maximises.
Objective = Callable[[Outputs, Labels, Labels], PerExample]


class Attacked(NamedTuple):
    """The result of an attack.

    Attributes:
        images: the perturbed images, in [0, 1] and within eps of the originals.
        success: True if the classifier is wrong about the image here. In a targeted
            attack: if it predicts the target.
    """

    images: Images
    success: Flags


# `(logits, images, labels, keys) -> Attacked`, an attack with all its options set.
Attack = Callable[[Logits, Images, Labels, Keys], Attacked]
