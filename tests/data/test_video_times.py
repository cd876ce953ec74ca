"""Times of frames by their timestamps, in films whose frames come at no fixed rate."""

import av
import numpy as np
import pytest
from helpers import films
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import video, video_times
from jaxvision.data.protocol import Unreadable

STARTS = [0, 0.04, 0.08, 0.12, 2.12, 2.16, 2.2, 10.0, 10.04]
END = 15.0
TELLS_THE_END = ('.mp4', '.mov', '.mkv', '.webm', '.gif')


@pytest.mark.parametrize('suffix', films.CODECS)
def test_frames_appear_when_their_timestamps_say(tmp_path, suffix):
    path = films.write_variable(tmp_path / f'film{suffix}', STARTS, END)
    edges = video_times.edges(path)
    np.testing.assert_allclose(edges[:-1], STARTS, atol=1e-6)
    # The other files do not tell how long the last frame is shown: as long as most are.
    end = END if suffix in TELLS_THE_END else 10.08
    assert edges[-1] == pytest.approx(end, abs=1e-6)
    assert video.rate(path) == pytest.approx(9 / end)
    np.testing.assert_array_equal(video_times.edges(path.read_bytes()), edges)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_frames_that_are_stored_out_of_order(tmp_path, suffix):
    """Of B-frames, the order in the file and its durations are not those on screen."""
    path = tmp_path / f'film{suffix}'
    times = np.cumsum([0, 40, 40, 500, 40, 40, 3000, 40, 40, 200, 40, 40])
    noise = np.random.default_rng(0).integers(0, 256, (32, 48 + 24, 3), np.uint8)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'bf': '3'})
        stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
        stream.codec_context.time_base = video.Fraction(1, 1000)
        for number, time in enumerate(times.tolist()):
            pixels = np.ascontiguousarray(noise[:, 2 * number : 2 * number + 48])
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = time, video.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        order = [packet.pts for packet in container.demux() if packet.pts is not None]
    assert order != sorted(order), 'no B-frames'
    edges = video_times.edges(path)
    np.testing.assert_allclose(edges[:-1], times / 1000, atol=1e-6)


def test_zero_is_the_start_of_the_file_as_players_show_it(tmp_path):
    later = [second + 0.5 for second in STARTS]
    path = films.write_variable(tmp_path / 'film.mp4', later, END, with_sound=True)
    np.testing.assert_allclose(video_times.edges(path)[:-1], later, atol=1e-3)


def test_a_changed_file_is_read_again(tmp_path):
    path = films.write_variable(tmp_path / 'film.mp4', STARTS, END)
    video_times.edges(path)[:] = 7  # not the copy that is kept
    assert video_times.edges(path)[-1] == pytest.approx(END)
    films.write_variable(path, STARTS[:4], 9.0)
    np.testing.assert_allclose(video_times.edges(path), [*STARTS[:4], 9.0])
    path.write_bytes(b'no film')
    with pytest.raises(Unreadable):
        video_times.edges(path)


@pytest.mark.parametrize(
    'starts, last, edges',
    [
        ([0, 1, 2], 3, [0, 1, 2, 5]),
        ([0, 1, 2], 0, [0, 1, 2, 3]),
        ([7], 0, [7, 7.5]),
        # Two films were joined.
        ([0, 1, 5, 0, 1], 1, [0, 1, 5, 6, 7, 8]),
        ([0, 1, 1, 2], 1, [0, 1, 1, 2, 3]),
        ([0, np.nan, 2], 1, [0, 1, 2, 3]),
        ([np.nan, np.nan], 0, [0, 0.5, 1]),
    ],
)
def test_odd_timestamps_give_times_that_ascend(starts, last, edges):
    starts = np.array(starts, float)
    np.testing.assert_allclose(video_times._repaired(starts, float(last), 0.5), edges)


def test_the_frame_at_a_time():
    edges = np.array([0, 0.04, 0.08, 8, 8.04])
    seconds = np.array([-1, 0, 0.039, 0.04, 0.04 - 1e-9, 0.08, 7.9, 8, 8.03, 8.04, 99])
    rows = video_times.at(edges, seconds)
    assert rows.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    long = np.arange(10_001) / 25 + 7200
    np.testing.assert_array_equal(
        video_times.at(long, long[:-1].astype(np.float32)), np.arange(10_000)
    )


