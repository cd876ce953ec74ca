"""The command `jaxvision explain`."""
