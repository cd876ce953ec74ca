"""One file per family of models, with its published formats and our names of its tensors."""
