"""Convert a SavedModel to int8 TFLite, with ranges measured on examples.

    python calibrated.py SAVEDMODEL INPUTS.npz FILE.tflite

The conversion has a process of its own, because TensorFlow's calibration crashes on some models,
such as some with loops.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def _main(folder: str, inputs_file: str, file: str) -> None:
    import tensorflow as tf

    with np.load(inputs_file) as archive:
        inputs = dict(archive)
    count = len(next(iter(inputs.values())))

    def examples() -> Iterator[dict[str, np.ndarray]]:
        for i in range(count):
            yield {name: array[i : i + 1] for name, array in inputs.items()}

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = examples
    Path(file).write_bytes(converter.convert())


if __name__ == '__main__':
    try:
        _main(*sys.argv[1:])
    # TensorFlow's converters raise errors of many types.
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        sys.exit((lines or [repr(error)])[0])
