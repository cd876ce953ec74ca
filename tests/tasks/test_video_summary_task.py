"""Video summaries: training, sampling of frames, prediction and export."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import films as video_files
from helpers.exporting import assert_exported_alike
from helpers.untrained import save_untrained
from PIL import Image

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.data import video, video_times
from jaxvision.data.composed import Composed
from jaxvision.data.wrappers import Subset
from jaxvision.tasks.video_summary import sampling
from jaxvision.train import loop, run
from jaxvision.train.writers import read_rows


def small(source, *overrides):
    config = configs.default('video_summary')
    base = (
        f'data.source={source}',
        'data.image_size=16',
        'data.batch_size=8',
        'task.frames=24',
        'model.name=frame_scorer',
        'model.options.hidden=8',
        'optimizer.lr=0.02',
        'train.steps=40',
        'train.log_every=1',
        'train.eval_every=40',
        'train.checkpoint_every=40',
    )
    of_frames = ()
    if 'task.input=similarity' not in overrides:
        of_frames = (
            'model.variant=8-8',
            'model.options.patch=2',
            'model.options.pool=flat',
        )
    for text in (*base, *of_frames, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


UNSUPERVISED = (
    'task.supervised=false',
    'task.input=similarity',
    'task.frames_per_second=10',
)


@pytest.fixture(scope='module', autouse=True)
def few():
    """Reduce `moving_digits` to eight videos, which are both training and test split."""
    open_all = Composed.open

    def open_few(self, split):
        return Subset(open_all(self, 'train'), np.arange(8), 'train')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Composed, 'open', open_few)
        yield


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Videos of three shots of 2 to 10 similar frames, at 10 frames a second."""
    root = tmp_path_factory.mktemp('videos')
    for split, number in (('train', 8), ('test', 2)):
        (root / split).mkdir()
        for i in range(number):
            rng = np.random.default_rng([number, i])
            shots = rng.integers(0, 256, (3, 24, 32, 3)).repeat(
                rng.integers(2, 11, 3), axis=0
            )
            frames = np.clip(shots + rng.integers(-9, 10, shots.shape), 0, 255).astype(
                np.uint8
            )
            video.write_clip(root / split / f'{i}.mp4', frames, 10.0)
    return root