def test_a_cut_lasts_as_long_as_what_is_kept():
    edges = np.array([0, 0.1, 0.2, 8.2, 8.3, 8.4])
    for kept, rows, durations in (
        ([(0.1, 0.2)], [1], [0.1]),
        ([(0.14, 0.24)], [1], [0.1]),  # moved to the edges of frames
        ([(1.0, 2.0)], [2], [1]),  # inside a frame
        ([(1.0, 2.0), (4.0, 7.0)], [2], [4]),
        ([(0.0, 1.0), (8.2, 8.3)], [0, 1, 2, 3], [0.1, 0.1, 0.8, 0.1]),
        ([(0.11, 0.12)], [1], [0.01]),
        ([], [], []),
    ):
        found = video_times.cut(edges, kept)
        assert found[0] == rows
        np.testing.assert_allclose(found[1], durations)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.04, 9), min_size=1, max_size=30),
    st.lists(st.floats(0, 100), min_size=2, max_size=6, unique=True),
)
def test_any_cut_of_any_film(gaps, times):
    edges = np.cumsum([0, *gaps])
    times = sorted(min(time, edges[-1]) for time in times)
    kept = list(zip(times[::2], times[1::2], strict=False))
    rows, durations = video_times.cut(edges, kept)
    assert rows == sorted(set(rows)) and min(durations, default=1) > 0
    total = sum(end - start for start, end in kept)
    assert sum(durations) == pytest.approx(total, abs=2 * 0.051 * len(kept) + 1e-5)


@pytest.mark.parametrize('suffix', ['.mp4', '.gif'])
def test_a_film_is_written_with_its_times(tmp_path, suffix):
    frames = [np.full((32, 48, 3), 8 * number + 4, np.uint8) for number in range(9)]
    durations = np.diff([*STARTS, END]).tolist()
    path = video.write_clip(tmp_path / f'film{suffix}', frames, 2.0, durations)
    np.testing.assert_allclose(video_times.edges(path), [*STARTS, END], atol=1e-4)
    assert films.numbers(video.read(path)) == [*range(9)]


def test_rounded_durations_do_not_add_up_to_an_error(tmp_path):
    frames = [np.full((16, 16, 3), number, np.uint8) for number in range(100)]
    path = video.write_clip(tmp_path / 'film.gif', frames, 30.0, [1 / 30] * 100)
    np.testing.assert_allclose(
        video_times.edges(path), np.arange(101) / 30, atol=0.0051
    )


@given(
    st.integers(1, 400),
    st.sampled_from([1 / 25, 1 / 30, 1001 / 30000, 1 / 8]),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_frames_at_a_constant_rate_are_all_taken_in_order(frames, interval, seed):
    """Containers round timestamps to milliseconds, and cameras tremble a little."""
    tremble = np.random.default_rng(seed).uniform(-0.2, 0.2, frames + 1) * interval
    edges = np.round(np.arange(frames + 1) * interval + tremble, 3)
    assert video_times.evenly(edges).tolist() == list(range(frames))


@given(st.lists(st.integers(1, 40), min_size=3, max_size=60))
@settings(max_examples=80, deadline=None)
def test_frames_at_a_variable_rate_are_taken_by_time(gaps):
    """A frame comes as often as the commonest interval fits into the time it is shown."""
    edges = np.cumsum([0, *gaps, 20]) / 100
    rows = video_times.evenly(edges)
    if rows.tolist() == list(range(len(edges) - 1)):
        return
    interval = np.median(gaps) / 100
    assert abs(len(rows) * interval - edges[-1]) <= interval / 2 + 1e-9
    for number, row in enumerate(rows):
        second = min((number + 0.5) * interval, edges[-1])
        assert edges[row] - 1e-5 <= second <= edges[row + 1] + 1e-5


def test_a_clip_of_a_film_at_a_variable_rate_is_even_in_time(tmp_path):
    """Frames 0 to 9 last 0.1 s each, frame 10 lasts 1 s, the others 0.1 s again."""
    starts = [*(n / 10 for n in range(11)), *(2 + n / 10 for n in range(9))]
    path = films.write_variable(tmp_path / 'film.mp4', starts, 2.9)
    for film in (path, path.read_bytes()):
        rows = video.even_rows(film).tolist()
        assert rows == [*range(10), *[10] * 10, *range(11, 20)]
        # From 0 to 2.8 s in steps of 0.4 s.
        clip, mask = video.clip(film, 8, 4, 8, 1)
        assert mask.all()
        shown = np.round((clip.mean((1, 2, 3)) - 4) / 8).astype(int).tolist()
        assert shown == [0, 4, 8, 10, 10, 11, 15, 19]


def test_rows_of_a_changed_film_are_read_again(tmp_path):
    path = films.write_variable(tmp_path / 'film.mp4', [0, 0.1, 0.2, 1.0], 1.1)
    assert len(video.even_rows(path)) == 11
    films.write_variable(path, [0, 0.1, 0.2], 0.3)
    assert len(video.even_rows(path)) == 3
