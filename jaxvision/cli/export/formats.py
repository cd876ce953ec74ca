"""Write a function of variables and inputs as a SavedModel, TFLite or StableHLO.

The function is `predict(variables, inputs) -> outputs`, with named arrays [B, ...] as inputs and
outputs. `Spec.inputs` has the shapes and dtypes of the inputs. Each file contains the variables
that the function reads, the spec, the config, and calibration.json of the run if there is one.
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

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxvision.cli.export import calibrated
from jaxvision.cli.export.exported import CHECKSUM, EXTRAS, Arrays
from jaxvision.core.errors import UserError
from jaxvision.core.spec import Spec
from jaxvision.core.task import Predict
from jaxvision.core.types import Batch, Json, Tree
from jaxvision.models.blocks import forms

PLATFORMS = ('cpu', 'cuda', 'tpu')
TFLITE = ('float32', 'float16', 'dynamic_int8', 'int8')


def savedmodel(
    predict: Predict,
    variables: Tree,
    spec: Spec,
    config: Json,
    folder: Path,
    *,
    calibration: Json | None = None,
) -> None:
    """Write a SavedModel for batches of any size.

    Its signature is `serving_default`. Its attribute `class_names` has the class names of the spec,
    if there are any.

    Args:
        predict: `(variables, inputs) -> outputs`, with arrays [B, ...] by name.
        variables: variables of the function.
        spec: the spec with the inputs and the class names.
        config: the config of the run, which is stored in the SavedModel.
        folder: the folder of the SavedModel, which is made.
        calibration: the content of calibration.json of the run; None or {}: it has none.

    Raises:
        UserError: TensorFlow is not installed, or does not fit the version of jax.
    """
    tf = _tensorflow()
    shapes = {}
    for name, array in spec.inputs.items():
        sizes = ', '.join(map(str, array.shape))
        shapes[name] = f'(batch, {sizes})'
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
    for name, text in _extras(spec, config, calibration).items():
        (folder / EXTRAS / name).write_text(text)


def tflite(
    predict: Predict,
    variables: Tree,
    spec: Spec,
    config: Json,
    file: Path,
    kind: str,
    examples: Arrays,
    *,
    calibration: Json | None = None,
) -> None:
    """Write a TFLite file, which takes one example at a time.

    Args:
        predict: `(variables, inputs) -> outputs`, with arrays [B, ...] by name. It must
            compute in float32.
        variables: variables of the function, in float32.
        spec: the spec with the inputs.
        config: the config of the run, which is stored in the file.
        file: path of the TFLite file.
        kind: 'float32'; 'float16': rounded weights; 'dynamic_int8': int8 weights, and
            activations that are rounded when they are computed; 'int8': int8 weights and
            activations, with ranges measured on `examples`.
        examples: arrays [N, ...] by the names of the inputs, for 'int8' only.
        calibration: the content of calibration.json of the run; None or {}: it has none.

    Raises:
        UserError: TensorFlow or LiteRT is not installed, or does not fit the version of jax.
        Exception: TensorFlow cannot convert the function; its errors are of many types.
    """
    tf = _tensorflow()
    _installed('ai_edge_litert')  # The check of the file needs it.
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
    _append(file, _extras(spec, config, calibration))


def stablehlo(
    predict: Predict,
    variables: Tree,
    spec: Spec,
    config: Json,
    file: Path,
    *,
    calibration: Json | None = None,
) -> None:
    """Write a file for `jax.export.deserialize`.

    The result is a function of the inputs, for batches of any size, on a CPU, a CUDA GPU or a TPU.

    Args:
        predict: `(variables, inputs) -> outputs`, with arrays [B, ...] by name.
        variables: variables of the function, which the file contains.
        spec: the spec with the inputs.
        config: the config of the run, which is stored in the file.
        file: path of the StableHLO file.
        calibration: the content of calibration.json of the run; None or {}: it has none.
    """
    predict, variables = lean(predict, jax.device_get(variables), spec)
    (batch,) = jax.export.symbolic_shape('batch')
    inputs = {
        name: jax.ShapeDtypeStruct((batch, *array.shape), array.dtype)
        for name, array in spec.inputs.items()
    }

    def of_inputs(inputs: Batch) -> Batch:
        return predict(jax.tree.map(jnp.asarray, variables), inputs)

    program = jax.export.export(jax.jit(of_inputs), platforms=PLATFORMS)(inputs)
    file.write_bytes(program.serialize())
    _append(file, _extras(spec, config, calibration))


def lean(
    predict: Predict, variables: Tree, spec: Spec
) -> tuple[Predict, dict[str, Tree]]:
    """Reduce a function to the variables that it reads.

    A generator then has no discriminator, for example, and no frozen classifier.

    Args:
        predict: `(variables, inputs) -> outputs`, with arrays [B, ...] by name.
        variables: variables of the function.
        spec: the spec with the inputs.

    Returns:
        (the same function, {path with dots: variable that it reads}). The new function
        takes this dict in place of `variables`.
    """
    inputs = {
        name: jax.ShapeDtypeStruct((1, *array.shape), array.dtype)
        for name, array in spec.inputs.items()
    }
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    program = jax.export.export(jax.jit(predict))(shapes, inputs)
    leaves = [
        (_dotted(path), leaf) for path, leaf in jax.tree.leaves_with_path(variables)
    ]
    # The arguments of the program are the variables, then the inputs.
    kept_indices = [i for i in program.module_kept_var_idx if i < len(leaves)]
    variables_read = dict(leaves[i] for i in kept_indices)

    def predict_lean(variables_read: Tree, inputs: Batch) -> Batch:
        def whole_leaf(path, shape):
            name = _dotted(path)
            if name in variables_read:
                return variables_read[name]
            # A model may ask for the shape of a variable that it does not read.
            return jnp.zeros(shape.shape, shape.dtype)

        return predict(jax.tree.map_with_path(whole_leaf, shapes), inputs)

    return predict_lean, variables_read


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
    """Convert a function to TensorFlow.

    Args:
        tf: TensorFlow.
        predict: the function.
        variables: of the function.
        spec: with the inputs.
        batch: size of the batch; None: any size.
        **options: of `jax2tf.convert`.

    Returns:
        (a tf.Module with the variables, the function as a concrete function).
    """
    from jax.experimental import jax2tf

    predict, variables = lean(predict, variables, spec)
    module = tf.Module()
    module.weights = jax.tree.map(tf.Variable, jax.device_get(variables))
    converted = jax2tf.convert(predict, with_gradient=False, **options)

    # The signature names its inputs after the keyword arguments.
    def serve(**inputs):
        return converted(module.weights, inputs)

    module.serve = tf.function(serve, autograph=False)
    tensors = {
        name: tf.TensorSpec([batch, *array.shape], array.dtype, name=name)
        for name, array in spec.inputs.items()
    }
    return module, module.serve.get_concrete_function(**tensors)


def _calibrate(tf: ModuleType, module, serve, examples: Arrays, file: Path) -> None:
    """Convert to int8 in a process of its own.

    Args:
        tf: TensorFlow.
        module: a tf.Module.
        serve: its concrete function.
        examples: arrays [N, ...] by the names of the inputs.
        file: path of the TFLite file.

    Raises:
        RuntimeError: The conversion fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, 'inputs.npz')
        np.savez(inputs, **examples)
        tf.saved_model.save(module, folder, signatures={'serving_default': serve})
        process = subprocess.run(
            [sys.executable, '-P', calibrated.__file__, folder, inputs, file],
            capture_output=True,
            text=True,
        )
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise RuntimeError(f"TensorFlow's calibration crashed with {name}")
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        raise RuntimeError((lines or ['no reason given'])[-1])


