"""`predict` for a segmentation run: label maps, objects and pictures at the images' own size."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers import color_maps
from PIL import Image

from jaxvision.cli.predict import command, segmentation_files, segmentation_objects
from jaxvision.cli.predict.segmentation_files import Preview
from jaxvision.cli.predict.segmentation_views import Strip, Tiling, Views
from jaxvision.data import image_rows, video
from jaxvision.tasks.segmentation import evaluation, objects

# (y, x, radius, class) in an image of 120x200; the last two touch.
DISCS = [(30, 40, 15, 1), (80, 120, 20, 2), (90, 40, 12, 1), (90, 63, 12, 2)]


@pytest.fixture
def photos(tmp_path):
    """A scene, and the same one upright by EXIF only."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    image = Image.fromarray(color_maps.scene(120, 200, DISCS))
    image.save(folder / 'a.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise to be shown
    image.rotate(90, expand=True).save(folder / 'b.png', exif=exif)
    return folder


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """Run the command with the network of colours: (exit code, predictions.json)."""

    def run(*arguments, **options):
        opened = color_maps.model(**options)
        monkeypatch.setattr(command, '_open', lambda _: opened)
        fixed = ['--workdir', str(tmp_path), '--out', str(tmp_path / 'out')]
        code = command.main([*map(str, arguments), *fixed])
        report = tmp_path / 'out' / 'predictions.json'
        return code, json.loads(report.read_text()) if report.exists() else None

    return run


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_files_have_the_size_of_the_upright_image(predict, photos, tmp_path):
    code, report = predict(photos, size=100)
    assert code == 0
    truth = color_maps.values(color_maps.scene(120, 200, DISCS))[0].argmax(-1)
    for entry, name in zip(report['files'], 'ab', strict=True):
        answer = entry['answer']
        assert answer['size'] == [200, 120]
        assert answer['objects'] == '2 red, 2 blue'
        labels_path, objects_path = entry['saved']
        assert labels_path.endswith(f'{name}-labels.png')
        labels = read(labels_path)
        assert labels.shape == (120, 200)
        assert (labels != truth).mean() < 0.02
        with Image.open(labels_path) as image:
            assert image.mode == 'P'
        areas = {item['class']: item['area'] for item in answer['classes']}
        counts = np.bincount(labels.ravel())
        assert areas == {'background': counts[0], 'red': counts[1], 'blue': counts[2]}
        assert sum(item['fraction'] for item in answer['classes']) == pytest.approx(1)
        assert read(entry['picture']).shape == (240, 400, 3)  # a small one is enlarged
        instances = read(objects_path)
        assert instances.dtype == np.uint16 and instances.max() == 4
        for item in answer['instances']:
            ys, xs = np.nonzero(instances == item['number'])
            assert item['area'] == len(ys)
            center = (xs.mean() + 0.5, ys.mean() + 0.5)
            np.testing.assert_allclose(item['centroid'], center, atol=0.006)
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert item['bbox'] == box
        found = sorted(
            (round(item['centroid'][1], -1), item['class'])
            for item in answer['instances']
        )
        assert found == [(30, 'red'), (80, 'blue'), (90, 'blue'), (90, 'red')]


def test_a_whole_image_gets_the_prediction_of_the_evaluation(predict, photos):
    _, report = predict(photos / 'a.png', size=100)
    model = color_maps.model(size=100)
    example = model.prepare((photos / 'a.png').read_bytes())
    (outputs,) = model.predict_each([example], 1)
    found = evaluation.segment({**outputs, 'warp': example['warp']}, (120, 200))
    labels_path, objects_path = report['files'][0]['saved']
    np.testing.assert_array_equal(read(labels_path), found.labels)
    np.testing.assert_array_equal(read(objects_path) > 0, found.instances > 0)
    assert read(objects_path).max() == found.instances.max()


def test_areas_are_given_in_the_unit_of_the_spacing(predict, photos):
    arguments = ('--spacing', '0.5,0.25', '--unit', 'um', '--no_pictures')
    _, report = predict(photos / 'a.png', *arguments)
    answer = report['files'][0]['answer']
    for item in (*answer['classes'], *answer['instances']):
        assert item['area_um2'] == pytest.approx(item['area'] / 8, rel=1e-5)
    item = answer['instances'][0]
    x, y = item['centroid']
    np.testing.assert_allclose(item['centroid_um'], [x / 4, y / 2], atol=0.01)
    x, y, width, height = item['bbox']
    assert item['bbox_um'] == [x / 4, y / 2, width / 4, height / 2]
    assert 'picture' not in report['files'][0]


def test_tiles_of_a_local_network_are_the_whole_image(predict, tmp_path, monkeypatch):
    monkeypatch.setattr('jaxvision.data.image_rows._SMALL', 100)
    monkeypatch.setattr('jaxvision.data.image_rows._SOME', 4000)
    monkeypatch.setattr('PIL.TiffImagePlugin.STRIP_SIZE', 4000)
    # A tile has 64 rows, and 4 rows of the image are joined and written at once.
    monkeypatch.setattr('jaxvision.cli.predict.segmentation_views._SOME', 1000)
    pixels = color_maps.scene(150, 230, DISCS)
    Image.fromarray(pixels).save(tmp_path / 'a.tif', compression='tiff_lzw')
    Image.fromarray(pixels[:9, :1]).save(tmp_path / 'b.png')
    options = ('--tile', '64', '--overlap', '20', '--flips', '--batch_size', '3')
    code, report = predict(tmp_path / 'a.tif', tmp_path / 'b.png', *options)
    assert code == 0
    probabilities, center = color_maps.values(pixels)
    labels_path, objects_path = report['files'][0]['saved']
    np.testing.assert_array_equal(read(labels_path), probabilities.argmax(-1))
    whole = objects.separate(1 - probabilities[..., 0], center, np.zeros_like(center))
    np.testing.assert_array_equal(read(objects_path) > 0, whole > 0)
    assert report['files'][0]['answer']['objects'] == '2 red, 2 blue'
    assert read(report['files'][1]['saved'][0]).shape == (9, 1)
    _, report = predict(
        tmp_path / 'a.tif', '--tile', '64', '--scales', '0.75,1.5', with_objects=False
    )
    (labels_path,) = report['files'][0]['saved']
    assert (read(labels_path) != probabilities.argmax(-1)).mean() < 0.02
    assert 'instances' not in report['files'][0]['answer']


@pytest.mark.parametrize('options', [(), ('--tile', '64'), ('--scales', '1,1.5')])
def test_dim_images_of_16_bits_are_seen_at_their_own_depth(
    predict, tmp_path, monkeypatch, options
):
    """A bright grey pixel is red to the network; of 65535 these are all dark."""
    monkeypatch.setattr('jaxvision.data.image_rows._SMALL', 100)
    ys, xs = np.mgrid[:90, :80]
    is_disc = (ys - 40) ** 2 + (xs - 30) ** 2 < 400
    pixels = np.where(is_disc, 2000, 100).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, rowsperstrip=20, metadata=None)
    shown = {}
    for contrast in (False, True):
        code, report = predict(
            tmp_path / 'a.tif', *options, size=90, with_objects=False, contrast=contrast
        )
        assert code == 0
        (entry,) = report['files']
        shown[contrast] = (read(entry['saved'][0]), read(entry['picture']))
    assert not shown[False][0].any()
    assert ((shown[True][0] == 1) == is_disc).mean() > 0.99
    assert shown[True][1].max() > 200 > shown[False][1][:40].max()


