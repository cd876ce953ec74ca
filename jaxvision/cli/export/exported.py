"""Open an exported model with numpy and the runtime of its format, without jaxvision.

As a script, this file predicts for a file of inputs. It prints the latency of two batch sizes, each
measured for some seconds, and the peak memory:
    python exported.py MODEL INPUTS.npz OUTPUTS.npz SECONDS
"""

import hashlib
import itertools
import json
import os
import re
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Json = dict[str, Any]
# From arrays [B, ...] by the names of the inputs to those of the outputs.
Predict = Callable[[Arrays], Arrays]

EXTRAS = 'assets.extra'  # folder of a SavedModel that TensorFlow's tools ignore
SIGNATURE = 'serving_default'  # of the run's `predict`
CHECKSUM = 'sha256'  # name of the checksum of a file's part before the extras
MOST_TIMES = 1000  # measured calls of a batch size


def is_exported(path: Path) -> bool:
    """Return whether a path is the folder of a SavedModel, or a .tflite or .stablehlo file."""
    if path.is_dir():
        return (path / 'saved_model.pb').is_file()
    return path.suffix in ('.tflite', '.stablehlo') and path.is_file()


def read_extras(path: Path) -> tuple[Json, Json]:
    """Read the config and the spec of the run that a file was exported from.

    Returns:
        (the config, the spec), which the file contains.

    Raises:
        KeyError, OSError, ValueError, zipfile.BadZipFile: They are missing, or the file
            has changed since it was written. In a SavedModel no change is noticed here:
            TensorFlow itself checks the variables.
    """
    names = ('config.json', 'spec.json')
    if path.is_dir():
        texts = [(path / EXTRAS / name).read_text() for name in names]
    else:
        with zipfile.ZipFile(path) as extras:
            texts = [extras.read(name) for name in names]
            checksum = extras.read(CHECKSUM).decode()
            size = min(entry.header_offset for entry in extras.infolist())
        if hashlib.sha256(path.read_bytes()[:size]).hexdigest() != checksum:
            raise ValueError('its checksum differs')
    config, spec = map(json.loads, texts)
    return config, spec


def read_calibration(path: Path) -> Json:
    """Read what was fitted on the validation split of the run, such as score thresholds.

    Returns:
        The content of the run's calibration.json; {} if the run has none.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: The file cannot be read or is damaged.
    """
    name = 'calibration.json'
    if path.is_dir():
        file = path / EXTRAS / name
        return json.loads(file.read_text()) if file.exists() else {}
    with zipfile.ZipFile(path) as extras:
        return json.loads(extras.read(name)) if name in extras.namelist() else {}


def open_exported(path: Path) -> Predict:
    """Open an exported model, which uses all cores.

    Returns:
        A function from arrays [B, ...] by the spec's input names to the outputs [B, ...] of
        the run's `predict`, for any B >= 1.

    Raises:
        ModuleNotFoundError: The runtime of the format is not installed. A damaged file
            raises an error of its runtime.
    """
    if path.is_dir():
        return _savedmodel(path)
    if path.suffix == '.tflite':
        return _tflite(path)
    return _stablehlo(path)


def _savedmodel(path: Path) -> Predict:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))

    def predict(inputs: Arrays) -> Arrays:
        # Through the model: a signature alone does not keep its variables alive.
        serve = model.signatures[SIGNATURE]
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: tensor.numpy() for name, tensor in serve(**tensors).items()}

    return predict


def _tflite(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    serve = interpreter.get_signature_runner(SIGNATURE)

    def predict(inputs: Arrays) -> Arrays:
        count = len(next(iter(inputs.values())))
        rows = []
        # The file takes one example at a time.
        for i in range(count):
            example = {name: array[i : i + 1] for name, array in inputs.items()}
            rows.append(serve(**example))
        return _concatenate(rows)

    return predict


def _stablehlo(path: Path) -> Predict:
    import jax
    import jax.export

    serve = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)

    def predict(inputs: Arrays) -> Arrays:
        return jax.device_get(serve(inputs))

    return predict


def _concatenate(parts: list[Arrays]) -> Arrays:
    """Join batches along their first axis."""
    whole = {}
    for name in parts[0]:
        whole[name] = np.concatenate([part[name] for part in parts])
    return whole


def answer_all(predict: Predict, inputs: Arrays) -> Arrays:
    """Predict in batches of 1, of 5 and then of 32, to find errors of single batch sizes.

    Args:
        predict: `(inputs [B, ...]) -> outputs [B, ...]` of a model, for any B.
        inputs: arrays [N, ...] by name, with N >= 1.

    Returns:
        The outputs [N, ...] by name, in the order of the inputs.
    """
    count = len(next(iter(inputs.values())))
    starts = [0, 1, 6, *range(38, count + 32, 32)]
    cuts = sorted({min(start, count) for start in starts})
    parts = []
    for first, last in itertools.pairwise(cuts):
        batch = {name: array[first:last] for name, array in inputs.items()}
        parts.append(predict(batch))
    return _concatenate(parts)


def latency(
    predict: Predict, inputs: Arrays, batch: int, seconds: float
) -> dict[str, float]:
    """Measure the latency of a batch.

    Args:
        predict: `(inputs [B, ...]) -> outputs [B, ...]` of a model.
        inputs: arrays [N, ...], which are repeated or cut to the batch.
        batch: number of examples of the batch.
        seconds: duration of the measurement. At least 5 and at most 1,000 calls are
            measured, after 2 that are not.

    Returns:
        {'median': median, 'p95': 95th percentile} of a call of the whole batch, in
        milliseconds.
    """
    arrays = {}
    for name, array in inputs.items():
        arrays[name] = np.resize(array, (batch, *array.shape[1:]))
    for _ in range(2):
        predict(arrays)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < MOST_TIMES:
        if len(times) >= 5 and time.perf_counter() >= end:
            break
        start = time.perf_counter()
        predict(arrays)
        times.append(1e3 * (time.perf_counter() - start))
    median, p95 = np.percentile(times, (50, 95)).tolist()
    return {'median': median, 'p95': p95}


def _peak_memory() -> int:
    """The peak memory of this process in bytes."""
    if sys.platform == 'darwin':
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The peak of getrusage includes the parent process at the fork.
    status = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'VmHWM:\s*(\d+)', status)[1])


def _main(model: Path, inputs_file: str, outputs_file: str, seconds: float) -> None:
    # Users run the model without jaxvision, and most of them without jax.
    sys.modules['jaxvision'] = None
    # The runtime is imported first, so that its size does not count as the model's.
    if model.suffix == '.stablehlo':
        import jax  # noqa: F401
    else:
        sys.modules['jax'] = None
        if model.is_dir():
            import tensorflow  # noqa: F401
        else:
            import ai_edge_litert.interpreter  # noqa: F401
    with np.load(inputs_file) as archive:
        inputs = dict(archive)
    before = _peak_memory()
    predict = open_exported(model)
    np.savez(outputs_file, **answer_all(predict, inputs))
    latencies = {batch: latency(predict, inputs, batch, seconds) for batch in (1, 32)}
    print(json.dumps({'latency_ms': latencies, 'peak_memory': _peak_memory() - before}))


if __name__ == '__main__':
    _model, _inputs_file, _outputs_file, _seconds = sys.argv[1:]
    _main(Path(_model), _inputs_file, _outputs_file, float(_seconds))
