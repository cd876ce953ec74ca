"""Every model in every format, opened in a process without jax and jaxvision."""

import json
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.cli.export import calibrated, exported, formats
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Spec, from_json
from jaxvision.models.backbones import cnn, mobilenet_v2, resnet, vgg, vit

MODELS = {  # file, variant, options, and how to make it shallow
    'cnn': (cnn, '8x1-16', {}, {}),
    'resnet-bottleneck': (resnet, '50', dict(), dict(depths=(1, 1))),
    'resnet-group': (
        resnet,
        '18',
        dict(norm='group', stem='cifar'),
        dict(depths=(1, 1)),
    ),
    'mobilenet_v2': (mobilenet_v2, '0.5', {}, dict(stages=mobilenet_v2.STAGES[:2])),
    'vgg': (vgg, '11', dict(batch_norm=True, head='pool'), dict(depths=(1, 1, 1))),
    'vit': (vit, 'Ti/8', dict(pool='cls', depth=1), {}),
}
CLASSES = ['nought', 'one', 'zwölf', '十', 'a b']
SPEC = Spec(
    class_names=tuple(CLASSES),
    inputs={'image': ArraySpec((32, 32, 3), 'uint8')},
    targets={},
)
IMAGES = np.random.default_rng(0).integers(0, 256, (38, 32, 32, 3)).astype(np.uint8)
# `answer_all` divides 38 into batches of 1, 5 and 32, and 6 into batches of 1 and 5. TensorFlow and
# jax compile a program for each size.
COUNTS = {name: 38 if name == 'cnn' else 6 for name in MODELS}
FILES = {
    'savedmodel': formats.savedmodel,
    'model.stablehlo': formats.stablehlo,
    'float32.tflite': formats.tflite,
}


def make(name):
    """(predict, variables) of a model whose every leaf is random."""
    module, variant, options, shallow = MODELS[name]
    model = module.make(variant, num_classes=len(CLASSES), **options).clone(**shallow)

    def predict(variables, inputs):
        logits, _ = model.apply(variables, inputs['image'].astype(jnp.float32) / 255)
        return {'logits': logits, 'class': logits.argmax(-1)}

    blank = jnp.zeros((1, 32, 32, 3))
    return predict, random_leaves(jax.eval_shape(model.init, jax.random.key(0), blank))


