"""Losses: pure functions with one value for each example, never reduced over the batch."""
