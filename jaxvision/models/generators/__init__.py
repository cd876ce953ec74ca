"""Networks that output images, and the discriminators that they are trained against."""