# Run after the outputs of a format in the process without jax.
DESCRIBE_SAVEDMODEL = """
        import tensorflow as tf
        model = tf.saved_model.load(str(Path({folder!r}, 'cnn', 'savedmodel')))
        serve = model.signatures['serving_default']
        inputs = serve.structured_input_signature[1]
        Path({folder!r}, 'described.json').write_text(json.dumps({{
            'signatures': list(model.signatures),
            'inputs': {{name: [x.shape.as_list(), x.dtype.name] for name, x in inputs.items()}},
            'outputs': {{name: x.shape.as_list() for name, x in serve.structured_outputs.items()}},
            'class_names': [name.decode() for name in model.class_names.numpy()]}}))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('exported')


@pytest.fixture(scope='module')
def answers(folder):
    """{model: {file: outputs}}, 'run' being the model itself.

    The folder gets described.json: a SavedModel as TensorFlow sees it.
    """
    np.save(folder / 'images.npy', IMAGES)
    outputs_of = {}
    for name in MODELS:
        predict, variables = make(name)
        (folder / name).mkdir()
        outputs_of[name] = {
            'run': jax.device_get(
                jax.jit(predict)(variables, {'image': IMAGES[: COUNTS[name]]})
            )
        }
        for file, write in FILES.items():
            more = (
                {'kind': 'float32', 'examples': {}} if write is formats.tflite else {}
            )
            write(predict, variables, SPEC, {}, folder / name / file, **more)
    describe = DESCRIBE_SAVEDMODEL.format(folder=str(folder))
    for files, hidden, more in (
        (['savedmodel', 'float32.tflite'], ['jax', 'jaxlib', 'jaxvision'], describe),
        (['model.stablehlo'], ['jaxvision', 'flax', 'tensorflow'], ''),
    ):
        subprocess.run(
            [
                sys.executable,
                '-P',
                '-c',
                textwrap.dedent(f"""
            import json, runpy, sys
            sys.modules |= dict.fromkeys({hidden})
            import numpy as np
            from pathlib import Path
            exported = runpy.run_path({exported.__file__!r})
            every = np.load({str(folder / 'images.npy')!r})
            for model, count in {COUNTS}.items():
                images = {{'image': every[:count]}}
                for file in {files}:
                    path = Path({str(folder)!r}, model, file)
                    answer = exported['open_exported'](path)
                    np.savez(path.with_suffix('.npz'), **exported['answer_all'](answer, images))
        """)
                + textwrap.dedent(more),
            ],
            check=True,
            timeout=300,
        )
    for name in MODELS:
        for file in FILES:
            with np.load((folder / name / file).with_suffix('.npz')) as outputs:
                outputs_of[name][file] = dict(outputs)
    return outputs_of


@pytest.mark.parametrize('file', FILES)
@pytest.mark.parametrize('name', MODELS)
def test_a_file_answers_as_the_model_in_batches_of_1_5_and_32(answers, name, file):
    expected = answers[name]['run']
    outputs = answers[name][file]
    assert outputs.keys() == expected.keys()
    assert np.ptp(expected['logits'], axis=0).min() > 1e-2, (
        'the logits depend on the image'
    )
    largest = np.abs(expected['logits']).max()
    gap = np.abs(outputs['logits'] - expected['logits']).max()
    assert gap / largest < 1e-5
    first, second = np.sort(expected['logits'], 1)[:, :-3:-1].T
    is_tie = first - second < 2e-5 * largest
    np.testing.assert_array_equal(outputs['class'][~is_tie], expected['class'][~is_tie])


@pytest.fixture(scope='module')
def small():
    return make('cnn')


# test_export_command.py has int8, whose calibration starts a process.
@pytest.mark.parametrize('kind', ['float32', 'float16', 'dynamic_int8'])
def test_weights_have_the_rounding_of_the_format_and_outputs_are_close(
    small, tmp_path, kind
):
    file = tmp_path / 'model.tflite'
    formats.tflite(*small, SPEC, {}, file, kind, {})
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    assert list(interpreter.get_signature_list()) == ['serving_default']
    details = interpreter.get_tensor_details()
    kernels = {
        tensor['dtype'] for tensor in details if list(tensor['shape'])[1:3] == [3, 3]
    }
    assert {'float32': np.float32, 'float16': np.float16}.get(kind, np.int8) in kernels
    expected = jax.device_get(jax.jit(small[0])(small[1], {'image': IMAGES}))['logits']
    logits = exported.open_exported(file)({'image': IMAGES})['logits']
    most = {'float32': 1e-5, 'float16': 1e-2, 'dynamic_int8': 0.1}[kind]
    assert np.abs(logits - expected).max() < most * np.abs(expected).max()


@pytest.mark.parametrize(
    'script, message',
    [
        ('import os; os.kill(os.getpid(), 11)', 'crashed with SIGSEGV'),
        ('import sys; sys.exit("no such operation")', '^no such operation$'),
    ],
)
def test_a_failed_calibration_gives_its_reason(
    small, tmp_path, monkeypatch, script, message
):
    (tmp_path / 'script.py').write_text(script)
    monkeypatch.setattr(calibrated, '__file__', str(tmp_path / 'script.py'))
    with pytest.raises(RuntimeError, match=message):
        formats.tflite(
            *small, SPEC, {}, tmp_path / 'model.tflite', 'int8', {'image': IMAGES[:8]}
        )


@pytest.mark.parametrize('name', FILES)
def test_a_file_contains_its_config_its_spec_and_a_checksum(small, tmp_path, name):
    more = {'kind': 'float32', 'examples': {}} if name.endswith('tflite') else {}
    calibration = {'score': 0.25}
    model = (*small, SPEC, {'seed': 3})
    FILES[name](*model, tmp_path / name, **more, calibration=calibration)
    assert exported.is_exported(tmp_path / name)
    assert exported.read_calibration(tmp_path / name) == calibration
    config, spec = exported.read_extras(tmp_path / name)
    assert config == {'seed': 3}
    assert from_json(spec, lambda task: None, 'classification') == SPEC
    if name != 'savedmodel':  # whose variables TensorFlow checks
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(
            whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
        )
        with pytest.raises(ValueError, match='checksum differs'):
            exported.read_extras(tmp_path / name)


def test_variables_that_are_not_read_are_left_out(tmp_path):
    kernel = np.ones((8, 4), np.float32)
    variables = {
        'params': {
            'generator': {'kernel': kernel, 'unread': kernel[:, :3]},
            'discriminator': {'kernel': np.ones((500, 500), np.float32)},
        },
        'model_state': {},
        'frozen': {'feature_extractor': [np.ones(500, np.float32)]},
    }

    @jax.jit
    def layers(
        params, x
    ):  # the second, whose answer nobody uses, still has to have its shape
        return x @ params['kernel'], x @ params['unread'], params['unread'].shape

    def predict(variables, inputs):
        y, *_ = layers(variables['params']['generator'], inputs['latent'])
        return {'y': y + variables['frozen']['feature_extractor'][0].shape[0]}

    spec = Spec(inputs={'latent': ArraySpec((8,), 'float32')}, targets={})
    latent = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    predict_lean, variables_read = formats.lean(predict, variables, spec)
    assert list(variables_read) == ['params.generator.kernel']
    np.testing.assert_array_equal(
        predict_lean(variables_read, {'latent': latent})['y'],
        predict(variables, {'latent': latent})['y'],
    )
    for name, write in FILES.items():
        more = {'kind': 'float32', 'examples': {}} if name.endswith('tflite') else {}
        write(predict, variables, spec, {}, tmp_path / name, **more)
        files = [tmp_path / name, *(tmp_path / name).rglob('*')]
        assert sum(path.stat().st_size for path in files if path.is_file()) < 60_000
        np.testing.assert_allclose(
            exported.open_exported(tmp_path / name)({'latent': latent})['y'],
            latent @ kernel + 500,
            rtol=1e-5,
        )


def test_other_files_are_no_exports(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    for path in (tmp_path, tmp_path / 'notes.txt', tmp_path / 'gone.tflite'):
        assert not exported.is_exported(path)


def test_a_savedmodel_as_tensorflow_sees_it(answers, folder):
    assert json.loads((folder / 'described.json').read_text()) == {
        'signatures': ['serving_default'],
        'inputs': {'image': [[None, 32, 32, 3], 'uint8']},
        'outputs': {'logits': [None, 5], 'class': [None]},
        'class_names': CLASSES,
    }


def test_a_missing_or_unsuitable_package_is_an_error(small, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.metadata, 'version', lambda name: '0.12.0.1')
    with pytest.raises(UserError, match='jax 0.12.0.1: expected a version below 0.11'):
        formats.savedmodel(*small, SPEC, {}, tmp_path / 'savedmodel')
    monkeypatch.setitem(sys.modules, 'tensorflow', None)
    with pytest.raises(
        UserError, match=r"expected the package tensorflow .*pip install -e '\.\[tf\]'"
    ):
        formats.tflite(*small, SPEC, {}, tmp_path / 'x.tflite', 'float32', {})
    assert not list(tmp_path.iterdir())
