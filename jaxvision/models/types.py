"""Types of the arrays that models take and return."""

from jaxtyping import Array, Float, Int, Key

# Images, or the feature maps of images: [B, H, W, C].
Images = Float[Array, 'b h w c']
# Feature maps of another size or width than a layer's input.
Maps = Float[Array, 'b h2 w2 c2']
# A feature map of any size and width.
FeatureMap = Float[Array, 'b _ _ _']
# The class of each example.
Labels = Int[Array, 'b']
# One random key for each example in training, None in evaluation.
Keys = Key[Array, 'b'] | None
# Intermediate arrays by name.
Intermediates = dict[str, Array]
# Outputs of a detector or a segmenter by name.
Predictions = dict[str, Array]
# What a model returns: outputs of each example, and its intermediates.
Outputs = tuple[Float[Array, 'b n'], Intermediates]
