"""Pretrained weights: convert published files to variables of jaxvision's models.

- `packaged_weights.py` finds the file of a name such as 'efficientnet_lite0'.
- `formats/` reads the tensors of .pth, .safetensors, .npz and .h5 files (`tensor_file.py`).
- `families/` renames and rearranges the tensors of each model, with the tools of `convert.py`.
- `weights_file.py` does both, and detects options, image size and preprocessing of the file.
- `known_files.py` recognises files by name if their tensors do not reveal the preprocessing.
- `recipes.py` lists the preprocessing of published networks.
- `flax_variables.py` makes the variables of a model or a run from the converted leaves.
- `position_embeddings.py` resamples the position embeddings of a ViT.
- `imagenet_classes.py` and `coco_classes.py` have the names of the classes of published weights.

The two steps are `weights_file.read('resnet50.pth', 'resnet')` and `flax_variables.fit`.
"""
