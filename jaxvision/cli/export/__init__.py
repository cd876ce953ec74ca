"""`jaxvision export`: runs as files that need no jaxvision."""
