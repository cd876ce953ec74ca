"""Objects in videos: a line and a drawn frame for each frame, and numbers that follow objects."""

import json
import sys

import numpy as np
import pytest
from helpers import blobs

from jaxvision.cli.predict import command, video_files
from jaxvision.data import video

FRAMES = 24


def place_of(number):
    """Where a red and a green object are: they move towards each other."""
    return [
        (20, 20 + 4 * number, 60, 60 + 4 * number, 0),
        (80, 140 - 4 * number, 110, 180 - 4 * number, 1),
    ]


@pytest.fixture
def film(tmp_path):
    """A video in which the red object is hidden for three frames."""
    frames = []
    for number in range(FRAMES):
        objects = place_of(number)
        if number in (10, 11, 12):
            del objects[0]
        frames.append(blobs.scene(128, 192, objects))
    return video.write_clip(tmp_path / 'film.mp4', frames, 10.0)


@pytest.fixture
def predict(monkeypatch, tmp_path):
    def run(*arguments):
        monkeypatch.setattr(command, '_open', lambda _: blobs.model())
        out = tmp_path / 'out'
        places = ['--workdir', str(tmp_path), '--out', str(out)]
        code = command.main([*map(str, arguments), *places])
        report = json.loads((out / 'predictions.json').read_text())
        lines = [
            json.loads(line)
            for path in sorted(out.glob('*.jsonl'))
            for line in path.read_text().splitlines()
        ]
        return code, report, lines

    return run


def test_each_frame_has_a_line_and_its_boxes(predict, film, tmp_path):
    code, report, lines = predict(film, '--batch_size', '5')
    assert code == 0
    (entry,) = report['files']
    assert entry['answer']['frames'] == len(lines) == FRAMES
    assert entry['answer']['size'] == [192, 128]
    assert [line['frame'] for line in lines] == list(range(FRAMES))
    np.testing.assert_allclose(
        [line['time'] for line in lines], np.arange(FRAMES) / 10, atol=1e-3
    )
    for number, line in enumerate(lines):
        boxes = {item['class']: item['bbox'] for item in line['detections']}
        for ymin, xmin, ymax, xmax, label in place_of(number):
            name = blobs.CLASSES[label]
            if name in boxes:
                expected = [xmin, ymin, xmax - xmin, ymax - ymin]
                np.testing.assert_allclose(boxes[name], expected, atol=5)
        assert ('red' in boxes) == (number not in (10, 11, 12))
        assert 'green' in boxes
    _, clip = entry['saved']
    assert video.count(clip) == FRAMES
    (first,) = video.read(clip, [0])
    assert first.shape == (256, 384, 3)  # small frames are enlarged


def test_objects_keep_their_numbers(predict, film):
    pytest.importorskip('trackforge', reason='the extra `tracking`')
    _, report, lines = predict(film, '--no_pictures')
    numbers = {'red': set(), 'green': set()}
    for line in lines:
        for item in line['detections']:
            numbers[item['class']].add(item['track'])
    assert sorted(map(len, numbers.values())) == [1, 1]
    assert set.union(*numbers.values()) == {1, 2}
    (entry,) = report['files']
    assert entry['answer']['tracked']
    assert sorted(entry['answer']['objects'].split(', ')) == ['1 green', '1 red']
    assert len(entry['saved']) == 1


def test_without_the_tracker_the_extra_is_named(predict, film, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'trackforge', None)
    _, report, lines = predict(film, '--no_pictures')
    assert 'Install the extra `tracking`' in capsys.readouterr().err
    assert not any('track' in item for line in lines for item in line['detections'])
    (entry,) = report['files']
    assert entry['answer']['objects'] == '24 green, 21 red'
    assert not entry['answer']['tracked']


def test_videos_and_images_together_and_a_damaged_video(predict, film, tmp_path):
    from PIL import Image

    Image.fromarray(blobs.scene(64, 64, [])).save(tmp_path / 'film.png')
    (tmp_path / 'cut.mp4').write_bytes(film.read_bytes()[:1500])
    paths = (tmp_path / 'cut.mp4', film, tmp_path / 'film.png')
    code, report, lines = predict(*paths, '--format', 'coco', '--tiles', '64')
    assert code == 1
    names = [entry['file'].rpartition('/')[2] for entry in report['files']]
    assert names == ['film.png', 'cut.mp4', 'film.mp4']
    assert 'error' in report['files'][1]
    assert len(lines) == FRAMES
    written = {path.name for path in (tmp_path / 'out').iterdir()}
    assert not {'cut.mp4', 'cut.jsonl'} & written


def test_a_gif_is_an_image():
    assert video_files.is_video('a/b.MP4')
    assert not video_files.is_video('a/b.gif')
