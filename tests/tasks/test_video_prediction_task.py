import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.exporting import assert_exported_alike
from helpers.random_weights import random_leaves
from helpers.untrained import save_untrained
from PIL import Image
from skimage.metrics import structural_similarity

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.data import video
from jaxvision.data.composed import Composed
from jaxvision.data.protocol import Unreadable
from jaxvision.data.wrappers import Subset
from jaxvision.tasks.video_prediction import task as video_prediction
from jaxvision.train import loop, run


def small(*overrides):
    config = configs.default('video_prediction')
    base = (
        'data.source=moving_digits/prediction',
        'data.image_size=16',
        'data.batch_size=8',
        'task.frames_in=3',
        'task.frames_out=3',
        'model.name=forecaster',
        'model.variant=8',
        'model.options.reach=2',
        'optimizer.lr=0.02',
        'train.steps=80',
        'train.log_every=1',
        'train.eval_every=80',
        'train.checkpoint_every=80',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


def batch_of(this, split='train'):
    rng = np.random.default_rng(0) if split == 'train' else None
    prepared = [this.task.prepare(this.sources[split][row], rng) for row in range(8)]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(8, dtype=np.int32)}


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
    """A run that has not begun, its update, and a state of random weights."""
    this = run.begin(small(), tmp_path_factory.mktemp('begun') / 'run')
    state = this.init()
    params = random_leaves(state.params)

    def update(step):
        # The compiled update takes the state's memory for the new one.
        return this.update(
            jax.tree.map(jnp.copy, state.replace(params=params, step=jnp.int32(step))),
            batch_of(this),
        )

    return this, update, state.replace(params=params)


def test_it_learns_and_draws_strips(tmp_path, monkeypatch):
    few = Composed.open
    monkeypatch.setattr(
        Composed,
        'open',
        lambda self, split: Subset(few(self, split), np.arange(64), split),
    )
    result = loop.run(small(), tmp_path / 'run')
    assert result.metrics['eval/mse_ratio'] < 0.9 * result.metrics['eval/blank_ratio']
    assert (tmp_path / 'run' / 'figures' / 'strips.png').exists()


def test_the_metrics_are_those_of_what_predict_answers_whatever_comes_after(begun):
    this, _, state = begun
    batch = {**batch_of(this, 'test'), 'present': np.ones(8, bool)}
    evaluation = this.task.evaluations['eval']
    evaluate = this.evaluate['eval']
    answer = jax.jit(this.task.predict)(state.variables, {'video': batch['video']})[
        'video'
    ]
    assert (
        answer.shape == (8, 3, 16, 16, 1) and answer.min() >= 0 and answer.max() <= 255
    )
    records = evaluate(state, batch)
    found = evaluation.summarize(jax.device_get(records))

    truth, answer = (
        batch['future'].astype(np.float64) / 255,
        np.asarray(answer, np.float64) / 255,
    )

    def per_frame(frames):
        return np.square(frames - truth).sum((2, 3, 4)).mean()

    last = per_frame(batch['video'][:, 2:] / 255)
    wanted = {
        'mse': per_frame(answer),
        'mse_last_frame': last,
        'mse_blank': per_frame(0 * truth),
        'mse_ratio': per_frame(answer) / last,
        'blank_ratio': per_frame(0 * truth) / last,
    }
    wanted['ssim'] = np.mean(
        [
            structural_similarity(
                one[..., 0],
                other[..., 0],
                data_range=1,
                gaussian_weights=True,
                use_sample_covariance=False,
            )
            for one, other in zip(
                answer.reshape(-1, 16, 16, 1),
                truth.reshape(-1, 16, 16, 1),
                strict=True,
            )
        ]
    )
    assert found.keys() == wanted.keys() == set(evaluation.metrics)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name

    small = video_prediction.metric_names((10, 64, 1))  # lower than SSIM's window
    assert set(small) == wanted.keys() - {'ssim'}

    other = evaluate(state, {**batch, 'future': batch['future'][::-1]})
    np.testing.assert_array_equal(other['predicted'], records['predicted'])
    assert (other['squared_error'] != records['squared_error']).any()


def test_the_network_gives_what_predict_clips(begun):
    this, _, state = begun
    batch = batch_of(this, 'test')
    network = this.task.network

    @jax.jit
    def apply(pixels):
        return network.apply(state.variables, network.normalize(pixels))

    frames, intermediates = apply(batch['video'] / np.float32(255))
    predicted = jax.jit(this.task.predict)(state.variables, batch)['video']
    np.testing.assert_allclose(255 * np.clip(frames, 0, 1), predicted, atol=1e-3)
    assert intermediates.keys() == {'state1'}
    assert this.spec.preprocessing.resize == 'central_square'
    assert this.spec.inputs == {'video': ArraySpec((3, 16, 16, 1))}
    assert this.spec.targets == {'future': ArraySpec((3, 16, 16, 1))}
    assert this.task.predictor == 'video'


