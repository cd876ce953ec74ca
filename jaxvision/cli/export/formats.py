"""A pure function of variables and inputs, written as a SavedModel, TFLite or StableHLO.

`predict(variables, inputs) -> outputs`, named arrays [B, ...] in and out; the spec's `inputs` says
their shapes and dtypes. Each file holds the variables that are read, the spec and the config.
"""

import hashlib
import importlib
import importlib.metadata
import json
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxvision.cli.export import calibrated
from jaxvision.cli.export.exported import CHECKSUM, EXTRAS, Arrays
from jaxvision.core.errors import UserError
from jaxvision.core.spec import Spec
from jaxvision.core.task import Predict
from jaxvision.core.types import Json, Tree
from jaxvision.models.blocks import forms

PLATFORMS = ('cpu', 'cuda', 'tpu')
TFLITE = ('float32', 'float16', 'dynamic_int8', 'int8')


def savedmodel(
    predict: Predict, variables: Tree, spec: Spec, config: Json, folder: Path
) -> None:
    """A SavedModel for batches of any size: signature `serving_default`, and the class names, where
    the spec has some, as the attribute `class_names`."""
    tf = _tensorflow()
    shapes = {
        name: f'(batch, {", ".join(map(str, array.shape))})'
        for name, array in spec.inputs.items()
    }
    module, serve = _as_tensorflow(
        tf,
        predict,
        variables,
        spec,
        None,
        polymorphic_shapes=[None, shapes],
        native_serialization_platforms=PLATFORMS,
    )
    if spec.class_names:
        module.class_names = tf.Variable(list(spec.class_names), trainable=False)
    tf.saved_model.save(module, str(folder), signatures={'serving_default': serve})
    (folder / EXTRAS).mkdir()
    for name, text in _extras(spec, config).items():
        (folder / EXTRAS / name).write_text(text)


def tflite(
    predict: Predict,
    variables: Tree,
    spec: Spec,
    config: Json,
    file: Path,
    kind: str,
    examples: Arrays,
) -> None:
    """A TFLite file that takes one example at a time; `kind` is one of TFLITE.

    'int8' is int8 from the first layer to the last, in ranges read off `examples`; 'dynamic_int8'
    has int8 weights alone, and rounds what comes to them as it comes; 'float16' has weights alone.
    """
    tf = _tensorflow()
    _installed('ai_edge_litert')  # which the check will need
    with forms.for_tflite():
        module, serve = _as_tensorflow(tf, predict, variables, spec, 1)
    if kind == 'int8':
        _calibrate(tf, module, serve, examples, file)
    else:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([serve], module)
        if kind != 'float32':
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == 'float16':
            converter.target_spec.supported_types = [tf.float16]
        file.write_bytes(converter.convert())
    _append(file, _extras(spec, config))


def stablehlo(
    predict: Predict, variables: Tree, spec: Spec, config: Json, file: Path
) -> None:
    """What `jax.export.deserialize` opens: a function of the inputs, for batches of any size, on a
    CPU, a CUDA GPU or a TPU."""
    predict, variables = lean(predict, jax.device_get(variables), spec)
    (batch,) = jax.export.symbolic_shape('batch')
    inputs = {
        name: jax.ShapeDtypeStruct((batch, *array.shape), array.dtype)
        for name, array in spec.inputs.items()
    }
    function = jax.jit(
        lambda inputs: predict(jax.tree.map(jnp.asarray, variables), inputs)
    )
    file.write_bytes(
        jax.export.export(function, platforms=PLATFORMS)(inputs).serialize()
    )
    _append(file, _extras(spec, config))


def lean(
    predict: Predict, variables: Tree, spec: Spec
) -> tuple[Predict, dict[str, Tree]]:
    """The same function of those variables alone that it reads, by name: of no discriminator, say,
    and no frozen classifier."""
    inputs = {
        name: jax.ShapeDtypeStruct((1, *array.shape), array.dtype)
        for name, array in spec.inputs.items()
    }
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    read = jax.export.export(jax.jit(predict))(shapes, inputs).module_kept_var_idx
    named = [
        (_dotted(path), leaf) for path, leaf in jax.tree.leaves_with_path(variables)
    ]

    def of_read(some: dict[str, Any], inputs: dict) -> dict:
        # A model may ask for the shape of what it does not read.
        whole = jax.tree.map_with_path(
            lambda path, leaf: (
                some[_dotted(path)]
                if _dotted(path) in some
                else jnp.zeros(leaf.shape, leaf.dtype)
            ),
            shapes,
        )
        return predict(whole, inputs)

    return of_read, dict(named[i] for i in read if i < len(named))


def _dotted(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='.')


def _as_tensorflow(
    tf: ModuleType,
    predict: Predict,
    variables: Tree,
    spec: Spec,
    batch: int | None,
    **options,
) -> tuple:
    """(a tf.Module that holds the variables, `predict` of them as a concrete function)."""
    from jax.experimental import jax2tf

    predict, variables = lean(predict, variables, spec)
    module = tf.Module()
    module.weights = jax.tree.map(tf.Variable, jax.device_get(variables))
    converted = jax2tf.convert(predict, with_gradient=False, **options)
    # Of keyword arguments the signature takes its inputs' names.
    module.serve = tf.function(
        lambda **inputs: converted(module.weights, inputs), autograph=False
    )
    return module, module.serve.get_concrete_function(
        **{
            name: tf.TensorSpec([batch, *array.shape], array.dtype, name=name)
            for name, array in spec.inputs.items()
        }
    )


def _calibrate(tf: ModuleType, module, serve, examples: Arrays, file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, 'inputs.npz')
        np.savez(inputs, **examples)
        tf.saved_model.save(module, folder, signatures={'serving_default': serve})
        done = subprocess.run(
            [sys.executable, '-P', calibrated.__file__, folder, inputs, file],
            capture_output=True,
            text=True,
        )
    if done.returncode < 0:
        raise RuntimeError(
            "TensorFlow's calibration is ended by "
            + signal.Signals(-done.returncode).name
        )
    if done.returncode:
        raise RuntimeError(
            (done.stderr.strip().splitlines() or ['no reason given'])[-1]
        )


def _extras(spec: Spec, config: dict) -> dict[str, str]:
    texts = {'config.json': json.dumps(config), 'spec.json': json.dumps(spec.to_json())}
    if spec.class_names:
        texts['labels.txt'] = ''.join(
            ' '.join(name.split()) + '\n' for name in spec.class_names
        )
    return texts


def _append(file: Path, texts: dict[str, str]) -> None:
    """As TFLite's own tools do: a zip archive behind the model, where its readers do not look."""
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    with zipfile.ZipFile(file, 'a') as archive:
        for name, text in {**texts, CHECKSUM: checksum}.items():
            archive.writestr(name, text)


def _tensorflow() -> ModuleType:
    tf = _installed('tensorflow')
    version = importlib.metadata.version('jax')
    if tuple(map(int, version.split('.')[:2])) >= (0, 11):
        raise UserError(
            f'TensorFlow {tf.__version__} cannot load what jax {version} '
            'exports. The pair that works is jax 0.10 with TensorFlow 2.21: install '
            'jaxvision with its extra `tf` in an environment of its own '
            "(pip install -e '.[tf]' in a checkout; --format stablehlo needs neither)"
        )
    return tf


def _installed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f'this export needs {name}, of the extra `tf`: '
            "pip install -e '.[tf]' in a checkout of jaxvision"
        ) from error
