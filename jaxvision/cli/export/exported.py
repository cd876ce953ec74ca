"""Opens an exported model, with numpy and its format's own runtime and nothing of jaxvision.

As a script it answers for a file of inputs, and says what that takes, timing each batch size for
some seconds:
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

EXTRAS = 'assets.extra'  # where TensorFlow's tools leave other people's files alone
CHECKSUM = 'sha256'  # of what is before the extras in a file


def is_exported(path: Path) -> bool:
    """Whether it is a SavedModel's folder, or FILE.tflite or FILE.stablehlo."""
    if path.is_dir():
        return (path / 'saved_model.pb').is_file()
    return path.suffix in ('.tflite', '.stablehlo') and path.is_file()


def read_extras(path: Path) -> tuple[Json, Json]:
    """The config and the spec of the run that the file was made of, which it holds.

    Raises KeyError, OSError, ValueError or BadZipFile where they are not there, or the file is not
    as it was written (of a SavedModel TensorFlow itself checks the variables).
    """
    if path.is_dir():
        texts = [
            (path / EXTRAS / name).read_text() for name in ('config.json', 'spec.json')
        ]
    else:
        with zipfile.ZipFile(path) as extras:
            texts = [extras.read(name) for name in ('config.json', 'spec.json')]
            checksum = extras.read(CHECKSUM).decode()
            size = min(entry.header_offset for entry in extras.infolist())
        if hashlib.sha256(path.read_bytes()[:size]).hexdigest() != checksum:
            raise ValueError('its checksum differs')
    config, spec = map(json.loads, texts)
    return config, spec


def open_exported(path: Path) -> Callable[[Arrays], Arrays]:
    """The model as a function: of arrays [B, ...] by the spec's input names, to arrays [B, ...]
    by the names of what the run's `predict` answers; any B, all cores."""
    if path.is_dir():
        return _savedmodel(path)
    return {'.tflite': _tflite, '.stablehlo': _stablehlo}[path.suffix](path)


def _savedmodel(path: Path) -> Callable[[Arrays], Arrays]:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))

    def answer(inputs: Arrays) -> Arrays:
        # By the model, whose variables a signature alone does not keep alive.
        serve = model.signatures['serving_default']
        outputs = serve(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return answer


def _tflite(path: Path) -> Callable[[Arrays], Arrays]:
    from ai_edge_litert.interpreter import Interpreter

    serve = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner()

    def answer(inputs: Arrays) -> Arrays:  # the file takes one example at a time
        count = len(next(iter(inputs.values())))
        rows = [
            serve(**{name: value[i : i + 1] for name, value in inputs.items()})
            for i in range(count)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return answer


def _stablehlo(path: Path) -> Callable[[Arrays], Arrays]:
    import jax
    import jax.export

    serve = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)
    return lambda inputs: jax.device_get(serve(inputs))


def answer_all(answer: Callable[[Arrays], Arrays], inputs: Arrays) -> Arrays:
    """In batches of 1, of 5, then of 32, so that a batch size that differs is found."""
    count = len(next(iter(inputs.values())))
    cuts = sorted({min(cut, count) for cut in (0, 1, 6, *range(38, count + 32, 32))})
    parts = [
        answer({name: value[first:last] for name, value in inputs.items()})
        for first, last in itertools.pairwise(cuts)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def latency(
    answer: Callable[[Arrays], Arrays], inputs: Arrays, batch: int, seconds: float
) -> dict[str, float]:
    """Median and 95th percentile of the milliseconds that a batch takes, over some seconds."""
    inputs = {
        name: np.resize(value, (batch, *value.shape[1:]))
        for name, value in inputs.items()
    }
    for _ in range(2):
        answer(inputs)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or len(times) < 1000 and time.perf_counter() < end:
        start = time.perf_counter()
        answer(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return {'median': float(np.median(times)), 'p95': float(np.percentile(times, 95))}


def _peak_memory() -> int:
    """Bytes that this process has held at most."""
    if sys.platform == 'darwin':
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not getrusage: its peak counts what the process before this one held, at the fork.
    status = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'VmHWM:\s*(\d+)', status)[1])


def _main(model: Path, inputs_file: str, outputs_file: str, seconds: float) -> None:
    # It must do without them where it is going.
    sys.modules['jaxvision'] = None
    if model.suffix == '.stablehlo':
        import jax  # noqa: F401, here so that its size is not counted as the model's
    else:
        sys.modules['jax'] = None
        if model.is_dir():
            import tensorflow  # noqa: F401, likewise
        else:
            import ai_edge_litert.interpreter  # noqa: F401
    with np.load(inputs_file) as file:
        inputs = dict(file)
    before = _peak_memory()
    answer = open_exported(model)
    np.savez(outputs_file, **answer_all(answer, inputs))
    latencies = {batch: latency(answer, inputs, batch, seconds) for batch in (1, 32)}
    print(json.dumps({'latency_ms': latencies, 'peak_memory': _peak_memory() - before}))


if __name__ == '__main__':
    _main(Path(sys.argv[1]), *sys.argv[2:4], float(sys.argv[4]))