def test_the_strips_of_tiles_are_a_few_rows_each(monkeypatch):
    monkeypatch.setattr('jaxvision.cli.predict.segmentation_views._SOME', 1000)
    pixels = color_maps.scene(150, 230, DISCS)
    shown = []
    views = Views(model=color_maps.model(), flips=False, scales=(1.0,), batch_size=4)
    strips = views.tiled(
        image_rows.ImageRows.of(pixels),
        Tiling(64, 20),
        lambda top, rows: shown.append((top, rows)),
        lambda count: None,
    )
    tops = []
    for strip in strips:
        assert strip.labels.size <= 1000
        tops += range(strip.top, strip.top + len(strip.labels))
    assert tops == list(range(150))
    assert max(rows[..., 0].size for _, rows in shown) <= 1000
    assert [top for top, _ in shown] == np.cumsum(
        [0, *(len(rows) for _, rows in shown[:-1])]
    ).tolist()
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in shown]), pixels)


def test_views_are_averaged(photos):
    views = {
        name: Views(model=color_maps.model(), flips=flips, scales=scales, batch_size=4)
        for name, flips, scales in (
            ('one', False, (1.0,)),
            ('flips', True, (1.0,)),
            ('scaled', False, (1.5,)),
            ('both', False, (1.0, 1.5)),
        )
    }
    values = {}
    for name, view in views.items():
        example = view.prepare(str(photos / 'a.png'))
        (outputs,) = view.predict_each([example], 1)
        strips = view.whole(example, outputs)
        values[name] = np.concatenate([strip.objects for strip in strips])[..., 1]
    # The network sees single pixels, so a mirror image changes nothing.
    np.testing.assert_allclose(values['flips'], values['one'], atol=1e-6)
    mean = (values['one'] + values['scaled']) / 2
    np.testing.assert_allclose(values['both'], mean, atol=1e-6)
    assert np.abs(values['one'] - values['scaled']).max() > 0.05


