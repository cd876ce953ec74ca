"""Losses: pure functions, one value an example, never reduced over the batch."""
