"""Flax Linen modules: each file has make(spec, variant, dtype, param_dtype, **options)."""
