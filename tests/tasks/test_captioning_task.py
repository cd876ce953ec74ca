"""Image captioning: training, vocabulary, metrics, prediction and export."""

import io
import json

import jax
import numpy as np
import pytest
from helpers import drawing
from PIL import Image

from jaxvision.cli.export import exported, formats
from jaxvision.cli.predict import command as predict
from jaxvision.core import config as configs
from jaxvision.core import registry
from jaxvision.core.errors import UserError
from jaxvision.data import digit_captions
from jaxvision.data.protocol import Unreadable, captions_of
from jaxvision.data.wrappers import Numbered, Subset
from jaxvision.metrics import cider
from jaxvision.tasks.captioning import evaluation, tokens
from jaxvision.tasks.captioning import task as captioning
from jaxvision.train import loop, run, saved
from jaxvision.train.sources import Sources
from jaxvision.train.writers import read_rows


def small(*overrides):
    config = configs.default('captioning')
    base = (
        'data.source=digit_scenes/64',
        'data.image_size=48',
        'data.batch_size=16',
        'data.test_split=test',
        'model.name=cnn',
        'model.variant=4x1-6x1-8x1-8x1',
        'task.decoder.hidden=24',
        'task.decoder.embedding=12',
        'task.decoder.attention=8',
        'task.vocabulary_examples=60',
        'task.beam_size=2',
        'optimizer.lr=0.02',
        'optimizer.schedule=constant',
        'train.steps=200',
        'train.log_every=1',
        'train.eval_every=200',
        'train.checkpoint_every=200',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.fixture(scope='module')
def few():
    """Reduce the test split to 48 scenes, which are evaluated quickly."""
    from jaxvision.data import digit_scenes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, 'LENGTHS', (2000, 48))
        yield


@pytest.fixture(scope='module')
def trained(few, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('captioning')
    with drawing.done():
        return workdir, loop.run(small(), workdir)


def test_training_learns_the_grammar_and_draws_attention(trained):
    workdir, result = trained
    assert result.metrics['eval/bleu_2'] > 0.35
    assert result.metrics['eval/cider_d'] > 0.35
    assert {'eval/true', 'eval/beam_true', 'eval/beam_cider_d'} <= result.metrics.keys()
    declared = run.reopen(workdir).task.main.metrics
    assert result.metrics.keys() == {f'eval/{name}' for name in declared}
    losses = [
        row['train/cross_entropy']
        for row in read_rows(workdir / 'metrics.jsonl')
        if 'train/cross_entropy' in row
    ]
    assert np.mean(losses[-5:]) < 0.4 * losses[0]
    assert {'captions.png', 'attention.png'} <= {
        p.name for p in (workdir / 'figures').iterdir()
    }


def test_self_critical_training_raises_the_reward_and_cider_d(
    trained, tmp_path, no_pictures
):
    config = small(
        f'train.init_from={trained[0]}',
        'task.self_critical=true',
        'train.steps=100',
        'optimizer.lr=0.001',
        'train.eval_every=100',
        'data.batch_size=32',
    )
    result = loop.run(config, tmp_path)
    rewards = [
        row['train/reward']
        for row in read_rows(tmp_path / 'metrics.jsonl')
        if 'train/reward' in row
    ]
    assert np.mean(rewards[-20:]) > np.mean(rewards[:20])

    # The sum over both searches: with 48 scenes each alone is noisy.
    def cider_d(metrics):
        return metrics['eval/cider_d'] + metrics['eval/beam_cider_d']

    assert cider_d(result.metrics) > cider_d(trained[1].metrics) + 0.1


def test_a_frozen_encoder_has_no_gradient_and_no_optimizer_state(trained, tmp_path):
    begun = run.begin(
        small(f'train.init_from={trained[0]}', 'train.frozen=model/encoder'), tmp_path
    )
    state = begun.shapes
    whole = run.reopen(trained[0]).shapes
    traced = jax.make_jaxpr(begun.task.update)(state, saved.blank_batch(begun.spec))
    # One convolution per layer in the forward pass, and none in the backward pass.
    assert str(traced).count('conv_general_dilated') == 4
    assert any(name.startswith('model/encoder/') for name in begun.leaves)
    assert state.frozen['params']['model'].keys() == {'encoder'}
    assert jax.tree.structure(state.variables) == jax.tree.structure(whole.variables)

    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree) if leaf.ndim)

    assert size(state.opt_state) == 2 * size(state.params) < 2 * size(whole.params)


@pytest.fixture(scope='module')
def spec(trained):
    return run.reopen(trained[0]).spec


