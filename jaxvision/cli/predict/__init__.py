"""`jaxvision predict`: predictions for files."""
