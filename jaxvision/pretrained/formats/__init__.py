"""File formats of pretrained weights, a reader each; `tensor_file.py` chooses the reader.

A reader opens a file as {name: LazyTensor}, by the names and layouts of the file. No reader
executes anything that a file contains.
"""
