"""Pure functions on one image [H, W, C], float in [0, 1]; each for jit, vmap and any device."""
