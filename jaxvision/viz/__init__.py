"""Figures, console tables and picture files."""
