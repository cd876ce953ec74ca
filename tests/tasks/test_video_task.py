"""Video classification: training, clips, augmentation, prediction and export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawing
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
def videos(tmp_path_factory):
    """Videos of unequal length, of a bright square that moves left or right."""
    root = tmp_path_factory.mktemp('videos')
    rng = np.random.default_rng(0)
    for name, step in (('left', -2), ('right', 2)):
        (root / name).mkdir()
        for i in range(10):
            frames = np.zeros((4 + i % 5, 24, 32, 3), np.uint8)
            top, left = rng.integers(0, (16, 9))
            for t, frame in enumerate(frames):
                start = 0 if step > 0 else 16
                place = left + start + step * t
                frame[top : top + 8, place : place + 8] = 255
            video.write_clip(root / name / f'{i}.mp4', frames, 10.0)
    return root


@pytest.fixture(scope='module')
def trained(videos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('video')
    with drawing.done():
        return workdir, loop.run(small(f'videos:{videos}'), workdir)


def first_batch(begun, size=8):
    source = begun.sources['train']
    prepared = [begun.task.prepare(source[row], None) for row in range(size)]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(size, dtype=np.int32)}


def test_directions_of_motion_are_learned_and_figures_drawn(trained):
    workdir, result = trained
    assert result.finished and result.metrics['eval/accuracy'] == 1
    assert {path.name for path in (workdir / 'figures').iterdir()} == {
        'confusion.png',
        'mistakes.png',
        'curves.png',
    }


def test_the_declared_metrics_are_those_of_the_evaluation(trained):
    workdir, result = trained
    declared = run.reopen(workdir).task.main.metrics
    assert set(result.metrics) == {f'eval/{name}' for name in declared}


def test_the_network_has_the_logits_of_predict_for_normalised_clips(trained):
    begun = run.reopen(trained[0])
    variables = begun.restore('last').variables
    batch = first_batch(begun)
    network = begun.task.network

    @jax.jit
    def apply(pixels, mask):
        return network.apply(variables, network.normalize(pixels), mask)

    logits, intermediates = apply(
        batch['video'] / np.float32(255), batch['video_mask'] > 0
    )
    expected = jax.jit(begun.task.predict)(variables, batch)['logits']
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert intermediates.keys() >= {'logits'}


def test_predict_classifies_videos_of_a_user(trained, videos, main, tmp_path):
    code, out, _, answers = main(
        '--workdir', trained[0], videos / 'left' / '9.mp4', videos / 'right' / '0.mp4'
    )
    assert code == 0 and '2 of 2 files predicted' in out
    for name in ('left/9.mp4', 'right/0.mp4'):
        entry = answers[str(videos / name)]
        assert entry['answer']['class'] == name.split('/')[0]
        assert (tmp_path / entry['picture']).exists()


def test_clips_are_deterministic_by_key_and_padded(videos, tmp_path):
    begun = run.begin(small(f'videos:{videos}', 'task.frames=5'), tmp_path)
    assert begun.spec.inputs == {
        'video': ArraySpec((5, 16, 16, 3), 'uint8'),
        'video_mask': ArraySpec((5,), 'uint8'),
    }
    assert begun.spec.preprocessing.resize == 'stretch'
    assert begun.spec.class_names == ('left', 'right')
    assert begun.task.predictor == 'video'
    short = begun.task.prepare({'video': videos / 'left' / '0.mp4'}, None)
    long = begun.task.prepare({'video': videos / 'left' / '4.mp4'}, None)
    assert short['video_mask'].tolist() == [1, 1, 1, 1, 0]
    assert not short['video'][4].any()
    assert long['video_mask'].all() and long['video'].dtype == np.uint8

    def random_clip(seed):
        rng = keys.host(0, 'prepare', seed)
        return begun.task.prepare({'video': videos / 'left' / '4.mp4'}, rng)['video']

    np.testing.assert_array_equal(random_clip(1), random_clip(1))
    # 8 frames have 4 clips of 5 consecutive frames.
    assert len({random_clip(seed).tobytes() for seed in range(20)}) == 4
    np.testing.assert_array_equal(
        long['video'][0], video.read(videos / 'left' / '4.mp4', [1], 16)[0]
    )


def test_arrays_of_the_right_size_are_not_resized(tmp_path):
    config = small(
        'moving_digits/motions', 'data.image_size=64', 'model.options.patch=8'
    )
    begun = run.begin(config, tmp_path)
    assert begun.spec.preprocessing.resize == 'none'
    assert begun.spec.inputs['video'] == ArraySpec((6, 64, 64, 1), 'uint8')
    whole = begun.sources['train'][3]
    prepared = begun.task.prepare(whole, None)
    np.testing.assert_array_equal(prepared['video'], whole['video'][7:13])
    assert prepared['label'] == whole['label']
    rows = np.linspace(0, 49_999, 64).astype(int)
    source = begun.sources['train']
    clips = np.stack([source[int(row)]['video'][7:13] for row in rows]) / 255
    assert begun.spec.preprocessing.mean == pytest.approx([clips.mean()], rel=1e-6)
    assert begun.spec.preprocessing.std == pytest.approx([clips.std()], rel=1e-6)
    # A larger video in colour is resized and becomes grey.
    large = np.random.default_rng(0).integers(0, 256, (9, 90, 120, 3)).astype(np.uint8)
    assert begun.task.prepare({'video': large}, None)['video'].shape == (6, 64, 64, 1)


def test_all_frames_of_a_clip_are_augmented_alike():
    config = configs.default('video')
    config.task.augment.update(flip=True, translate=0.2)
    frame = np.random.default_rng(0).uniform(size=(8, 1, 12, 12, 2))
    # Clips without motion.
    clips = jnp.asarray(frame.astype(np.float32).repeat(3, 1))
    targets = jax.nn.one_hot(jnp.arange(8) % 2, 2)

    @jax.jit
    def augment(clips):
        return video_task.augment_clips(
            config.task.augment, jax.random.key(0), jnp.arange(8), clips, targets
        )

    augmented, new_targets = map(np.asarray, augment(clips))
    np.testing.assert_array_equal(new_targets, targets)
    assert augmented.shape == clips.shape
    np.testing.assert_array_equal(augmented, augmented[:, :1].repeat(3, 1))
    assert sum((augmented[i] != clips[i]).any() for i in range(8)) > 4
    assert max(np.isin(augmented[i], 0).mean() for i in range(8)) > 0.05


@pytest.mark.parametrize('model', ['lrcn', 'conv_lstm_net', 'frame_average'])
def test_an_exported_model_gives_the_same_logits(model, videos, tmp_path):
    config = small(f'videos:{videos}', f'model.name={model}')
    allowed = {'conv_lstm_net': ('hidden', 'patch'), 'frame_average': ('patch',)}
    options = config.model.options
    config.model.options = {name: options[name] for name in allowed.get(model, options)}
    begun = run.begin(config, tmp_path)
    rng = np.random.default_rng(0)
    inputs = {
        'video': rng.integers(0, 256, (3, 6, 16, 16, 3)).astype(np.uint8),
        'video_mask': (np.arange(6) < np.array([[6], [1], [4]])).astype(np.uint8),
    }
    assert_exported_alike(begun, inputs, tmp_path, 1e-5, 'logits')


def test_predict_also_takes_float_clips_and_boolean_masks(trained):
    begun = run.reopen(trained[0])
    variables = begun.restore('last').variables
    batch = first_batch(begun)
    clips = batch['video']
    mask = batch['video_mask']
    predict = jax.jit(begun.task.predict)
    of_integers = predict(variables, {'video': clips, 'video_mask': mask})
    floats = {'video': clips.astype(np.float32), 'video_mask': mask > 0}
    of_floats = predict(variables, floats)
    jax.tree.map(np.testing.assert_array_equal, of_integers, of_floats)
    np.testing.assert_allclose(of_integers['probabilities'].sum(-1), 1, rtol=1e-5)


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
def test_a_wrong_setting_is_an_error(override, message, videos, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(f'videos:{videos}', override), tmp_path / 'run')
