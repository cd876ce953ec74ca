"""Video prediction: training, metrics, scheduled sampling, prediction and export."""

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
from jaxvision.tasks.video_prediction import metrics
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


def batch_of(opened, split='train'):
    rng = np.random.default_rng(0) if split == 'train' else None
    prepared = [
        opened.task.prepare(opened.sources[split][row], rng) for row in range(8)
    ]
    batch = {
        name: np.stack([example[name] for example in prepared]) for name in prepared[0]
    }
    return batch | {'index': np.arange(8, dtype=np.int32)}


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
    """(A run before its first step, its update, and a state with random weights)."""
    opened = run.begin(small(), tmp_path_factory.mktemp('begun') / 'run')
    state = opened.init()
    params = random_leaves(state.params)

    def update(step):
        # The compiled update reuses the memory of its state, so it gets a copy.
        at_step = state.replace(params=params, step=jnp.int32(step))
        return opened.update(jax.tree.map(jnp.copy, at_step), batch_of(opened))

    return opened, update, state.replace(params=params)


def test_training_improves_on_black_frames_and_draws_strips(
    tmp_path, monkeypatch, drawn
):
    open_all = Composed.open

    def open_few(self, split):
        return Subset(open_all(self, split), np.arange(64), split)

    monkeypatch.setattr(Composed, 'open', open_few)
    result = loop.run(small(), tmp_path / 'run')
    assert result.metrics['eval/mse_ratio'] < 0.9 * result.metrics['eval/blank_ratio']
    assert (tmp_path / 'run' / 'figures' / 'strips.png').exists()


def test_the_metrics_equal_numpy_and_predictions_do_not_depend_on_the_future(begun):
    opened, _, state = begun
    batch = {**batch_of(opened, 'test'), 'present': np.ones(8, bool)}
    evaluation = opened.task.evaluations['eval']
    evaluate = opened.evaluate['eval']
    predict = jax.jit(opened.task.predict)
    predicted = predict(state.variables, {'video': batch['video']})['video']
    assert predicted.shape == (8, 3, 16, 16, 1)
    assert predicted.min() >= 0 and predicted.max() <= 255
    records = evaluate(state, batch)
    summary = evaluation.summarize(jax.device_get(records))

    truth = batch['future'].astype(np.float64) / 255
    predicted = np.asarray(predicted, np.float64) / 255

    def error_per_frame(frames):
        return np.square(frames - truth).sum((2, 3, 4)).mean()

    last = error_per_frame(batch['video'][:, 2:] / 255)
    expected = {
        'mse': error_per_frame(predicted),
        'mse_last_frame': last,
        'mse_blank': error_per_frame(0 * truth),
        'mse_ratio': error_per_frame(predicted) / last,
        'blank_ratio': error_per_frame(0 * truth) / last,
    }
    similarities = []
    for frame, true_frame in zip(
        predicted.reshape(-1, 16, 16), truth.reshape(-1, 16, 16), strict=True
    ):
        similarity = structural_similarity(
            frame,
            true_frame,
            data_range=1,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        similarities.append(similarity)
    expected['ssim'] = np.mean(similarities)
    assert summary.keys() == expected.keys() == set(evaluation.metrics)
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, rel=1e-4), name

    # These frames are lower than the window of SSIM.
    names = metrics.metric_names((10, 64, 1))
    assert set(names) == expected.keys() - {'ssim'}

    other = evaluate(state, {**batch, 'future': batch['future'][::-1]})
    np.testing.assert_array_equal(other['predicted'], records['predicted'])
    assert (other['squared_error'] != records['squared_error']).any()


def test_predict_clips_the_output_of_the_network(begun):
    opened, _, state = begun
    batch = batch_of(opened, 'test')
    network = opened.task.network

    @jax.jit
    def apply(pixels):
        return network.apply(state.variables, network.normalize(pixels))

    frames, intermediates = apply(batch['video'] / np.float32(255))
    predicted = jax.jit(opened.task.predict)(state.variables, batch)['video']
    np.testing.assert_allclose(255 * np.clip(frames, 0, 1), predicted, atol=1e-3)
    assert intermediates.keys() == {'state1'}
    assert opened.spec.preprocessing.resize == 'central_square'
    assert opened.spec.inputs == {'video': ArraySpec((3, 16, 16, 1))}
    assert opened.spec.targets == {'future': ArraySpec((3, 16, 16, 1))}
    assert opened.task.predictor == 'video'


