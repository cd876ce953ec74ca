"""Video prediction."""