def _extras(spec: Spec, config: Json, calibration: Json | None) -> dict[str, str]:
    """The texts in an exported file: {name: text}."""
    texts = {'config.json': json.dumps(config), 'spec.json': json.dumps(spec.to_json())}
    if calibration:
        texts['calibration.json'] = json.dumps(calibration)
    if spec.class_names:
        lines = [' '.join(name.split()) + '\n' for name in spec.class_names]
        texts['labels.txt'] = ''.join(lines)
    return texts


def _append(file: Path, texts: dict[str, str]) -> None:
    """Append a zip archive to a model, as TFLite's tools do. Readers of the model ignore it."""
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    with zipfile.ZipFile(file, 'a') as archive:
        for name, text in {**texts, CHECKSUM: checksum}.items():
            archive.writestr(name, text)


def _tensorflow() -> ModuleType:
    """Import TensorFlow, and check that it can load the programs of this jax."""
    tf = _installed('tensorflow')
    version = importlib.metadata.version('jax')
    major, minor = version.split('.')[:2]
    if (int(major), int(minor)) >= (0, 11):
        raise UserError(
            f'jax {version}: expected a version below 0.11, because TensorFlow '
            f'{tf.__version__} cannot load programs of newer ones. Use another environment '
            "with the extra `tf` (pip install -e '.[tf]' in a checkout), or --format "
            'stablehlo, which needs no TensorFlow.'
        )
    return tf


def _installed(name: str) -> ModuleType:
    """Import a package of the extra `tf`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f'--format: expected the package {name} for this format. Install the extra '
            "`tf`: pip install -e '.[tf]' in a checkout of jaxvision."
        ) from error
