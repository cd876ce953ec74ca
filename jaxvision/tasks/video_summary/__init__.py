"""Video summarisation."""
