"""Pure functions on one image [H, W, C], float in [0, 1]: colour, geometry, resize, augmentation."""
