"""One file per family of models: in which formats it is published, and our names of its tensors."""
