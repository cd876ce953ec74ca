"""A trained run outside of the laboratory: as files that need no jaxvision."""
