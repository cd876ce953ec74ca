"""Names for the types of arrays, trees and values that all rooms share."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

# Nested dicts of arrays.
Tree = Any
# An object of JSON.
Json = dict[str, Any]
# The value of a config field; of an open group of options, a mapping.
Value = Any
# The values of a config by field name, groups as nested mappings.
Values = Mapping[str, Value]
# Arguments that are passed on by name.
Options = Mapping[str, Value]

# One example on the host: arrays by name; its image may still be encoded.
Example = dict[str, Any]
# A batch on the device, and the outputs of predict: arrays [B, ...] by name.
Batch = Mapping[str, Any]
# Arrays on the host, one row an example: a batch, or all examples of a split.
Records = dict[str, np.ndarray]
# Brings an example to fixed shapes on the host.
Prepare = Callable[[Example, np.random.Generator | None], Example]
# What a part of a dataset is for: to train, to select checkpoints, to measure the result.
Split = Literal['train', 'validation', 'test']
# A Flax module, whose type only the room `models` knows.
Module = Any
