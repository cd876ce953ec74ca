"""Names for the types of arrays, trees and values that all rooms share."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

# The label of pixels that neither train nor count.
IGNORED = 255
# The name of the class of pixels without an object.
BACKGROUND = 'background'

# Nested dicts of arrays.
Tree = Any
# A tree of each network, by the network's name.
NetworkTrees = dict[str, Tree]
# A JSON object.
Json = dict[str, Any]
# The value of a config field; a mapping for an open group of options.
Value = Any
# Values by name: a config, with groups as nested mappings, or the options of a model.
Values = Mapping[str, Value]

# One example on the host: arrays by name. Its image may still be encoded.
Example = dict[str, Any]
# Arrays [B, ...] by name on the device: a batch, or the outputs of `Task.predict`.
Batch = Mapping[str, Any]
# Arrays on the host with one row per example: a batch, or all examples of a split.
Records = dict[str, np.ndarray]
# The values of metrics by name.
MetricValues = dict[str, float]
# `(example, rng) -> example` on the host, with arrays of fixed shapes.
Prepare = Callable[[Example, np.random.Generator | None], Example]
# The purpose of a split: training, selection of checkpoints, or the final measurement.
Split = Literal['train', 'validation', 'test']
# A Flax module. Only the room `models` knows its type.
Module = Any
