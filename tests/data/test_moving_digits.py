"""Clips: digits move as they are said to, and no single frame tells how."""

import numpy as np
import pytest
from scipy import stats
from test_digit_scenes import opened

from jaxvision.data import moving_digits
from jaxvision.data.composed import read_digits


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    'name, frames', [('prediction', 20), ('motions', 20), ('events', 120)]
)
def test_examples_are_what_the_source_says(name, frames):
    source = opened(f'moving_digits/{name}')
    clip, again = source[5], opened(f'moving_digits/{name}')[5]
    assert set(clip) == set(source.info.holds) and source.info.frames == frames
    assert (
        clip['video'].shape == (frames, 64, 64, 1) and clip['video'].dtype == np.uint8
    )
    assert all(np.array_equal(clip[part], again[part]) for part in clip)
    assert not np.array_equal(source[6]['video'], clip['video'])
    assert not np.array_equal(
        opened(f'moving_digits/{name}', 'test')[5]['video'], clip['video']
    )


def test_the_label_is_known_without_the_clip_and_drawn_evenly():
    source = opened('moving_digits/motions', 'test')
    labels = source.labels()
    assert labels[:20].tolist() == [source[row]['label'] for row in range(20)]
    assert stats.chisquare(np.bincount(labels, minlength=10)).pvalue > 1e-3
    assert source.info.class_names[labels.max()] == 'vertical+vertical'


@pytest.mark.parametrize('motion', ['straight', *moving_digits.MOTIONS])
def test_in_any_frame_a_digit_is_anywhere_whatever_its_motion(motion):
    places = np.stack(
        [moving_digits.path(rng(i), motion, 20, (2.0, 5.0)) for i in range(1500)]
    )
    assert places.min() >= 0 and places.max() <= moving_digits.ROOM
    spread = rng(1).uniform(-0.5, 0.5, places.shape)  # of what was rounded
    for frame in (0, 9, 19):
        for axis in (0, 1):
            found = (places + spread)[:, frame, axis]
            inside = found[
                (found > 0.5) & (found < 35.5)
            ]  # half a pixel at the walls is folded
            assert stats.kstest(inside, stats.uniform(0.5, 35).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    'motion, still', [('horizontal', [0]), ('vertical', [1]), ('diagonal', [])]
)
def test_lines_are_lines_at_their_speed(motion, still):
    steps = np.diff(moving_digits.free_motion(rng(3), motion, 20, 3.0), axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 3.0)
    np.testing.assert_allclose(steps, steps[:1].repeat(19, 0), atol=1e-9)
    np.testing.assert_allclose(steps[:, still], 0, atol=1e-9)
    if motion == 'diagonal':
        np.testing.assert_allclose(np.abs(steps[:, 0]), np.abs(steps[:, 1]))


def test_circles_are_circles():
    places = moving_digits.free_motion(rng(4), 'circle', 20, 3.0)
    radius = np.linalg.norm(places, axis=1)
    np.testing.assert_allclose(radius, radius[0])
    assert 6 <= radius[0] <= 14
    turns = np.diff(np.unwrap(np.arctan2(*places.T)))
    np.testing.assert_allclose(np.abs(turns), 3.0 / radius[0])


def test_at_a_wall_it_is_reflected():
    np.testing.assert_allclose(
        moving_digits.reflect(np.array([-3.0, 0.0, 10.0, 36.0, 40.0, 72.0, 75.0])),
        [3, 0, 10, 36, 32, 0, 3],
    )


def test_values_add_up_to_255_at_most():
    images = np.full((2, 28, 28), 200, np.uint8)
    paths = [np.array([[0, 0]]), np.array([[0, 14]])]
    frame = moving_digits.render(paths, images)[0, :, :, 0]
    assert frame[0, :42].tolist() == [200] * 14 + [255] * 14 + [200] * 14
    assert not frame[28:].any()


def test_an_event_is_a_meeting_and_the_rest_is_as_near_as_that():
    still = np.tile([10, 10, 20, 20], (6, 1))
    passing = np.array([[10, x, 20, x + 5] for x in (12, 30, 21, 19, 18, 30)])
    met = moving_digits.meetings(passing, still)
    assert met.tolist() == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]  # at first they are together
    np.testing.assert_allclose(
        moving_digits.importance(met),
        np.exp(-np.array([3, 2, 1, 0, 1, 2]) / 4),
        rtol=1e-6,
    )


def test_a_video_without_a_meeting_has_no_importance():
    nothing = moving_digits.importance(np.zeros(6, bool))
    assert nothing.dtype == np.float32 and nothing.tolist() == [0] * 6
    digits = read_digits('test')
    # One frame has no beginning of an overlap, so all tries fail.
    example = moving_digits.events(rng(), digits, frames=1)
    assert example['importance'].tolist() == [0]


def test_every_clip_of_events_has_two():
    source = opened('moving_digits/events', 'test')
    assert min((source[row]['importance'] == 1).sum() for row in range(40)) >= 2