def test_a_frame_that_is_shown_is_seen_by_later_answers_alone(begun):
    this, _, state = begun
    model = video_prediction.make_model(
        this.config, frames=3, image_shape=this.spec.inputs['video'].shape[1:]
    )
    clip = jax.random.uniform(jax.random.key(0), (1, 6, 16, 16, 1))
    answer = jax.jit(
        lambda future, shown: model.apply(
            {'params': state.params['model']}, clip[:, :3], future, shown
        )[0]
    )
    future, second = clip[:, 3:], jnp.array([[False, True, False]])
    shown = answer(future, second)
    changed = answer(future.at[:, 1].multiply(0.5), second)
    np.testing.assert_array_equal(changed[:, :2], shown[:, :2])
    assert (changed[:, 2] != shown[:, 2]).any()
    np.testing.assert_array_equal(
        answer(future / 2, jnp.zeros_like(second)),
        answer(future, jnp.zeros_like(second)),
    )


def test_truth_is_shown_less_and_less_to_each_example_in_its_own_frames(begun):
    this, update, _ = begun
    fractions = [
        float(video_prediction.truth_fraction(0.5, step, 80))
        for step in (0, 10, 20, 40, 60)
    ]
    assert fractions == [1, 0.75, 0.5, 0, 0]
    assert video_prediction.truth_fraction(0.0, 0, 80) == 0
    index = jnp.arange(2000)
    key = jax.random.key(3)
    shown = video_prediction.draw_shown(key, index, 3, 0.75)
    np.testing.assert_allclose(shown.mean(0), 0.75, atol=0.04)
    np.testing.assert_array_equal(
        video_prediction.draw_shown(key, index[::-1][:8], 3, 0.75), shown[::-1][:8]
    )
    assert 0.3 < (shown[:, 0] != shown[:, 1]).mean() < 0.45  # 2 * 0.75 * 0.25
    _, scalars = update(10)
    assert scalars['truth_share'] == 0.75


def test_late_in_training_the_loss_is_of_what_predict_answers(begun):
    this, update, state = begun
    batch = batch_of(this)
    first, scalars = update(50)
    again, _ = update(50)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    answer = jax.jit(this.task.predict)(state.variables, batch)['video']
    wanted = np.square((answer - batch['future']) / 255).mean()
    assert scalars['loss'] == scalars['mse'] == pytest.approx(wanted, rel=1e-4)
    _, early = update(0)
    assert early['loss'] != scalars['loss']


def test_it_is_exported(tmp_path):
    this = run.begin(small('model.variant=4-6', 'data.batch_size=2'), tmp_path / 'run')
    clips = (
        np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 1)).astype(np.uint8)
    )
    assert_exported_alike(this, {'video': clips}, tmp_path, output='video')


def test_a_longer_clip_is_learned_from_anywhere_and_evaluated_in_its_middle(begun):
    prepare = begun[0].task.prepare
    clip = np.tile(np.arange(9, dtype=np.uint8)[:, None, None, None], (1, 16, 16, 1))
    starts = {
        int(prepare({'video': clip}, np.random.default_rng(seed))['video'][0, 0, 0, 0])
        for seed in range(40)
    }
    assert starts == {0, 1, 2, 3}
    tested = prepare({'video': clip}, None)
    assert tested['video'][:, 0, 0, 0].tolist() == [1, 2, 3]
    assert tested['future'][:, 0, 0, 0].tolist() == [4, 5, 6]
    with pytest.raises(Unreadable, match='5 frames, of 6'):
        prepare({'video': clip[:5]}, None)


def test_a_persons_film_is_answered_with_a_strip_and_an_animation(main, tmp_path):
    (tmp_path / 'run').mkdir()
    save_untrained(small('model.variant=4', 'task.stride=2'), tmp_path / 'run')
    rng = np.random.default_rng(0)
    video.write_clip(
        'film.mp4', rng.integers(0, 256, (12, 20, 30, 3)).astype(np.uint8), 10.0
    )
    code, *_, told = main('--workdir', tmp_path / 'run', 'film.mp4')
    entry = told['film.mp4']
    assert code == 0 and entry['answer']['mse'] > 0 < entry['answer']['mse_last_frame']
    assert np.asarray(Image.open(entry['picture'])).shape == (
        4 * 33,
        4 * (6 * 17 - 1),
        3,
    )
    (animation,) = entry['saved']
    assert Image.open(animation).n_frames == 6


@pytest.mark.parametrize(
    'override, message',
    [
        ('task.stride=4', 'task.stride=4: expected .* clips of 20 frames.* ask for 21'),
        ('task.frames_in=1', 'task.frames_in=1: expected a whole number >= 2'),
        ('task.loss=l2', "task.loss='l2': expected one of 'l1', 'mse', 'l1.mse'"),
        ('task.sampling=2', 'task.sampling=2.0: expected a number >= 0, <= 1'),
        ('data.source=digits', 'video'),
        ('model.options.patch=5', 'does not divide frames of 16x16'),
        ('model.options.window=2', 'odd'),
        ('model.options.reach=-1', 'from 0 up'),
    ],
)
def test_a_mistake_in_the_config_is_named(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(override), tmp_path / 'run')
