"""Few-shot classification: every method, predictions for new classes, and wrong settings."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxvision.cli.export import exported, formats
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.registry import read_spec
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.data.episodes import Form
from jaxvision.tasks.few_shot import forms, methods
from jaxvision.tasks.few_shot import task as few_shot
from jaxvision.train import loop, run, saved

CONFIG = Path(__file__).parents[2] / 'configs' / 'few_shot.py'
METHODS = [*methods.COMPARING, *methods.WITHIN]


def small(method='protonet', *overrides):
    config = configs.default('few_shot')
    base = (
        'data.source=digits',
        'data.image_size=8',
        'data.batch_size=4',
        'model.name=strided',
        'model.variant=32-64',
        'model.options.patch=2',
        'model.options.pool=flat',
        f'task.method={method}',
        'task.ways=4',
        'task.shots=2',
        'task.queries=3',
        'task.evaluations=3x1,4x3',
        'task.test_queries=3',
        'task.test_episodes=40',
        'task.inner_steps=3',
        'task.test_steps=3',
        'optimizer.lr=0.003',
        'optimizer.schedule=constant',
        'train.steps=40',
        'train.eval_every=40',
        'train.checkpoint_every=40',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """`finished(method) -> (run folder, metrics)` of a short run; each method runs once."""
    runs = {}

    def find(method):
        if method not in runs:
            workdir = tmp_path_factory.mktemp(method)
            runs[method] = workdir, loop.run(small(method), workdir).metrics
        return runs[method]

    return find


@pytest.mark.parametrize('method', METHODS)
def test_every_method_learns(method, finished, no_pictures):
    workdir, measured = finished(method)
    assert measured['eval/4way_3shot/accuracy'] > 0.7
    assert 0 < measured['eval/4way_3shot/interval'] < 0.1
    assert measured['eval/3way_1shot/accuracy'] > 0.6
    assert 0.5 < measured['eval/3way_1shot/pixel_accuracy'] < 1
    task, _, _ = saved.load(workdir)
    assert task.main_evaluation == '3way_1shot' and task.predictor == 'support'
    assert task.best == '3way_1shot/accuracy'
    assert set(measured) == {f'eval/{name}' for name in task.metrics}


def test_the_spec_survives_json(finished):
    _, _, spec = saved.load(finished('protonet')[0])
    assert spec.details == few_shot.Details(image_shape=(8, 8, 1))
    assert spec.inputs == {
        'support': ArraySpec((3, 1, 8, 8, 1)),
        'support_mask': ArraySpec((3, 1)),
        'query': ArraySpec((9, 8, 8, 1)),
    }
    text = json.dumps(spec.to_json())
    assert read_spec(json.loads(text), small()) == spec


def test_predictions_follow_from_the_features_of_the_network(finished):
    """The probabilities of a prototypical network, computed with NumPy from the features."""
    task, variables, _ = saved.load(finished('protonet')[0])
    example = run.reopen(finished('protonet')[0]).sources['test'][0]

    def features(images):
        pixels = jnp.asarray(images.reshape(-1, 8, 8, 1), jnp.float32) / 255
        vectors, intermediates = task.network.apply(
            variables, task.network.normalize(pixels)
        )
        pooled = intermediates['pooled'].reshape(len(pixels), -1)
        np.testing.assert_array_equal(vectors, pooled)
        return np.asarray(vectors, np.float64)

    support = features(example['support']).reshape(4, 3, -1).mean(1)
    query = features(example['query'])
    distances = ((query[:, None] - support) ** 2).sum(-1)
    odds = np.exp(distances.min(1, keepdims=True) - distances)
    names = ('support', 'support_mask', 'query')
    inputs = {name: example[name][None] for name in names}
    answer = task.predict(variables, inputs)['probabilities'][0]
    np.testing.assert_allclose(answer, odds / odds.sum(1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize('method', ['protonet', 'maml'])
def test_a_prediction_does_not_depend_on_other_queries_or_episodes(method, finished):
    task, variables, _ = saved.load(finished(method)[0])
    source = run.reopen(finished(method)[0]).sources['test']
    batch = {
        name: np.stack([source[row][name] for row in range(3)]) for name in source[0]
    }
    inputs = forms.part(batch, Form(3, 1, 3))
    whole = jax.jit(task.predict)(variables, inputs)['probabilities']
    alone = jax.jit(task.predict)(
        variables,
        {
            'support': inputs['support'][1:2],
            'support_mask': inputs['support_mask'][1:2],
            'query': inputs['query'][1:2, :2],
        },
    )['probabilities']
    np.testing.assert_allclose(whole[1, :2], alone[0], atol=1e-5)


def test_smaller_episodes_are_parts_of_larger_ones(finished):
    source = run.reopen(finished('protonet')[0]).sources['test']
    batch = {name: array[None] for name, array in source[0].items()}
    assert (
        batch['support'].shape == (1, 4, 3, 8, 8, 1) and batch['query'].shape[1] == 12
    )
    smaller = forms.part(batch, Form(2, 1, 3))
    np.testing.assert_array_equal(smaller['support'][0], source[0]['support'][:2, :1])
    np.testing.assert_array_equal(smaller['query'][0], source[0]['query'][:6])
    assert smaller['query_label'].tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.fixture
def pictures(tmp_path):
    """Images of two digits: a support set of 3 and 2 images, and 8 queries of each digit."""
    digits = load_digits()
    for label, name, shots in ((3, 'three', 3), (6, 'six', 2)):
        of_label = digits.images[digits.target == label]
        for i in range(shots + 8):
            path = tmp_path / 'asked' / f'{name}-{i}.png'
            if i < shots:
                path = tmp_path / 'support' / name / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((of_label[i] * 15).astype(np.uint8)).save(path)
    return tmp_path


@pytest.mark.parametrize('method', ['protonet', 'maml'])
def test_predict_classifies_images_by_a_support_folder_of_the_user(
    method, finished, pictures, main
):
    workdir, _ = finished(method)
    code, output, _, answers = main(
        '--workdir', workdir, '--support', pictures / 'support', 'asked'
    )
    assert code == 0 and len(answers) == 16
    right = [answer['answer']['class'] in file for file, answer in answers.items()]
    assert np.mean(right) > 0.85
    assert 'asked/six-5.png' in output and 'three' in output


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), 'Give --support DIR'),
        (('--support', 'nowhere'), 'The folder does not exist'),
        (('--support', 'support/six'), 'at least two'),
        (('--support', 'damaged'), 'cat.png'),
        (('--support', 'unfilled'), 'unfilled/emu has no files. Add images'),
        (
            ('--support', 'splits'),
            'are splits. Give one of them, such as --support splits/Test',
        ),
        (('--support', 'broken'), 'broken/emu is a broken link. Mend or remove it'),
        (('--support', 'twice'), "expected other images of 'six' than of 'two'"),
    ],
)
def test_a_wrong_support_folder_is_an_error(
    arguments, message, finished, pictures, main
):
    for name in ('damaged/cat/cat.png', 'damaged/dog/dog.png', 'unfilled/cat/cat.png'):
        (pictures / name).parent.mkdir(parents=True)
        (pictures / name).write_bytes(b'no image')
    (pictures / 'unfilled' / 'emu').mkdir()
    for name in ('Train', 'Test'):
        shutil.copytree(pictures / 'support', pictures / 'splits' / name)
    shutil.copytree(pictures / 'support', pictures / 'broken')
    (pictures / 'broken' / 'emu').symlink_to('/nowhere/emu')
    shutil.copytree(pictures / 'support', pictures / 'twice')
    shutil.copytree(pictures / 'support' / 'six', pictures / 'twice' / 'two')
    code, _, error, _ = main('--workdir', finished('protonet')[0], *arguments, 'asked')
    assert code == 2 and message in error


def test_a_support_folder_may_hold_system_files_and_runs(finished, pictures, main):
    """Files of the system and folders of runs are neither classes nor images."""
    support = pictures / 'support'
    for name in ('.Trash-1000/1.png', '__MACOSX/six/._0.png', 'runs/cnn/spec.json'):
        (support / name).parent.mkdir(parents=True)
        (support / name).touch()
    (support / 'runs' / 'cnn' / 'config.json').touch()
    for name in ('Thumbs.db', '.DS_Store', 'desktop.ini'):
        (support / 'six' / name).touch()
    (support / 'six' / 'loop').symlink_to(support)
    workdir, _ = finished('protonet')
    code, _, errors, answers = main(
        '--workdir', workdir, '--support', support, 'asked/six-5.png'
    )
    assert code == 0, errors
    about = json.loads(Path('predictions/predictions.json').read_text())
    assert about['support'] == {'six': 2, 'three': 3}


def test_an_exported_model_gives_the_same_logits(finished, tmp_path):
    for method in ('protonet', 'maml'):
        task, variables, spec = saved.load(finished(method)[0])
        source = run.reopen(finished(method)[0]).sources['test']
        batch = {
            name: np.stack([source[row][name] for row in range(3)])
            for name in source[0]
        }
        episodes = forms.part(batch, forms.evaluated_forms(small().task)[0])
        inputs = {name: episodes[name] for name in spec.inputs}
        expected = jax.jit(task.predict)(variables, inputs)
        formats.savedmodel(task.predict, variables, spec, {}, tmp_path / method)
        answer = exported.answer_all(exported.open_exported(tmp_path / method), inputs)
        np.testing.assert_allclose(
            answer['logits'], expected['logits'], rtol=1e-4, atol=1e-5
        )


@pytest.fixture
def classes_apart(tmp_path):
    """A folder whose splits have different classes, as in mini-ImageNet."""
    digits = load_digits()
    for split, labels in (('train', range(6)), ('test', range(6, 10))):
        for label in labels:
            folder = tmp_path / 'apart' / split / str(label)
            folder.mkdir(parents=True)
            for i, image in enumerate(digits.images[digits.target == label][:8]):
                pixels = Image.fromarray((image * 15).astype(np.uint8))
                pixels.resize((9 + i, 12)).save(folder / f'{i}.png')
    return tmp_path / 'apart'


def test_a_folder_whose_splits_have_different_classes(classes_apart, tmp_path):
    source = f'data.source=folder:{classes_apart}'
    begun = run.begin(small('protonet', source, 'task.queries=2'), tmp_path / 'run')
    assert begun.spec.class_names == tuple('012345')
    assert begun.sources['test'].info.class_names == tuple('6789')
    assert begun.sources['test'][0]['query'].shape == (12, 8, 8, 1)
    config = configs.default('classification')
    for text in (source, 'data.image_size=8', 'model.name=cnn', 'model.variant=4'):
        configs.override(config, *text.split('=', 1))
    with pytest.raises(UserError, match='expected the classes of training'):
        run.begin(config, tmp_path / 'classifier')


@pytest.mark.parametrize('method', METHODS[1:])
def test_the_config_file_has_every_method(method):
    config = configs.load(f'{CONFIG}:digit_pairs,{method}')
    spec = Spec(
        inputs={},
        targets={},
        class_names=('01', '12'),
        preprocessing=Preprocessing(size=(28, 56), mean=(0.1,), std=(0.3,)),
        examples=100,
        details=few_shot.Details(image_shape=(28, 56, 1)),
    )
    task = few_shot.make(config, spec)
    assert config.task.method == method
    params = jax.eval_shape(task.init, jax.random.key(0), {}).params['model']
    assert ('head' in params) == (method == 'baseline') and params.keys() - {'head'}


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.method=fomaml', 'first_order_maml'),
        ('task.evaluations=5', 'WAYSxSHOTS'),
        ('task.layer=stage9', 'pooled'),
        ('task.evaluations=5x1', 'has 4 classes'),
        ('task.inner_steps=9', 'task.inner_steps=9: expected at most .* = 5'),
        ('task.ways=0', 'task.ways=0: expected a whole number >= 1'),
        ('task.cosine_scale=0', 'task.cosine_scale=0.0: expected a number > 0'),
        ('task.new_class_fraction=1.5', 'expected a number > 0, < 1'),
    ],
)
def test_a_wrong_setting_is_an_error(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small('reptile', override), tmp_path)


def test_maml_refuses_a_model_with_batch_norm(tmp_path):
    config = small('maml', 'model.name=cnn', 'model.variant=4-8')
    config.model.options = {}
    with pytest.raises(
        UserError, match='without batch_stats, because the method cannot adapt'
    ):
        loop.run(config, tmp_path)
    assert not (tmp_path / 'config.json').exists()
