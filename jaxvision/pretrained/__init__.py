"""Pretrained weights: from a file that others have published to the variables of our models.

- `packaged_weights.py` finds the file behind a name such as 'efficientnet_lite0'.
- `formats/` reads the tensors of .pth, .safetensors, .npz and .h5 files (`tensor_file.py`).
- `families/` renames and rearranges the tensors of each model, with the tools of `convert.py`.
- `weights_file.py` does both, and finds out options, image size and preprocessing of the file.
- `known_files.py` recognises files by name, where their tensors do not tell the preprocessing.
- `recipes.py` lists how images were preprocessed for published networks.
- `flax_variables.py` makes the variables of a model or a run from the leaves.
- `position_embeddings.py` resamples the position embeddings of a ViT.
- `imagenet.py` has the names of ImageNet's classes.

`weights_file.read('resnet50.pth', 'resnet')` and `flax_variables.fit` are the whole way.
"""
