"""`predict` for a detector: boxes of the user's images, pictures, and other programs' formats."""

import contextlib
import io
import json

import numpy as np
import pytest
from helpers import blobs
from PIL import Image, ImageOps
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from jaxvision.cli.predict import command, detection_answers
from jaxvision.core.errors import UserError

# (ymin, xmin, ymax, xmax, class) in an image of 120x200.
OBJECTS = [(10, 20, 60, 90, 0), (50, 120, 110, 190, 1)]


@pytest.fixture
def photos(tmp_path):
    """Two images with numbers for names, one of them upright by EXIF only."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    image = Image.fromarray(blobs.scene(120, 200, OBJECTS))
    image.save(folder / '000000000139.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise to be shown
    image.rotate(90, expand=True).save(folder / '42.png', exif=exif)
    return folder


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """Run the command with the detector of blobs: (exit code, predictions.json)."""

    def run(*arguments, **options):
        opened = blobs.model(**options)
        monkeypatch.setattr(command, '_open', lambda _: opened)
        code = command.main(
            [
                *map(str, arguments),
                '--workdir',
                str(tmp_path),
                '--out',
                str(tmp_path / 'out'),
            ]
        )
        report = tmp_path / 'out' / 'predictions.json'
        return code, json.loads(report.read_text()) if report.exists() else None

    return run


def sorted_boxes(answer):
    return np.array(sorted(detection['bbox'] for detection in answer['detections']))


def test_boxes_are_in_pixels_of_the_upright_image(predict, photos, tmp_path):
    code, report = predict(photos, category_ids=(7, 91))
    assert code == 0
    for entry in report['files']:
        answer = entry['answer']
        assert answer['size'] == [200, 120]
        assert answer['objects'] == '1 red, 1 green'
        # [x, y, width, height]; a pixel of the canvas is three of the image.
        expected = [[20, 10, 70, 50], [120, 50, 70, 60]]
        np.testing.assert_allclose(sorted_boxes(answer), expected, atol=4)
        by_class = {item['class']: item['category_id'] for item in answer['detections']}
        assert by_class == {'red': 7, 'green': 91}
        with Image.open(entry['picture']) as picture:
            assert picture.size == (400, 240)  # a small image is enlarged


def test_the_picture_of_a_large_image_has_its_full_size(predict, tmp_path):
    objects = [(100, 100, 500, 700, 0)]
    path = tmp_path / 'large.png'
    pixels = blobs.scene(700, 1100, objects)
    Image.fromarray(pixels).save(path)
    _, report = predict(path)
    (entry,) = report['files']
    drawn = np.asarray(Image.open(entry['picture']))
    assert drawn.shape == pixels.shape
    changed = (drawn != pixels).any(axis=-1)
    ymin, xmin = np.argwhere(changed).min(0)
    ymax, xmax = np.argwhere(changed).max(0)
    # The caption stands above the box and hides nothing of the object.
    assert 70 < ymin < 100
    assert abs(xmin - 100) < 20 and abs(ymax - 500) < 20 and abs(xmax - 700) < 20
    assert changed[120:480, 120:680].sum() == 0


def test_cocos_results_are_read_by_pycocotools(predict, photos, tmp_path):
    code, report = predict(photos, '--format', 'coco,yolo', category_ids=(7, 91))
    assert code == 0
    assert [entry['image_id'] for entry in report['files']] == [139, 42]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            'images': [{'id': 139}, {'id': 42}],
            'annotations': [],
            'categories': [{'id': 7}, {'id': 91}],
        }
        coco.createIndex()
        results = coco.loadRes(str(tmp_path / 'out' / 'coco_results.json'))
    assert results.getAnnIds(imgIds=[139]) and len(results.anns) == 4
    assert {item['category_id'] for item in results.anns.values()} == {7, 91}


def test_masks_have_areas_and_run_lengths_and_are_drawn(predict, photos, tmp_path):
    code, report = predict(photos, '--format', 'coco', has_masks=True)
    assert code == 0
    results = json.loads((tmp_path / 'out' / 'coco_results.json').read_text())
    for entry in report['files']:
        detections = entry['answer']['detections']
        assert len(detections) == 2
        with Image.open(entry['picture']) as picture, Image.open(entry['file']) as file:
            drawn = np.asarray(picture)[::2, ::2].astype(int)
            pixels = np.asarray(ImageOps.exif_transpose(file)).astype(int)
        for detection in detections:
            assert detection['segmentation'] in [
                item['segmentation'] for item in results
            ]
            mask = coco_masks.decode(detection['segmentation']).astype(bool)
            assert mask.shape == (120, 200)
            assert mask.sum() == detection['area']
            x, y, width, height = detection['bbox']
            assert detection['area'] == pytest.approx(width * height / 2, rel=0.05)
            ys, xs = np.nonzero(mask)
            assert abs(ys.min() - y) <= 1 and abs(ys.max() + 1 - y - height / 2) <= 1
            assert abs(xs.min() - x) <= 1 and abs(xs.max() + 1 - x - width) <= 1
            # The upper half is tinted, the lower one is not.
            middle = round(x + width / 2)
            upper, lower = round(y + 0.4 * height), round(y + 0.7 * height)
            assert (drawn[upper, middle] != pixels[upper, middle]).any()
            np.testing.assert_array_equal(drawn[lower, middle], pixels[lower, middle])


def test_several_views_of_masks_are_refused(predict, photos, capsys):
    code, _ = predict(photos, '--tiles', '64', '--tta', has_masks=True)
    assert code == 2
    assert '--tiles and --tta: expected a detector without masks' in (
        capsys.readouterr().err
    )


def test_yolos_files_give_fractions_of_the_image(predict, photos, tmp_path):
    _, report = predict(photos, '--format', 'yolo')
    for entry in report['files']:
        (path,) = entry['saved']
        rows = np.loadtxt(path, ndmin=2)
        rows = rows[np.argsort(rows[:, 0])]
        np.testing.assert_array_equal(rows[:, 0], [0, 1])
        expected = [[0.275, 0.2917, 0.35, 0.4167], [0.775, 0.6667, 0.35, 0.5]]
        np.testing.assert_allclose(rows[:, 1:5], expected, atol=0.03)
        np.testing.assert_allclose(rows[:, 5], 0.6, atol=1e-5)
    assert not (tmp_path / 'out' / 'coco_results.json').exists()


def test_images_with_other_names_are_numbered(predict, photos, tmp_path):
    Image.new('RGB', (80, 60)).save(photos / 'cat.png')
    (photos / 'damaged.png').write_bytes(b'no image')
    code, report = predict(photos, '--format', 'coco,yolo')
    assert code == 1
    found = {
        entry['file'].rpartition('/')[2]: entry.get('image_id')
        for entry in report['files']
    }
    assert found == {
        '000000000139.png': 0,
        '42.png': 1,
        'cat.png': 2,
        'damaged.png': None,
    }
    results = json.loads((tmp_path / 'out' / 'coco_results.json').read_text())
    assert {item['image_id'] for item in results} == {0, 1}
    empty = report['files'][2]['answer']
    assert (empty['objects'], empty['detections']) == ('none', [])
    assert (tmp_path / 'out' / 'labels' / 'cat.txt').read_text() == ''


CALIBRATION = {
    'split': 'validation',
    'step': 8,
    'score': 0.7,
    'class_scores': {'red': 0.5, 'green': None},
}


@pytest.mark.parametrize(
    'arguments, calibration, classes, text',
    [
        ((), None, {'red', 'green'}, '0.3 (the run chose none'),
        ((), CALIBRATION, {'red'}, '0.50 to 0.70 by class, the best F1'),
        (('--score', '0.1'), CALIBRATION, {'red', 'green'}, '--score=0.1'),
        (('--score', '0.61'), None, set(), '--score=0.61'),
    ],
)
def test_the_thresholds_of_the_calibration_hold_unless_a_score_is_given(
    predict, photos, capsys, arguments, calibration, classes, text
):
    _, report = predict(photos, *arguments, calibration=calibration)
    assert f'score thresholds: {text}' in capsys.readouterr().err
    assert text in report['thresholds_from']
    for entry in report['files']:
        found = {item['class'] for item in entry['answer']['detections']}
        assert found == classes


def test_tiles_and_views_are_searched_by_the_command(predict, tmp_path):
    objects = [(58, 100, 70, 112, 0), (20, 58, 32, 70, 1)]
    Image.fromarray(blobs.scene(160, 160, objects)).save(tmp_path / '7.png')
    (tmp_path / '8.png').write_bytes(b'no image')
    paths = (tmp_path / '7.png', tmp_path / '8.png')
    _, report = predict(*paths)
    assert report['files'][0]['answer']['objects'] == 'none'
    code, report = predict(*paths, '--tiles', '64:20')
    assert code == 1
    entry, damaged = report['files']
    expected = [[58, 20, 12, 12], [100, 58, 12, 12]]
    np.testing.assert_allclose(sorted_boxes(entry['answer']), expected, atol=1e-3)
    assert 'error' in damaged
    with Image.open(entry['picture']) as picture:
        assert picture.size == (320, 320)
    _, report = predict(*paths, '--tiles', '64:20', '--tta', '--no_pictures')
    entry = report['files'][0]
    np.testing.assert_allclose(sorted_boxes(entry['answer']), expected, atol=1)
    assert 'picture' not in entry


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--score', '1.5'), '--score=1.5: expected a number >= 0, <= 1'),
        (('--format', 'coco;yolo'), '--format=coco;yolo: expected coco or yolo'),
        (('--tiles', '64:64'), '--tiles=64:64: expected N or N:OVERLAP'),
        (('--label', '3'), '--label: expected only with a generator'),
    ],
)
def test_mistakes_are_one_clear_line(predict, photos, capsys, arguments, message):
    code, report = predict(photos, *arguments)
    assert code == 2
    assert report is None
    assert message in capsys.readouterr().err


def test_the_files_of_other_programs_are_not_replaced(
    predict, photos, tmp_path, capsys
):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'coco_results.json').write_text('[]')
    code, _ = predict(photos, '--format', 'coco')
    assert code == 2
    assert 'coco_results.json, which `predict` did not' in capsys.readouterr().err
    (tmp_path / 'out' / 'coco_results.json').unlink()
    for _ in range(2):  # An earlier report of the command's own is replaced.
        assert predict(photos, '--format', 'coco,yolo')[0] == 0


def test_a_class_without_a_threshold_has_that_of_all_classes():
    model = blobs.model(calibration=CALIBRATION)
    scores, _ = detection_answers.thresholds(model, None)
    np.testing.assert_array_equal(scores, [0.5, 0.7])
    nothing_correct = {'score': None, 'class_scores': {'red': None, 'green': None}}
    scores, _ = detection_answers.thresholds(
        blobs.model(calibration=nothing_correct), None
    )
    np.testing.assert_array_equal(scores, [0.3, 0.3])
    with pytest.raises(UserError, match='--score'):
        detection_answers.thresholds(model, -0.1)