def test_objects_of_large_images_are_joined_across_windows(monkeypatch):
    rng = np.random.default_rng(0)
    discs = [
        (y + rng.uniform(-1, 1), x + rng.uniform(-1, 1), rng.uniform(5, 8.5), 1)
        for y in range(10, 200, 20)
        for x in range(10, 300, 20)
        if np.hypot(y - 100, x - 150) > 60
    ]
    discs.append((100, 150, 45, 2))  # larger than the core of a window
    pixels = color_maps.scene(200, 300, discs)
    probabilities, center = color_maps.values(pixels)
    maps = [1 - probabilities[..., 0], center, probabilities[..., 1:].argmax(-1) + 1]
    maps = np.stack([*maps, probabilities[..., 1:].max(-1)], -1).astype(np.float32)

    def find():
        with tempfile.TemporaryFile() as file:
            finder = segmentation_objects.Finder((200, 300), 3, file)
            for top in range(0, 200, 37):
                part = maps[top : top + 37]
                flat = np.zeros(part.shape[:2], np.uint8)
                finder.add(Strip(top, flat, flat.astype(np.float32), part))
            table = finder.table()
            return table, np.concatenate(list(finder.rows()))

    whole_table, whole = find()
    monkeypatch.setattr(segmentation_objects, '_WHOLE', 100)
    monkeypatch.setattr(segmentation_objects, '_CORE', 70)
    monkeypatch.setattr(segmentation_objects, '_MARGIN', 24)
    table, windows = find()
    assert windows.max() == len(table.areas) == whole.max()
    pairs = np.unique(np.stack([whole.ravel(), windows.ravel()]), axis=1)
    assert len(pairs.T) == whole.max() + 1  # The same objects, by other numbers.
    order = np.argsort(pairs[1, 1:])
    for name in ('areas', 'centers', 'boxes', 'classes', 'scores'):
        expected = getattr(whole_table, name)[order]
        np.testing.assert_allclose(getattr(table, name), expected)


def test_more_objects_than_16_bits_hold_go_into_a_tiff(predict, photos, monkeypatch):
    _, report = predict(photos / 'a.png')
    earlier = read(report['files'][0]['saved'][1])
    monkeypatch.setattr(segmentation_files, 'MOST_OBJECTS', 3)
    _, report = predict(photos / 'a.png')
    _, path = report['files'][0]['saved']
    assert path.endswith('a-objects.tif')
    instances = tifffile.imread(path)
    assert instances.dtype == np.uint32
    np.testing.assert_array_equal(instances, earlier)
    assert not (photos.parent / 'out' / 'a-objects.png').exists()


