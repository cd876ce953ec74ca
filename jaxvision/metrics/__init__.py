"""Metrics: a small record an example on the device, exact numbers over all records on the host."""
