"""Write functions of variables and inputs as a SavedModel, TFLite or StableHLO.

A function is `predict(variables, inputs) -> outputs`, with named arrays [B, ...] as inputs and
outputs. `Spec.inputs` has the shapes and dtypes of the inputs. Each file contains the variables
that the function reads, the spec, the config, and calibration.json of the run if there is one.

A SavedModel and a TFLite file may hold a second function, `raw_predict`, as their signature 'raw'.
Both signatures share the variables. A StableHLO file has one function.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxvision.cli.export import calibrated
from jaxvision.cli.export.exported import CHECKSUM, EXTRAS, SIGNATURE, Arrays
from jaxvision.core.errors import UserError
from jaxvision.core.spec import Spec
from jaxvision.core.task import Predict
from jaxvision.core.types import Batch, Json, Tree
from jaxvision.models.blocks import forms

PLATFORMS = ('cpu', 'cuda', 'tpu')
TFLITE = ('float32', 'float16', 'dynamic_int8', 'int8')
RAW = 'raw'  # the signature of `raw_predict`


def savedmodel(
    predict: Predict,
    variables: Tree,
    spec: Spec,
    config: Json,
    folder: Path,
    *,
    calibration: Json | None = None,
    raw_predict: Predict | None = None,
) -> None:
    """Write a SavedModel for batches of any size.

    Its signature is `serving_default`, and `raw` if there is a `raw_predict`. Its attribute
    `class_names` has the class names of the spec, if there are any.

    Args:
        predict: `(variables, inputs) -> outputs`, with arrays [B, ...] by name.
        variables: variables of the function.
        spec: the spec with the inputs and the class names.
        config: the config of the run, which is stored in the SavedModel.
        folder: the folder of the SavedModel, which is made.
        calibration: the content of calibration.json of the run; None or {}: it has none.
        raw_predict: the function of the signature `raw`; None: no such signature.

    Raises:
        UserError: TensorFlow is not installed, or does not fit the version of jax.
    """
    tf = _tensorflow()
    shapes = {}
    for name, array in spec.inputs.items():
        sizes = ', '.join(map(str, array.shape))
        shapes[name] = f'(batch, {sizes})'
    functions = _by_signature(predict, raw_predict)
    with forms.for_savedmodel():
        module, signatures = _as_tensorflow(
            tf,
            functions,
            variables,
            spec,
            None,
            polymorphic_shapes=[None, shapes],
            native_serialization_platforms=PLATFORMS,
        )
    if spec.class_names:
        module.class_names = tf.Variable(list(spec.class_names), trainable=False)
    tf.saved_model.save(module, str(folder), signatures=signatures)
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
    raw_predict: Predict | None = None,
) -> None:
    """Write a TFLite file, which takes one example at a time.

    Its signatures are those of `savedmodel`. A file of the kind 'int8' has no `raw`.

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
        raw_predict: the function of the signature `raw`; None: no such signature.

    Raises:
        UserError: TensorFlow or LiteRT is not installed, or does not fit the version of jax.
        Exception: TensorFlow cannot convert the function; its errors are of many types.
    """
    tf = _tensorflow()
    _installed('ai_edge_litert')  # The check of the file needs it.
    if kind == 'int8':
        raw_predict = None
    functions = _by_signature(predict, raw_predict)
    with forms.for_tflite():
        module, signatures = _as_tensorflow(tf, functions, variables, spec, 1)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        if kind == 'int8':
            _calibrate(Path(folder), examples, file)
        else:
            file.write_bytes(_converted(tf, folder, list(signatures), kind))
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


def _by_signature(predict: Predict, raw_predict: Predict | None) -> dict[str, Predict]:
    """The functions of a file by the names of their signatures."""
    if raw_predict is None:
        return {SIGNATURE: predict}
    return {SIGNATURE: predict, RAW: raw_predict}


def _as_tensorflow(
    tf: ModuleType,
    functions: Mapping[str, Predict],
    variables: Tree,
    spec: Spec,
    batch: int | None,
    **options,
) -> tuple:
    """Convert functions of the same variables and inputs to TensorFlow.

    Args:
        tf: TensorFlow.
        functions: by the names of their signatures.
        variables: of the functions.
        spec: with the inputs.
        batch: size of the batch; None: any size.
        **options: of `jax2tf.convert`.

    Returns:
        (a tf.Module with each variable once, the concrete functions by signature).
    """
    from jax.experimental import jax2tf

    variables = jax.device_get(variables)
    tensors = {
        name: tf.TensorSpec([batch, *array.shape], array.dtype, name=name)
        for name, array in spec.inputs.items()
    }
    module = tf.Module()
    module.weights = {}
    module.functions = {}
    signatures = {}
    for signature, function in functions.items():
        function, variables_read = lean(function, variables, spec)
        for name, array in variables_read.items():
            if name not in module.weights:
                module.weights[name] = tf.Variable(array)
        weights = {name: module.weights[name] for name in variables_read}
        converted = jax2tf.convert(function, with_gradient=False, **options)
        serve = tf.function(_serving(converted, weights), autograph=False)
        module.functions[signature] = serve
        signatures[signature] = serve.get_concrete_function(**tensors)
    return module, signatures


def _serving(converted: Callable, weights: Mapping) -> Callable:
    """A function of keyword arguments, after which a signature names its inputs."""

    def serve(**inputs):
        return converted(weights, inputs)

    return serve


def _converted(
    tf: ModuleType, folder: str, signatures: Sequence[str], kind: str
) -> bytes:
    """Convert a SavedModel to a TFLite file of a kind other than 'int8'."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        folder, signature_keys=signatures
    )
    if kind != 'float32':
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == 'float16':
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _calibrate(folder: Path, examples: Arrays, file: Path) -> None:
    """Convert to int8 in a separate process.

    Args:
        folder: a SavedModel, which gets a file with the examples.
        examples: arrays [N, ...] by the names of the inputs.
        file: path of the TFLite file.

    Raises:
        RuntimeError: The conversion fails.
    """
    inputs = folder / 'inputs.npz'
    np.savez(inputs, **examples)
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
