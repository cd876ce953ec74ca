"""Types of the arrays and functions of this room."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxvision.core.types import Tree

# Images before normalisation, in [0, 1].
Images = Float[Array, 'b h w c']
# One number for each image, such as the logit of a class. Not a probability: where a softmax is
# nearly 0 or 1, its gradient vanishes.
Scores = Float[Array, 'b']
# `(images) -> scores`. The score of an image depends on this image alone.
Score = Callable[[Images], Scores]
# `(images) -> (outputs, intermediates by name)`, such as `Network.apply` of a task behind its
# `normalize`.
Network = Callable[[Images], tuple[Tree, dict[str, Array]]]
# `(outputs) -> scores`.
ScoreOf = Callable[[Tree], Scores]
# The importance of each cell of a layer, or of each pixel.
Maps = Float[Array, 'b h w']
# An intermediate array of a network, and the gradient of a score with respect to it.
Activations = Float[Array, 'b ...']
# Feature maps.
Features = Float[Array, 'b h w c']
# One random key for each image.
Keys = Key[Array, 'b']

# `(images) -> scores` on the host, which may be an exported model.
HostScore = Callable[[Float[np.ndarray, 'n h w c']], Float[np.ndarray, 'n']]
# One image on the host, in [0, 1], and one that replaces its hidden pixels.
HostImage = Float[np.ndarray, 'h w c']
# The importance of each pixel of one image.
HostMap = Float[np.ndarray, 'h w']
# Some pixels of one image.
HostMask = Bool[np.ndarray, 'h w']
# The number of the part of an image to which each pixel belongs, from 0.
Segments = Int[np.ndarray, 'h w']
