import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.exporting import assert_exported_alike

from jaxvision.core import config as configs
from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.data import video
from jaxvision.tasks.video import task as video_task
from jaxvision.train import loop, run


def small(source, *overrides):
    config = configs.default('video')
    base = (
        f'data.source={source}',
        'data.image_size=16',
        'data.batch_size=8',
        'model.name=lrcn',
        'model.variant=8-8',
        'model.options.hidden=16',
        'model.options.patch=2',
        'model.options.features=16',
        'task.frames=6',
        'optimizer.lr=0.02',
        'train.steps=40',
        'train.log_every=1',
        'train.eval_every=40',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    """Short films of a bright square that goes to the left, or to the right; of unequal lengths."""
    root = tmp_path_factory.mktemp('films')
    rng = np.random.default_rng(0)
    for name, step in (('left', -2), ('right', 2)):
        (root / name).mkdir()
        for i in range(10):
            frames = np.zeros((4 + i % 5, 24, 32, 3), np.uint8)
            top, left = rng.integers(0, (16, 9))
            for t, frame in enumerate(frames):
                place = left + 2 * t if step > 0 else left + 16 - 2 * t
                frame[top : top + 8, place : place + 8] = 255
            video.write_clip(root / name / f'{i}.mp4', frames, 10.0)
    return root


@pytest.fixture(scope='module')
def trained(films, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('video')
    return workdir, loop.run(small(f'videos:{films}'), workdir)


def first_batch(this, size=8):
    source = this.sources['train']
    prepared = [this.task.prepare(source[row], None) for row in range(size)]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(size, dtype=np.int32)}


def test_where_a_thing_goes_is_learned_and_mistakes_are_drawn(trained):
    workdir, result = trained
    assert result.finished and result.metrics['eval/accuracy'] == 1
    assert {path.name for path in (workdir / 'figures').iterdir()} == {
        'confusion.png',
        'mistakes.png',
        'curves.png',
    }


def test_declared_metrics_are_those_of_an_evaluation(trained):
    workdir, result = trained
    declared = run.reopen(workdir).task.main.metrics
    assert set(result.metrics) == {f'eval/{name}' for name in declared}


def test_the_network_gives_the_logits_of_predict_from_normalized_clips(trained):
    this = run.reopen(trained[0])
    variables = this.restore('last').variables
    batch = first_batch(this)
    network = this.task.network

    @jax.jit
    def apply(pixels, mask):
        return network.apply(variables, network.normalize(pixels), mask)

    logits, intermediates = apply(
        batch['video'] / np.float32(255), batch['video_mask'] > 0
    )
    expected = jax.jit(this.task.predict)(variables, batch)['logits']
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert intermediates.keys() >= {'logits'}


def test_films_are_answered_for(trained, films, main, tmp_path):
    code, out, _, found = main(
        '--workdir', trained[0], films / 'left' / '9.mp4', films / 'right' / '0.mp4'
    )
    assert code == 0 and '2 of 2 files predicted' in out
    for name in ('left/9.mp4', 'right/0.mp4'):
        entry = found[str(films / name)]
        assert entry['answer']['class'] == name.split('/')[0]
        assert (tmp_path / entry['picture']).exists()


def test_clips_are_functions_of_their_keys_and_filled_up(films, tmp_path):
    this = run.begin(small(f'videos:{films}', 'task.frames=5'), tmp_path)
    assert this.spec.inputs == {
        'video': ArraySpec((5, 16, 16, 3), 'uint8'),
        'video_mask': ArraySpec((5,), 'uint8'),
    }
    assert this.spec.preprocessing.resize == 'stretch'
    assert this.spec.class_names == ('left', 'right')
    assert this.task.predictor == 'video'
    short, long = (
        this.task.prepare({'video': films / 'left' / f'{i}.mp4'}, None) for i in (0, 4)
    )
    assert (
        short['video_mask'].tolist() == [1, 1, 1, 1, 0] and not short['video'][4].any()
    )
    assert long['video_mask'].all() and long['video'].dtype == np.uint8

    def draw(seed):
        return this.task.prepare(
            {'video': films / 'left' / '4.mp4'}, keys.host(0, 'prepare', seed)
        )['video']

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (
        len({draw(seed).tobytes() for seed in range(20)}) == 4
    )  # of 8 frames, 5 in a row
    np.testing.assert_array_equal(
        long['video'][0], video.read(films / 'left' / '4.mp4', [1], 16)[0]
    )


def test_arrays_of_the_right_size_are_taken_as_they_are(tmp_path):
    config = small(
        'moving_digits/motions', 'data.image_size=64', 'model.options.patch=8'
    )
    this = run.begin(config, tmp_path)
    assert this.spec.preprocessing.resize == 'none'
    assert this.spec.inputs['video'] == ArraySpec((6, 64, 64, 1), 'uint8')
    whole = this.sources['train'][3]
    prepared = this.task.prepare(whole, None)
    np.testing.assert_array_equal(prepared['video'], whole['video'][7:13])
    assert prepared['label'] == whole['label']
    clips = (
        np.stack(
            [
                this.sources['train'][int(row)]['video'][7:13]
                for row in np.linspace(0, 49_999, 64).astype(int)
            ]
        )
        / 255
    )
    assert this.spec.preprocessing.mean == pytest.approx([clips.mean()], rel=1e-6)
    assert this.spec.preprocessing.std == pytest.approx([clips.std()], rel=1e-6)
    # A person's film is larger, and in colour.
    film = np.random.default_rng(0).integers(0, 256, (9, 90, 120, 3)).astype(np.uint8)
    assert this.task.prepare({'video': film}, None)['video'].shape == (6, 64, 64, 1)


def test_a_clip_is_moved_as_a_whole():
    config = configs.default('video')
    config.task.augment.update(flip=True, translate=0.2)
    one = np.random.default_rng(0).uniform(size=(8, 1, 12, 12, 2)).astype(np.float32)
    clips = jnp.asarray(one.repeat(3, 1))  # that stand still
    targets = jax.nn.one_hot(jnp.arange(8) % 2, 2)

    @jax.jit
    def augmented(clips):
        return video_task.augment_clips(
            config.task.augment, jax.random.key(0), jnp.arange(8), clips, targets
        )

    moved, same_targets = map(np.asarray, augmented(clips))
    np.testing.assert_array_equal(same_targets, targets)
    assert moved.shape == clips.shape
    np.testing.assert_array_equal(moved, moved[:, :1].repeat(3, 1))
    assert sum((moved[i] != clips[i]).any() for i in range(8)) > 4
    assert max(np.isin(moved[i], 0).mean() for i in range(8)) > 0.05


@pytest.mark.parametrize('model', ['lrcn', 'conv_lstm_net', 'frame_average'])
def test_the_model_is_exported(model, films, tmp_path):
    config = small(f'videos:{films}', f'model.name={model}')
    allowed = {'conv_lstm_net': ('hidden', 'patch'), 'frame_average': ('patch',)}
    options = config.model.options
    config.model.options = {name: options[name] for name in allowed.get(model, options)}
    this = run.begin(config, tmp_path)
    rng = np.random.default_rng(0)
    inputs = {
        'video': rng.integers(0, 256, (3, 6, 16, 16, 3)).astype(np.uint8),
        'video_mask': (np.arange(6) < np.array([[6], [1], [4]])).astype(np.uint8),
    }
    assert_exported_alike(this, inputs, tmp_path, 1e-5, 'logits')


def test_floats_and_masks_of_truth_values_are_taken_too(trained):
    this = run.reopen(trained[0])
    variables, batch = this.restore('last').variables, first_batch(this)
    answers = [
        jax.jit(this.task.predict)(variables, {'video': clips, 'video_mask': mask})
        for clips, mask in (
            (batch['video'], batch['video_mask']),
            (batch['video'].astype(np.float32), batch['video_mask'] > 0),
        )
    ]
    jax.tree.map(np.testing.assert_array_equal, *answers)
    np.testing.assert_allclose(answers[0]['probabilities'].sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.frames=0', 'task.frames=0: expected a whole number >= 1'),
        ('task.stride=0', 'task.stride=0: expected a whole number >= 1'),
        ('task.resize=crop', "task.resize='crop': expected one of 'stretch'"),
        ('task.label_smoothing=1', 'expected a number >= 0, < 1'),
        ('task.augment.translate=2', 'task.augment.translate=2'),
        ('data.source=digits', 'holds image, label: this task needs video'),
    ],
)
def test_a_mistake_in_the_config_is_named(override, message, films, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(f'videos:{films}', override), tmp_path / 'run')
