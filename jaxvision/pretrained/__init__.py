"""Published weights: file formats, families, preprocessing recipes."""
