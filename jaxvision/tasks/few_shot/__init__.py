"""Few-shot classification."""