def test_prepare_samples_a_caption_in_training_and_keeps_all_in_evaluation(spec):
    prepare = captioning.make_prepare(small('task.self_critical=true'), spec)
    texts = [
        'a large red seven',
        'there is a large red seven',
        'a large mauve seven, I think',
    ]
    example = {'image': np.zeros((64, 64, 3), np.uint8), 'captions': texts}
    vocabulary = spec.details.vocabulary
    captions_per_image, length = spec.targets['captions'].shape
    assert vocabulary[:4] == ('<end>', '<begin>', '<unknown>', 'a')
    assert captions_per_image == 3

    evaluated = prepare(example, None)
    assert tokens.to_words(vocabulary, evaluated['caption']) == texts[0].split()
    assert bytes(evaluated['references']).rstrip(b'\0').decode().split('\n') == texts
    prepared = [prepare(example, np.random.default_rng(seed)) for seed in range(30)]
    captions = {' '.join(tokens.to_words(vocabulary, x['caption'])) for x in prepared}
    assert captions == {*texts[:2], 'a large <unknown> seven <unknown> <unknown>'}
    first = prepared[0]
    assert all((other['captions'] == first['captions']).all() for other in prepared)
    assert first['captions'].shape == (3, length) and 'references' not in first
    assert list(prepare({'image': example['image']}, None)) == ['image']
    # A user's file may have another size than all images of the dataset.
    file = io.BytesIO()
    Image.new('RGB', (50, 30), (10, 20, 30)).save(file, 'PNG')
    pixels = prepare({'image': file.getvalue()}, None)['image']
    assert pixels.shape == spec.inputs['image'].shape
    assert (pixels == (10, 20, 30)).all()

    long = prepare({**example, 'captions': ['a ' * 99]}, None)
    assert long['caption'].tolist() == [3] * (length - 1) + [0]
    with pytest.raises(Unreadable, match='bytes, more than'):
        prepare({**example, 'captions': ['a ' * 999]}, None)


def test_rare_words_are_unknown():
    captions = [[['a', 'red', 'one']], [['a', 'red', 'red'], ['two']]]
    assert tokens.vocabulary(captions, 2)[3:] == ('red', 'a')
    assert tokens.vocabulary(captions, 1)[3:] == ('red', 'a', 'one', 'two')


def test_the_network_gives_logits_of_captions(trained):
    task, variables, _ = saved.load(trained[0])
    source = run.reopen(trained[0]).sources['test']
    images = np.stack([source[row]['image'] for row in range(4)])
    network = task.network

    @jax.jit
    def apply(pixels, caption):
        return network.apply(variables, network.normalize(pixels), caption)

    pixels = images / np.float32(255)
    predicted = jax.jit(task.predict)(variables, {'image': images})
    logits, intermediates = apply(pixels, predicted['caption'])
    # BEGIN and UNKNOWN are never predicted. After END every word is END.
    likeliest = np.asarray(logits.at[..., 1:3].set(-np.inf).argmax(-1))
    is_word = np.cumsum(predicted['caption'] == 0, 1) <= 1
    np.testing.assert_array_equal(likeliest[is_word], predicted['caption'][is_word])
    attention = intermediates['attention']
    np.testing.assert_allclose(
        attention[is_word], predicted['attention'][is_word], atol=1e-5
    )
    batch, _, *places = attention.shape
    assert intermediates['features'].shape[:3] == (batch, *places)
    greedy_logits, _ = apply(pixels, None)
    np.testing.assert_allclose(greedy_logits, logits, atol=1e-5)
    other = np.full_like(predicted['caption'], 3)
    assert not np.allclose(apply(pixels, other)[0][:, 1:], logits[:, 1:])


def test_the_vocabulary_and_the_ngrams_come_back_from_json(few, tmp_path):
    config = small('task.self_critical=true', 'task.vocabulary_examples=20')
    spec = run.begin(config, tmp_path).spec
    text = json.dumps(spec.to_json())
    read = registry.read_spec(json.loads(text), config)
    assert read == spec
    assert isinstance(read.details.ngrams.rarity, tuple)
    texts = captioning.read_texts(config, run.begin(config, tmp_path).sources['train'])
    number = tokens.make_numbering(
        spec.details.vocabulary, spec.targets['captions'].shape
    )
    expected = cider.statistics(np.stack([number(example) for example in texts]))
    tables = read.details.ngrams.tables(np.float32)
    for name in ('parent', 'word', 'rarity'):
        array = getattr(tables, name)
        np.testing.assert_array_equal(array, getattr(expected, name))
        assert array.dtype == getattr(expected, name).dtype