def test_a_true_frame_influences_only_later_predictions(begun):
    opened, _, state = begun
    model = video_prediction.make_model(
        opened.config, frames=3, image_shape=opened.spec.inputs['video'].shape[1:]
    )
    clip = jax.random.uniform(jax.random.key(0), (1, 6, 16, 16, 1))

    @jax.jit
    def predict(future, is_true):
        params = {'params': state.params['model']}
        frames, _ = model.apply(params, clip[:, :3], future, is_true)
        return frames

    future = clip[:, 3:]
    second = jnp.array([[False, True, False]])
    predicted = predict(future, second)
    changed = predict(future.at[:, 1].multiply(0.5), second)
    np.testing.assert_array_equal(changed[:, :2], predicted[:, :2])
    assert (changed[:, 2] != predicted[:, 2]).any()
    none = jnp.zeros_like(second)
    np.testing.assert_array_equal(predict(future / 2, none), predict(future, none))


def test_true_frames_are_sampled_per_example_with_falling_probability(begun):
    opened, update, _ = begun
    fractions = [
        float(video_prediction.truth_fraction(0.5, step, 80))
        for step in (0, 10, 20, 40, 60)
    ]
    assert fractions == [1, 0.75, 0.5, 0, 0]
    assert video_prediction.truth_fraction(0.0, 0, 80) == 0
    index = jnp.arange(2000)
    key = jax.random.key(3)
    is_true = video_prediction.sample_true_frames(key, index, 3, 0.75)
    np.testing.assert_allclose(is_true.mean(0), 0.75, atol=0.04)
    reverse = video_prediction.sample_true_frames(key, index[::-1][:8], 3, 0.75)
    np.testing.assert_array_equal(reverse, is_true[::-1][:8])
    # The expected fraction of pairs that differ is 2 * 0.75 * 0.25.
    assert 0.3 < (is_true[:, 0] != is_true[:, 1]).mean() < 0.45
    _, scalars = update(10)
    assert scalars['truth_share'] == 0.75


def test_after_scheduled_sampling_the_loss_is_the_error_of_predict(begun):
    opened, update, state = begun
    batch = batch_of(opened)
    first, scalars = update(50)
    again, _ = update(50)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    predicted = jax.jit(opened.task.predict)(state.variables, batch)['video']
    expected = np.square((predicted - batch['future']) / 255).mean()
    assert scalars['loss'] == scalars['mse'] == pytest.approx(expected, rel=1e-4)
    _, early = update(0)
    assert early['loss'] != scalars['loss']


def test_an_exported_model_gives_the_same_frames(tmp_path):
    opened = run.begin(
        small('model.variant=4-6', 'data.batch_size=2'), tmp_path / 'run'
    )
    clips = (
        np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 1)).astype(np.uint8)
    )
    assert_exported_alike(opened, {'video': clips}, tmp_path, output='video')


def test_a_clip_starts_at_random_in_training_and_is_the_middle_in_evaluation(begun):
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
    with pytest.raises(Unreadable, match='5 frames, fewer than the 6'):
        prepare({'video': clip[:5]}, None)


def test_predict_answers_a_video_with_a_strip_and_an_animation(main, tmp_path):
    (tmp_path / 'run').mkdir()
    save_untrained(small('model.variant=4', 'task.stride=2'), tmp_path / 'run')
    rng = np.random.default_rng(0)
    video.write_clip(
        'video.mp4', rng.integers(0, 256, (12, 20, 30, 3)).astype(np.uint8), 10.0
    )
    code, *_, answers = main('--workdir', tmp_path / 'run', 'video.mp4')
    entry = answers['video.mp4']
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
        (
            'task.stride=4',
            'task.stride=4: expected .* at most 20 frames, .* they span 21',
        ),
        ('task.frames_in=1', 'task.frames_in=1: expected a whole number >= 2'),
        ('task.loss=l2', "task.loss='l2': expected one of 'l1', 'mse', 'l1.mse'"),
        ('task.sampling=2', 'task.sampling=2.0: expected a number >= 0, <= 1'),
        ('data.source=digits', 'video'),
        (
            'model.options.patch=5',
            'expected a divisor of the height and width of frames of 16x16',
        ),
        ('model.options.window=2', 'odd'),
        ('model.options.reach=-1', 'expected 0 or a positive number'),
    ],
)
def test_a_wrong_setting_is_an_error(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run.begin(small(override), tmp_path / 'run')