@pytest.fixture(scope='module')
def trained(videos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('summary')
    config = small(f'videos:{videos}', *UNSUPERVISED, 'task.montages=8')
    return workdir, loop.run(config, workdir)


def begin(tmp_path, source, *overrides):
    """(A run before its first step, the first eight training examples as a batch)."""
    opened = run.begin(small(source, *overrides), tmp_path / 'run')
    examples = [
        opened.task.prepare(opened.sources['train'][row], None) for row in range(8)
    ]
    batch = {
        name: np.stack([example[name] for example in examples]) for name in examples[0]
    }
    return opened, batch | {'index': np.arange(8, dtype=np.int32)}


def test_supervised_training_fits_the_importance_of_eight_videos(tmp_path, drawn):
    result = loop.run(small('moving_digits/events'), tmp_path)
    task = run.reopen(tmp_path).task
    assert set(result.metrics) == {f'eval/{name}' for name in task.main.metrics}
    assert task.best == 'tau_b'
    assert result.metrics['eval/tau_b'] > 0.5 and result.metrics['eval/rho'] > 0.6
    assert {path.name for path in (tmp_path / 'figures').iterdir()} == {
        'scores.png',
        'curves.png',
    }


def test_unsupervised_training_raises_the_reward(trained):
    rewards = [
        row['train/reward']
        for row in read_rows(trained[0] / 'metrics.jsonl')
        if 'train/reward' in row
    ]
    assert np.mean(rewards[-10:]) > np.mean(rewards[:10]) + 0.02
    declared = run.reopen(trained[0]).task.main.metrics
    assert set(declared) == {'reward', 'reward_uniform', 'reward_random'}
    assert set(trained[1].metrics) == {f'eval/{name}' for name in declared}


@pytest.mark.parametrize(
    'overrides', [[], UNSUPERVISED], ids=['supervised', 'unsupervised']
)
def test_padding_changes_neither_training_nor_scores(overrides, videos, tmp_path):
    source = f'videos:{videos}' if overrides else 'moving_digits/events'
    opened, batch = begin(tmp_path, source, *overrides)
    shorter = np.arange(24) < np.array([24, 20, 9, 24, 1, 13, 5, 17])[:, None]
    is_frame = shorter & (batch['video_mask'] > 0)

    def with_noise(seed):
        """Shorten the videos, with noise as padding."""
        rng = np.random.default_rng(seed)
        noisy = {**batch, 'video_mask': is_frame.astype(np.uint8)}
        for name in {'video', 'importance'} & batch.keys():
            values = batch[name]
            mask = is_frame.reshape(is_frame.shape + (1,) * (values.ndim - 2))
            noise = rng.integers(0, 256, values.shape).astype(values.dtype)
            noisy[name] = np.where(mask, values, noise)
        return noisy

    state = opened.init()
    first, _ = opened.update(jax.tree.map(jnp.copy, state), with_noise(0))
    second, _ = opened.update(jax.tree.map(jnp.copy, state), with_noise(1))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    evaluated = {**with_noise(0), 'present': np.ones(8, bool)}
    records = opened.evaluate['eval'](first, evaluated)
    scores = records['scores']
    features = records['features']
    assert (scores[is_frame] > 0).all() and not scores[~is_frame].any()
    assert features[is_frame].any(-1).all() and not features[~is_frame].any()


def differences(frames, others):
    """Mean absolute difference between each of the frames [T, ...] and of the others [S, ...]."""
    return np.abs(np.float32(frames)[:, None] - np.float32(others)).mean((2, 3, 4))


def test_predict_makes_a_storyboard_and_a_short_video(trained, videos, main, drawn):
    file = videos / 'test' / '1.mp4'
    frames = video.read(file)
    code, *_, answers = main('--workdir', trained[0], file)
    entry = answers[str(file)]
    answer = entry['answer']
    saved = {Path(path).name: path for path in entry['saved']}
    assert code == 0 and answer['seconds'] == pytest.approx(len(frames) / 10)
    assert 0 < answer['seconds_kept'] <= 0.15 * answer['seconds'] + 1e-6
    assert len(answer['scores']) == min(len(frames), 24)
    assert Image.open(entry['picture']).size > (200, 100)
    assert np.asarray(Image.open(saved.pop('scores.png'))).std() > 0

    numbers, durations = video_times.cut(video_times.edges(file), answer['kept'])
    kept = frames[numbers]
    short = saved.pop('summary.mp4')
    assert video.count(short) == len(kept)
    np.testing.assert_allclose(np.diff(video_times.edges(short)), durations, atol=1e-4)
    assert np.allclose(durations, 0.1)
    assert answer['seconds_kept'] == pytest.approx(sum(durations), abs=0.1)
    # In 229 such clips, coding changed a frame by at most 8 on average, and frames of two shots
    # differed by at least 57.
    in_shot = differences(frames, frames)[numbers] < 20
    assert not in_shot.all(1).any()
    from_original = differences(video.read(short), frames)
    rows = np.arange(len(kept))
    np.testing.assert_array_less(from_original[rows, numbers], 20)
    assert in_shot[rows, from_original.argmin(1)].all()
    assert sorted(saved) == [
        f'key-{time.replace(":", ".")}.png' for time in answer['key_frames']
    ]
    for picture in saved.values():
        assert (np.asarray(Image.open(picture)) == kept).all((1, 2, 3)).any()


def test_sampled_frames_represent_equal_parts_of_a_video(videos):
    file = videos / 'train' / '0.mp4'
    options = configs.default('video_summary').task
    frames = video.read(file, size=16)
    total = video.count(file)
    # The video has 10 frames a second. A rate of 2 gives too few frames, so 20 are sampled.
    fewest = min(total, 20)
    for rate, most, count in (
        (2, 60, fewest),
        (9, 60, max(fewest, round(total * 0.9))),
        (10, 60, total),
        (2, 2, 2),
    ):
        options.frames_per_second = rate
        sampled = sampling.make_sample(options, [most, 16, 16, 3])({'video': file})
        is_frame = sampled['video_mask'] > 0
        assert is_frame.tolist() == [True] * count + [False] * (most - count)
        spans = sampled['spans'][is_frame] * 10
        np.testing.assert_allclose(spans[1:, 0], spans[:-1, 1], rtol=1e-6)
        assert (spans[0, 0], spans[-1, 1]) == (0, pytest.approx(total))
        middles = spans.mean(1).astype(int)
        np.testing.assert_array_equal(sampled['video'][is_frame], frames[middles])
    # The importance follows the frames of an array.
    clip = {'video': frames, 'importance': np.arange(total, dtype=np.float32)}
    sampled = sampling.make_sample(options, [total // 2, 16, 16, 3])(clip)
    rows = sampled['importance'].astype(int)
    np.testing.assert_array_equal(sampled['video'], frames[rows])


# The start of each frame in seconds. Frame 6 lasts 7.8 of the 15 seconds.
STARTS = [0, 0.04, 0.08, 0.12, 2.12, 2.16, 2.2, 10.0, 10.04, 10.5, 11.0, 13.0]


@pytest.fixture
def variable(tmp_path):
    return video_files.write_variable(tmp_path / 'screen.mp4', STARTS, 15.0)


def test_frames_of_a_variable_rate_are_sampled_by_their_times(variable):
    options = configs.default('video_summary').task
    for most in (6, 12, 30):
        sampled = sampling.make_sample(options, [most, 32, 48, 3])({'video': variable})
        count = min(most, 12)
        assert sampled['video_mask'].sum() == count
        spans = sampled['spans'][:count]
        edges = np.arange(count + 1) * 15 / count
        np.testing.assert_allclose(spans, np.stack([edges[:-1], edges[1:]], 1), 1e-6)
        shown = [
            max(number for number, start in enumerate(STARTS) if start <= middle + 1e-6)
            for middle in (edges[:-1] + edges[1:]) / 2
        ]
        assert video_files.numbers(sampled['video'][:count]) == shown


def test_the_short_video_of_a_variable_rate_keeps_the_durations(
    trained, variable, main
):
    code, *_, answers = main('--workdir', trained[0], variable)
    entry = answers[str(variable)]
    answer = entry['answer']
    saved = {Path(path).name: path for path in entry['saved']}
    assert code == 0 and answer['seconds'] == pytest.approx(15, abs=1e-3)
    short = saved.pop('summary.mp4')
    rows, durations = video_times.cut(np.array([*STARTS, 15.0]), answer['kept'])
    assert video_files.numbers(video.read(short)) == rows
    edges = video_times.edges(short)
    np.testing.assert_allclose(np.diff(edges), durations, atol=1e-3)
    assert edges[-1] == pytest.approx(answer['seconds_kept'], abs=0.11)
    for time in answer['key_frames']:
        picture = np.asarray(Image.open(saved[f'key-{time.replace(":", ".")}.png']))
        minutes, seconds = time.split(':')
        second = 60 * int(minutes) + float(seconds)
        near = {
            max(number for number, start in enumerate(STARTS) if start <= second + off)
            for off in (-0.05, 0.05)
            if second + off >= 0
        }
        assert {*video_files.numbers(picture[None])} <= near


@pytest.mark.parametrize('overrides', [[], UNSUPERVISED], ids=['frames', 'similarity'])
def test_the_network_gives_the_logits_of_the_scores(overrides, tmp_path):
    opened, batch = begin(tmp_path, 'moving_digits/events', *overrides)
    assert opened.spec.inputs == {
        'video': ArraySpec((24, 16, 16, 1)),
        'video_mask': ArraySpec((24,)),
    }
    assert opened.spec.targets == {'importance': ArraySpec((24,), 'float32')}
    assert opened.spec.preprocessing.size == (16, 16)
    variables = opened.init().variables
    network = opened.task.network

    @jax.jit
    def apply(pixels, mask):
        return network.apply(variables, network.normalize(pixels), mask)

    mask = np.arange(24) < np.array([24, 20, 9, 24, 1, 13, 5, 17])[:, None]
    pixels = batch['video'] / np.float32(255)
    logits, intermediates = apply(pixels, mask)
    outputs = jax.jit(opened.task.predict)(variables, {**batch, 'video_mask': mask})
    scores = np.where(mask, 1 / (1 + np.exp(-np.float64(logits))), 0)
    np.testing.assert_allclose(outputs['scores'], scores, atol=1e-5)
    assert np.std(scores[mask]) > 1e-3
    assert intermediates.keys() == {'features', 'states', 'logits'}


def test_an_exported_model_gives_the_same_scores(tmp_path):
    opened, batch = begin(tmp_path, 'moving_digits/events')
    mask = (np.arange(24) < np.array([[24], [1], [17]])).astype(np.uint8)
    inputs = {'video': batch['video'][:3], 'video_mask': mask}
    assert_exported_alike(opened, inputs, tmp_path, 1e-5, 'scores')


def test_a_classification_run_can_give_the_frame_features(videos, tiny, tmp_path):
    (tmp_path / 'feature_extractor').mkdir()
    save_untrained(tiny(), tmp_path / 'feature_extractor')
    opened, batch = begin(
        tmp_path,
        f'videos:{videos}',
        *UNSUPERVISED,
        f'task.features={tmp_path / "feature_extractor"}',
    )
    features = np.asarray(
        jax.jit(opened.task.predict)(opened.init().variables, batch)['features']
    )
    assert features.shape == (8, 24, 8)
    np.testing.assert_allclose(
        np.linalg.norm(features, axis=-1), batch['video_mask'], atol=1e-5
    )


@pytest.mark.parametrize(
    'overrides, message',
    [
        (['task.target=log'], "task.target='log': expected one of 'rank', 'value'"),
        (['task.input=sound'], "task.input='sound': expected one of 'frames'"),
        (['task.frames=0'], 'task.frames=0: expected a whole number >= 1'),
        (
            ['task.frames_per_second=0'],
            'task.frames_per_second=0.0: expected a number > 0',
        ),
        (['task.episodes=1'], 'task.episodes=1: expected a whole number >= 2'),
        (['task.montages=-5'], 'task.montages=-5: expected a whole number >= 0'),
        (['task.montages=5'], 'task.montages=5: expected 0, because montages have no'),
        (['data.source=digits'], 'needs video'),
    ],
)
def test_a_wrong_setting_is_an_error(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small('moving_digits/events', *overrides), tmp_path)


def test_supervised_training_refuses_videos_without_importance(videos, tmp_path):
    with pytest.raises(UserError, match='needs importance'):
        run.begin(small(f'videos:{videos}'), tmp_path)
