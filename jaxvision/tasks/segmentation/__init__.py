"""Semantic segmentation, and instances by their centres and borders."""
