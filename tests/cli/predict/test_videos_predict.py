"""Predictions for videos: pictures, key frames and short videos, and errors."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import jaxvision
from jaxvision.cli.export import formats
from jaxvision.data import video
from jaxvision.train.saved import read_config


def write_video(path, shades, height=16, width=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.stack(
        [np.full((height, width, 3), shade, np.uint8) for shade in shades]
    )
    return video.write_clip(path, frames, 10.0)


@pytest.fixture(scope='module')
def summarizers(fake, tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    for number in range(5):
        write_video(folder / f'{number}.gif', range(number, number + 60, 10))
    return {
        parts: fake('summarizer', f'data.source=videos:{folder}', f'task.parts={parts}')
        for parts in (True, False)
    }


@pytest.fixture
def videos(tmp_path):
    """Three videos. The third is lightest at its third frame."""
    write_video(tmp_path / 'in/a.mp4', [200, 40, 40, 40, 40, 40])
    write_video(tmp_path / 'in/b.gif', [10, 20, 90])
    write_video(tmp_path / 'in/deeper/a.MP4', [30, 60, 120, 20, 10])
    return tmp_path / 'in'


@pytest.mark.parametrize('options', [[], ['--batch_size', '2'], ['--no_pictures']])
def test_videos_in_files_folders_and_globs(main, summarizers, videos, options):
    code, out, err, entries = main(
        '--workdir',
        summarizers[True],
        videos / 'a.mp4',
        videos,
        f'{videos}/*.gif',
        *options,
    )
    assert code == 0 and not err and '3 of 3 files predicted' in out
    # The clip has five of six frames, from the middle, without the first.
    for name, lightest, light in (('b.gif', 2, 90), ('deeper/a.MP4', 2, 120)):
        answer = entries[str(videos / name)]['answer']
        assert answer['lightest'] == lightest and answer['light'] == pytest.approx(
            light, abs=3
        )
    has_pictures = '--no_pictures' not in options
    assert all(
        ('picture' in entry) == ('saved' in entry) == has_pictures
        for entry in entries.values()
    )
    assert Path('predictions/a-2-files').exists() == has_pictures


def test_the_files_that_are_written_for_a_video(main, summarizers, videos):
    path = videos / 'deeper/a.MP4'
    code, *_, entries = main('--workdir', summarizers[True], path)
    entry = entries[str(path)]
    assert code == 0 and entry['picture'] == 'predictions/a.png'
    assert np.asarray(Image.open(entry['picture'])).shape == (8, 5 * 9 - 1, 3)
    folder = Path('predictions/a-files')
    assert [*map(Path, entry['saved'])] == [
        folder / name for name in ('frame-2.png', 'short.mp4', 'clip.gif')
    ]
    assert sorted(folder.iterdir()) == sorted(map(Path, entry['saved']))
    key = np.asarray(Image.open(folder / 'frame-2.png'))
    assert key.shape == (16, 24, 3) and abs(key.mean() - 120) < 3
    assert (
        np.abs(video.read(folder / 'short.mp4').mean((1, 2, 3)) - [30, 60, 120]).max()
        < 4
    )
    assert video.rate(folder / 'short.mp4') == pytest.approx(10)
    assert video.read(folder / 'clip.gif').shape == (5, 8, 8, 3)


def test_a_task_with_one_picture_for_each_video(main, summarizers, videos):
    code, *_, entries = main('--workdir', summarizers[False], videos)
    assert code == 0 and not any('saved' in entry for entry in entries.values())
    assert sorted(path.name for path in Path('predictions').iterdir()) == [
        'a-2.png',
        'a.png',
        'b.png',
        'predictions.json',
    ]


def test_unreadable_videos_are_named(main, summarizers, videos):
    data = (videos / 'a.mp4').read_bytes()
    (videos / 'cut.mp4').write_bytes(data[: len(data) * 2 // 3])
    (videos / 'notes.txt').write_text('Dear Sir or Madam\n' * 9)
    Image.new('RGB', (9, 9)).save(videos / 'photo.jpg')
    code, out, err, entries = main('--workdir', summarizers[True], videos)
    assert code == 1 and '3 of 6 files predicted' in out and err.count('\n') == 1
    for name, reason in (
        ('cut.mp4', 'cut off'),
        ('notes.txt', 'no video'),
        ('photo.jpg', 'no video'),
    ):
        entry = entries[str(videos / name)]
        assert reason in entry['error'] and entry['error'] in out


def test_a_video_that_changes_meanwhile_is_named(
    main, summarizers, videos, monkeypatch
):
    def write_clip(path, frames, rate):
        (videos / 'a.mp4').write_bytes(b'')
        list(video.stream(videos / 'a.mp4'))

    monkeypatch.setattr(video, 'write_clip', write_clip)
    code, *_, entries = main('--workdir', summarizers[True], videos / 'a.mp4')
    assert code == 1 and 'an empty file' in entries[str(videos / 'a.mp4')]['error']


def test_only_files_of_an_earlier_report_are_replaced(
    main, summarizers, videos, tmp_path
):
    path, folder = videos / 'a.mp4', tmp_path / 'predictions/a-files'
    assert main('--workdir', summarizers[True], path)[0] == 0
    (folder / 'notes.txt').touch()
    first = {entry.name for entry in folder.iterdir()}
    write_video(path, [10, 20, 30, 40, 50, 255])
    assert main('--workdir', summarizers[True], path)[0] == 0
    second = {entry.name for entry in folder.iterdir()}
    assert first ^ second == {'frame-0.png', 'frame-4.png'}
    (tmp_path / 'predictions/predictions.json').unlink()
    (tmp_path / 'predictions/a.png').unlink()
    code, _, err, _ = main('--workdir', summarizers[True], path)
    assert code == 2 and 'a-files, which `predict` did not write' in err


def test_an_exported_model_predicts_for_videos(main, summarizers, videos):
    run = summarizers[True]
    task, variables, spec = jaxvision.load(run)
    formats.stablehlo(
        task.predict,
        variables,
        spec,
        read_config(run).to_dict(),
        Path('model.stablehlo'),
    )
    of_run, of_export = (
        main('--workdir', model, videos) for model in (run, 'model.stablehlo')
    )
    assert of_run == of_export and of_run[0] == 0


def test_without_an_encoder_a_gif_takes_its_place(
    main, summarizers, videos, monkeypatch
):
    monkeypatch.setattr(av, 'codecs_available', set())
    code, *_, entries = main('--workdir', summarizers[True], videos / 'b.gif')
    saved = entries[str(videos / 'b.gif')]['saved']
    assert code == 0 and 'predictions/b-files/short.gif' in saved
    assert all(Path(path).exists() for path in saved)


def test_options_of_other_models_are_mistakes(main, summarizers, videos):
    for arguments, message in (
        (['--number', '3'], '--number: expected only with a generator. '),
        (['--mask', 'x.png'], '--mask: expected only with an inpainting run. '),
    ):
        code, _, err, _ = main('--workdir', summarizers[True], videos, *arguments)
        assert code == 2 and message in err and 'predicts for videos' in err
    code, _, err, _ = main('--workdir', summarizers[True])
    assert code == 2 and 'FILE: expected videos.' in err
