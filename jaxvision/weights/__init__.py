"""Weights that others have published: their files, and what their names are here."""
