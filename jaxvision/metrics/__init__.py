"""Metrics: one small record for each example, and exact numbers computed from all records."""
