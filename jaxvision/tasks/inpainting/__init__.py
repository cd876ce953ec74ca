"""Image inpainting."""
