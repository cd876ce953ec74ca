"""Types of the arrays in this room. Every function takes one image, not a batch."""

from jaxtyping import Array, Bool, Float, Int

# One image: height, width, channels.
Image = Float[Array, 'h w c']
# The same image resized.
Resized = Float[Array, 'new_h new_w c']
# True at some pixels of an image.
PixelMask = Bool[Array, 'h w']
# A number that may be traced.
Scalar = float | int | Float[Array, '']
Index = Int[Array, '']
# (height, width) in pixels.
Size = tuple[int, int]
