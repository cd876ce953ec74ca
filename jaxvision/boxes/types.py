"""Types of the arrays in this room: n candidates or predictions, m ground-truth boxes."""

from jaxtyping import Array, Bool, Float, Int

# Edges [ymin, xmin, ymax, xmax], with any leading axes.
Boxes = Float[Array, '*n 4']
# The same, broadcast against the other argument.
BroadcastBoxes = Float[Array, '*#n 4']
# One value for each box.
Values = Float[Array, '*n']
# One truth value for each box.
Flags = Bool[Array, '*n']
# Points (y, x).
Points = Float[Array, '*n 2']

# Of one image.
Candidates = Float[Array, 'n 4']
Scores = Float[Array, 'n']
Classes = Int[Array, 'n']
Chosen = Bool[Array, 'n']
# Padded ground truth, and which of it is no padding.
Truth = Float[Array, 'm 4']
TruthClasses = Int[Array, 'm']
Valid = Bool[Array, 'm']
# One value for each candidate and each ground-truth box.
Pairs = Float[Array, 'n m']
PairMask = Bool[Array, 'n m']
