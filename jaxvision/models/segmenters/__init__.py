"""Segmenters: networks that give the logits of the classes at every pixel."""
