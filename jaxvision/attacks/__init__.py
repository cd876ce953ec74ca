"""Adversarial attacks on classifiers: pure functions of `logits(images in [0, 1])`."""
