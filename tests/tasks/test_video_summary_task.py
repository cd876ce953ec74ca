from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import films as films_of_tests
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
    pixels = ('model.variant=8-8', 'model.options.patch=2', 'model.options.pool=flat')
    for text in (
        *base,
        *(() if 'task.input=similarity' in overrides else pixels),
        *overrides,
    ):
        configs.override(config, *text.split('=', 1))
    return config


UNSUPERVISED = (
    'task.supervised=false',
    'task.input=similarity',
    'task.frames_per_second=10',
)


@pytest.fixture(scope='module', autouse=True)
def few():
    """Eight videos of `moving_digits`, for training and for tests."""
    whole = Composed.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Composed,
            'open',
            lambda self, split: Subset(whole(self, 'train'), np.arange(8), 'train'),
        )
        yield


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    """Three shots each, of 2 to 10 frames that are nearly alike; 10 frames a second."""
    root = tmp_path_factory.mktemp('films')
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
def trained(films, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('summary')
    config = small(f'videos:{films}', *UNSUPERVISED, 'task.montages=8')  # a batch
    return workdir, loop.run(config, workdir)


def begin(tmp_path, source, *overrides):
    """A run that has not begun, and the first eight examples of a split as a batch."""
    this = run.begin(small(source, *overrides), tmp_path / 'run')
    examples = [this.task.prepare(this.sources['train'][row], None) for row in range(8)]
    batch = {
        name: np.stack([example[name] for example in examples]) for name in examples[0]
    }
    return this, batch | {'index': np.arange(8, dtype=np.int32)}


def test_importance_is_learned_by_heart(tmp_path):
    result = loop.run(small('moving_digits/events'), tmp_path)
    task = run.reopen(tmp_path).task
    assert set(result.metrics) == {f'eval/{name}' for name in task.main.metrics}
    assert task.best == 'tau_b'
    assert result.metrics['eval/tau_b'] > 0.5 and result.metrics['eval/rho'] > 0.6
    assert {path.name for path in (tmp_path / 'figures').iterdir()} == {
        'scores.png',
        'curves.png',
    }


def test_rewards_rise(trained):
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
def test_what_fills_a_video_up_changes_nothing(overrides, films, tmp_path):
    source = f'videos:{films}' if overrides else 'moving_digits/events'
    this, batch = begin(tmp_path, source, *overrides)
    shorter = np.arange(24) < np.array([24, 20, 9, 24, 1, 13, 5, 17])[:, None]
    own = shorter & (batch['video_mask'] > 0)

    def filled(seed):
        """The batch with noise in the place of all but the first frames."""
        rng, known = np.random.default_rng(seed), {'video_mask': own.astype(np.uint8)}
        for name in {'video', 'importance'} & batch.keys():
            mask = own.reshape(own.shape + (1,) * (batch[name].ndim - 2))
            noise = rng.integers(0, 256, batch[name].shape).astype(batch[name].dtype)
            known[name] = np.where(mask, batch[name], noise)
        return {**batch, **known}

    state = this.init()
    one, other = (
        this.update(jax.tree.map(jnp.copy, state), filled(seed))[0] for seed in (0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    records = this.evaluate['eval'](one, {**filled(0), 'present': np.ones(8, bool)})
    assert (records['scores'][own] > 0).all() and not records['scores'][~own].any()
    assert (
        records['features'][own].any(-1).all() and not records['features'][~own].any()
    )


def apart(frames, others):
    """Mean absolute difference of each frame [T, H, W, C] from each of the others [S, ...]."""
    return np.abs(np.float32(frames)[:, None] - np.float32(others)).mean((2, 3, 4))


def test_a_persons_film_becomes_a_storyboard_and_a_short_film(trained, films, main):
    file = films / 'test' / '1.mp4'
    film = video.read(file)
    code, *_, told = main('--workdir', trained[0], file)
    entry = told[str(file)]
    answer, saved = entry['answer'], {Path(path).name: path for path in entry['saved']}
    assert code == 0 and answer['seconds'] == pytest.approx(len(film) / 10)
    assert 0 < answer['seconds_kept'] <= 0.15 * answer['seconds'] + 1e-6
    assert len(answer['scores']) == min(len(film), 24)
    assert Image.open(entry['picture']).size > (200, 100)
    assert np.asarray(Image.open(saved.pop('scores.png'))).std() > 0

    numbers, durations = video_times.cut(video_times.edges(file), answer['kept'])
    kept = film[numbers]
    short = saved.pop('summary.mp4')
    assert video.count(short) == len(kept)
    np.testing.assert_allclose(np.diff(video_times.edges(short)), durations, atol=1e-4)
    assert np.allclose(durations, 0.1) and answer['seconds_kept'] == pytest.approx(
        sum(durations), abs=0.1
    )
    # Of 229 such clips, coding changed a frame by at most 8 on average, and frames of two shots
    # were at least 57 apart.
    in_shot = apart(film, film)[numbers] < 20
    assert not in_shot.all(1).any()
    from_film = apart(video.read(short), film)
    each = np.arange(len(kept))
    np.testing.assert_array_less(from_film[each, numbers], 20)
    assert in_shot[each, from_film.argmin(1)].all()
    assert sorted(saved) == [
        f'key-{time.replace(":", ".")}.png' for time in answer['key_frames']
    ]
    for picture in saved.values():
        assert (np.asarray(Image.open(picture)) == kept).all((1, 2, 3)).any()


def test_frames_stand_for_equal_parts_of_a_video(films):
    file, options = films / 'train' / '0.mp4', configs.default('video_summary').task
    film, total = video.read(file, size=16), video.count(file)
    # Of 10 a second: 2 are too few, 9 may be, all of them are enough; and no more than 2 in all.
    fewest = min(total, 20)
    for rate, most, wanted in (
        (2, 60, fewest),
        (9, 60, max(fewest, round(total * 0.9))),
        (10, 60, total),
        (2, 2, 2),
    ):
        options.frames_per_second = rate
        found = sampling.make_sample(options, [most, 16, 16, 3])({'video': file})
        own = found['video_mask'] > 0
        assert own.tolist() == [True] * wanted + [False] * (most - wanted)
        spans = found['spans'][own] * 10
        np.testing.assert_allclose(spans[1:, 0], spans[:-1, 1], rtol=1e-6)
        assert (spans[0, 0], spans[-1, 1]) == (0, pytest.approx(total))
        np.testing.assert_array_equal(
            found['video'][own], film[spans.mean(1).astype(int)]
        )
    # An array's frames are all taken, and importance is theirs.
    clip = {'video': film, 'importance': np.arange(total, dtype=np.float32)}
    found = sampling.make_sample(options, [total // 2, 16, 16, 3])(clip)
    np.testing.assert_array_equal(found['video'], film[found['importance'].astype(int)])


# For most of the time one frame is shown: of 15 seconds, frame 6 is there for 7.8.
STARTS = [0, 0.04, 0.08, 0.12, 2.12, 2.16, 2.2, 10.0, 10.04, 10.5, 11.0, 13.0]


@pytest.fixture
def variable(tmp_path):
    return films_of_tests.write_variable(tmp_path / 'screen.mp4', STARTS, 15.0)


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
        assert films_of_tests.numbers(sampled['video'][:count]) == shown


def test_a_summary_of_a_variable_rate_lasts_as_long_as_what_it_keeps(
    trained, variable, main
):
    code, *_, told = main('--workdir', trained[0], variable)
    entry = told[str(variable)]
    answer, saved = entry['answer'], {Path(path).name: path for path in entry['saved']}
    assert code == 0 and answer['seconds'] == pytest.approx(15, abs=1e-3)
    short = saved.pop('summary.mp4')
    rows, durations = video_times.cut(np.array([*STARTS, 15.0]), answer['kept'])
    assert films_of_tests.numbers(video.read(short)) == rows
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
        assert {*films_of_tests.numbers(picture[None])} <= near


@pytest.mark.parametrize('overrides', [[], UNSUPERVISED], ids=['frames', 'similarity'])
def test_the_network_gives_the_logits_of_the_scores(overrides, tmp_path):
    this, batch = begin(tmp_path, 'moving_digits/events', *overrides)
    assert this.spec.inputs == {
        'video': ArraySpec((24, 16, 16, 1)),
        'video_mask': ArraySpec((24,)),
    }
    assert this.spec.targets == {'importance': ArraySpec((24,), 'float32')}
    assert this.spec.preprocessing.size == (16, 16)
    variables = this.init().variables
    network = this.task.network

    @jax.jit
    def apply(pixels, mask):
        return network.apply(variables, network.normalize(pixels), mask)

    mask = np.arange(24) < np.array([24, 20, 9, 24, 1, 13, 5, 17])[:, None]
    pixels = batch['video'] / np.float32(255)
    logits, intermediates = apply(pixels, mask)
    outputs = jax.jit(this.task.predict)(variables, {**batch, 'video_mask': mask})
    scores = np.where(mask, 1 / (1 + np.exp(-np.float64(logits))), 0)
    np.testing.assert_allclose(outputs['scores'], scores, atol=1e-5)
    assert np.std(scores[mask]) > 1e-3
    assert intermediates.keys() == {'features', 'states', 'logits'}


def test_it_is_exported(tmp_path):
    this, batch = begin(tmp_path, 'moving_digits/events')
    own = (np.arange(24) < np.array([[24], [1], [17]])).astype(np.uint8)
    assert_exported_alike(
        this, {'video': batch['video'][:3], 'video_mask': own}, tmp_path, 1e-5, 'scores'
    )


def test_frames_are_compared_by_what_a_classifier_sees_of_them(films, tiny, tmp_path):
    (tmp_path / 'feature_extractor').mkdir()
    save_untrained(tiny(), tmp_path / 'feature_extractor')
    this, batch = begin(
        tmp_path,
        f'videos:{films}',
        *UNSUPERVISED,
        f'task.features={tmp_path / "feature_extractor"}',
    )
    features = np.asarray(
        jax.jit(this.task.predict)(this.init().variables, batch)['features']
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
def test_mistakes_in_the_config_are_told(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small('moving_digits/events', *overrides), tmp_path)


def test_films_hold_no_importance(films, tmp_path):
    with pytest.raises(UserError, match='needs importance'):
        run.begin(small(f'videos:{films}'), tmp_path)
