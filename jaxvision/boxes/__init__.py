"""Pure functions on boxes, for jit and vmap.

A box is [ymin, xmin, ymax, xmax], the edges in continuous coordinates: pixel i covers
[i, i + 1], so that a box of whole pixels has no half-pixel shift, and its area is
(ymax - ymin) * (xmax - xmin).
"""