def test_a_large_image_is_shrunk_for_its_picture(monkeypatch):
    monkeypatch.setattr(segmentation_files, 'LARGEST_SIDE', 20)
    pixels = np.random.default_rng(0).integers(0, 255, (37, 55, 3), np.uint8)
    preview = Preview((37, 55))
    for top in range(0, 37, 8):
        preview.add_image(top, pixels[top : top + 8])
        preview.add_labels(top, pixels[top : top + 8, :, 0])
    image = preview.image()
    assert image.shape == (13, 19, 3)
    cell = pixels[30:33, 3:6].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(image[10, 1], cell, atol=0.51)
    np.testing.assert_allclose(image[12, 18], pixels[36, 54], atol=0.51)
    assert preview.labels[10, 1] == pixels[31, 4, 0]
    assert preview.labels[12, 18] == pixels[36, 54, 0]


def test_names_of_files_never_collide(predict, photos, tmp_path):
    Image.new('RGB', (70, 60)).save(photos / 'a-labels.png')
    (photos / 'deep').mkdir()
    Image.new('RGB', (70, 60)).save(photos / 'deep' / 'a.png')
    code, report = predict(photos)
    assert code == 0
    paths = []
    for entry in report['files']:
        paths += [entry['picture'], *entry['saved']]
    assert len(paths) == len(set(paths)) == 12


def test_videos_get_a_painted_video_and_a_line_a_frame(predict, tmp_path):
    frames = [color_maps.scene(64, 96, [(30, 20 + 10 * n, 12, 1)]) for n in range(5)]
    video.write_clip(tmp_path / 'a.mp4', frames, 5.0)
    (tmp_path / 'b.mp4').write_bytes(b'no video')
    code, report = predict(tmp_path / 'a.mp4', tmp_path / 'b.mp4')
    assert code == 1
    entry, damaged = report['files']
    assert 'error' in damaged
    assert entry['answer']['frames'] == 5
    lines_path, clip_path = entry['saved']
    lines = [json.loads(line) for line in Path(lines_path).read_text().splitlines()]
    assert [line['objects'] for line in lines] == ['1 red'] * 5
    centers = [line['instances'][0]['centroid'][0] for line in lines]
    np.testing.assert_allclose(centers, [20, 30, 40, 50, 60], atol=1)
    assert video.read(clip_path).shape == (5, 256, 384, 3)


def test_hostile_files_are_named_and_do_not_stop_the_others(
    predict, photos, tmp_path, capsys
):
    data = (photos / 'a.png').read_bytes()
    (photos / 'cut.png').write_bytes(data[: len(data) // 2])
    (photos / 'text.tif').write_bytes(b'II*\0Dear Sir or Madam')
    (photos / 'empty.png').write_bytes(b'')
    for arguments in ((), ('--tile', '64')):
        code, report = predict(photos, *arguments)
        assert code == 1
        reasons = {}
        for entry in report['files']:
            reasons[entry['file'].rpartition('/')[2]] = entry.get('error')
        assert reasons['a.png'] is reasons['b.png'] is None
        assert all(reasons[name] for name in ('cut.png', 'text.tif', 'empty.png'))
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert not any('cut' in name or name.startswith('.') for name in names)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--scales', '0.5,x'), '--scales=0.5,x: expected numbers above 0'),
        (('--tile', '3'), '--tile=3: expected'),
        (('--tile', '64', '--overlap', '64'), '--overlap=64: expected'),
        (('--overlap', '6'), '--overlap=6: expected --tile, too'),
        (('--spacing', '0,1'), '--spacing=0,1: expected Y,X'),
        (('--spacing', '1', '--unit', 'km'), '--unit=km: expected mm or um'),
        (('--unit', 'um'), '--unit=um: expected --spacing'),
        (('--tiles', '64'), '--tiles: expected only with a detector'),
    ],
)
def test_mistakes_are_one_clear_line(predict, photos, capsys, arguments, message):
    code, report = predict(photos, *arguments)
    assert code == 2 and report is None
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--tile', '32'), '--tile=32: expected the size of the images that colours'),
        (('--scales', '2'), '--scales: expected a run. colours is an exported model'),
    ],
)
def test_an_exported_model_takes_one_size(predict, photos, capsys, arguments, message):
    code, _ = predict(photos, *arguments, takes_any_size=False)
    assert code == 2
    assert message in capsys.readouterr().err
    assert predict(photos, '--tile', '64', takes_any_size=False)[0] == 0