def test_a_caption_is_true_if_it_agrees_with_the_scene(spec):
    scene = np.array([[7, 1, 0, 30, 12], [2, 0, 1, 30, 50], [-1] * 5], np.int32)
    texts = digit_captions.captions(scene)
    vocabulary = spec.details.vocabulary
    number = tokens.make_numbering(vocabulary, spec.targets['captions'].shape)
    right = number(texts)[0]
    wrong = number([texts[0].replace('red', 'blue')])[0]
    (size,) = spec.targets['references'].shape
    references = tokens.pad(tokens.as_bytes(texts), size)
    records = {
        'caption': np.stack([right, wrong]),
        'beam': np.stack([right, right]),
        'references': np.stack([references] * 2),
        'scene': np.stack([scene] * 2),
    }
    summary = evaluation.summarize(vocabulary, records)
    assert set(summary) == set(evaluation.metric_names(has_scenes=True))
    del records['scene']
    without_scene = evaluation.summarize(vocabulary, records)
    assert set(without_scene) == set(evaluation.metric_names(has_scenes=False))
    assert (summary['true'], summary['beam_true']) == (0.5, 1)
    assert summary['beam_bleu_4'] == pytest.approx(1) and summary['bleu_4'] < 0.95


def test_predict_captions_an_image_of_a_user(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    ).save('a.png')
    assert predict.main(['--workdir', str(trained[0]), 'a.png']) == 0
    answers = (tmp_path / 'predictions' / 'predictions.json').read_text()
    assert '"caption": "a' in answers or '"caption": "the' in answers
    assert len([*(tmp_path / 'predictions').glob('*.png')]) == 1


def test_exported_greedy_and_beam_search_give_the_same_captions(
    trained, spec, tmp_path
):
    task, variables, _ = saved.load(trained[0])
    source = run.reopen(trained[0]).sources['test']
    examples = [task.prepare(source[row], None) for row in range(4)]
    images = np.stack([example['image'] for example in examples])
    expected = jax.jit(task.predict)(variables, {'image': images})
    assert len({tuple(row) for row in expected['caption'].tolist()}) > 1
    formats.savedmodel(task.predict, variables, spec, {}, tmp_path / 'savedmodel')
    formats.tflite(
        task.predict,
        variables,
        spec,
        {},
        tmp_path / 'float32.tflite',
        kind='float32',
        examples={},
    )
    for file in ('savedmodel', 'float32.tflite'):
        answer = exported.answer_all(
            exported.open_exported(tmp_path / file), {'image': images}
        )
        for name, value in expected.items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'override, message',
    [
        ('data.source=digits', 'needs captions'),
        ('task.layer=stage9', 'stage4'),
        ('task.beam_size=0', 'task.beam_size=0: expected a whole number >= 1'),
        ('task.decoder.hidden=0', 'task.decoder.hidden=0: expected .* >= 1'),
        (
            'task.doubly_stochastic=-1.0',
            'task.doubly_stochastic=-1.0: expected a number >= 0',
        ),
    ],
)
def test_a_wrong_setting_is_an_error(few, override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.run(small(override), tmp_path)
    assert not (tmp_path / 'config.json').exists()


@pytest.fixture
def few_references(tmp_path):
    """COCO files: one caption per training image, up to five longer captions in 'val'."""
    texts = {
        'train': [['a cat']] * 4,
        'val': [['a cat'], [f'a cat that is number {i} of five' for i in range(5)]],
    }
    for split, captions in texts.items():
        (tmp_path / split).mkdir()
        for i in range(len(captions)):
            pixels = np.full((8, 8, 3), 20 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f'{i}.png')
        images = [{'id': i, 'file_name': f'{i}.png'} for i in range(len(captions))]
        annotations = []
        for i, example in enumerate(captions):
            annotations += [{'image_id': i, 'caption': text} for text in example]
        content = json.dumps({'images': images, 'annotations': annotations})
        (tmp_path / f'captions_{split}.json').write_text(content)
    return tmp_path


def test_the_references_of_every_split_fit_into_their_array(
    few_references, monkeypatch
):
    config = small(f'data.source=captions:{few_references}', 'data.image_size=8')
    configs.override(config, 'data.test_split', 'val')
    split = Sources(config)
    spec = run.describe(config, split)
    (size,) = spec.targets['references'].shape
    longest = '\n'.join(split['test'][1]['captions']).encode()
    assert size == len(longest) > 2 * len(b'a cat')
    prepare = captioning.make_prepare(config, spec)
    prepared = [prepare(split['test'][row], None) for row in range(len(split['test']))]
    assert bytes(prepared[1]['references']) == longest

    # The captions are known without the images, also behind wrappers.
    def refuse(path):
        raise AssertionError(f'{path} was read')

    monkeypatch.setattr('jaxvision.data.files.read', refuse)
    rows = np.array([1, 0])
    wrapped = Subset(Numbered(split['test']), rows, 'part')
    assert list(captions_of(wrapped, 1)) == ['a cat']
    assert captioning.read_texts(config, split['train']) == [('a cat',)] * 4
