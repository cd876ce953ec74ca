"""Detectors: a backbone, a pyramid of its feature maps, and heads that give boxes."""
