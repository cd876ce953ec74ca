"""`jaxvision certify`: radii within which no change of an image changes its class."""
