"""Readers of the file formats of pretrained weights; `tensor_file.py` chooses the reader.

A reader opens a file as {name: LazyTensor}, with the names and layouts of the file. No reader
executes code from a file.
"""
