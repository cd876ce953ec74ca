"""Int8 TFLite of a SavedModel, in ranges read off examples.

    python calibrated.py SAVEDMODEL INPUTS.npz FILE.tflite

A process of its own: TensorFlow's calibration ends the one that it is in at models that it cannot
bear, such as some with loops.
"""

import sys
from pathlib import Path

import numpy as np


def _main(folder: str, inputs_file: str, file: str) -> None:
    import tensorflow as tf

    with np.load(inputs_file) as found:
        inputs = dict(found)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: (
        {name: value[i : i + 1] for name, value in inputs.items()}
        for i in range(len(next(iter(inputs.values()))))
    )
    Path(file).write_bytes(converter.convert())


if __name__ == '__main__':
    try:
        _main(*sys.argv[1:])
    except Exception as error:  # TensorFlow's converters raise nearly anything
        sys.exit(next(filter(str.strip, str(error).splitlines()), repr(error)))
