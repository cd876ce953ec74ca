"""The report on label maps: pixels of each class, ignored pixels, and pictures of them."""

import base64
import io
import json
import re

import numpy as np
import pytest
from helpers.mask_files import labels, write_pair
from PIL import Image

from jaxvision.cli import inspect
from jaxvision.data import masks_inspection
from jaxvision.data.noise import Noise


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'street'
    write_pair(root, 'a', labels([0, 0, 0, 255], [1, 1, 0, 255]), 'train')
    write_pair(root, 'b', labels([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]), 'train')
    write_pair(root, 'c', labels([2, 1], [2, 0]), 'test')
    (root / 'classes.csv').write_text('name,value\nroad,0\ncar,1\nsky,2')
    return root


def report_of(source, capsys, *arguments):
    code = inspect.main([source, '--json', *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_pixels_and_images_of_each_class(folder, capsys):
    code, report = report_of(f'masks:{folder}', capsys)
    train = report['splits']['train']['masks']
    assert train['pixels'] == 18 and train['ignored'] == 2 / 18
    assert train['fractions'] == {'road': 14 / 16, 'car': 2 / 16, 'sky': 0}
    assert train['images'] == {'road': 2, 'car': 1, 'sky': 0}
    assert train['empty'] == 1 and train['other_sizes'] == []
    assert code == 1
    assert report['warnings'] == ["classes without a train pixel: 1, such as 'sky'"]


def pictures(page):
    for data in re.findall(r'data:image/png;base64,([^"]+)', page):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))


def test_the_page_shows_the_classes(folder, capsys, tmp_path):
    out = tmp_path / 'report'
    assert inspect.main([f'masks:{folder}', '--out', str(out)]) == 1
    text = capsys.readouterr().out
    assert '18 pixels, 11.11% of them ignored; the first class alone in 1 image' in text
    assert 'pixels of each class (images): road 87.50% (2), car 12.50% (1), sky' in text
    (sheet,) = pictures((out / 'index.html').read_text())
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    assert len(colors) > 3  # the image is black on a white page


def test_objects_of_instance_maps_are_counted(tmp_path, capsys):
    root = tmp_path / 'cells'
    for split, seed in (('train', 0), ('test', 1)):
        rng = np.random.default_rng(seed)
        numbers = np.repeat(rng.permutation(6)[None], 5 + seed, 0).repeat(9, 1)
        write_pair(root, f'{seed}', numbers.astype(np.uint16), split)
    out = tmp_path / 'report'
    code, report = report_of(f'masks:{root}', capsys, '--out', str(out))
    assert code == 0
    train = report['splits']['train']
    assert train['boxes']['boxes'] == 5
    assert train['masks']['fractions'] == pytest.approx(
        {'background': 1 / 6, 'object': 5 / 6}
    )
    (sheet,) = pictures((out / 'index.html').read_text())
    assert sheet.max() == 255


def test_another_size_of_the_label_map_is_named():
    source = Noise(size=4, classes=3, examples=2)
    info = source.info
    object.__setattr__(info, 'holds', ('image', 'semantic'))
    object.__setattr__(info, 'semantic_names', ('a', 'b'))
    counts = [masks_inspection.count(labels([0, 1])), None]
    report = masks_inspection.report_on(source, ['4x4', ''], counts)
    assert report.other_sizes == [f'{source.where(0)}: 4x4, label map 2x1']
    assert '1 train image of another size than their label map' in (
        masks_inspection.warnings(report, 'train')
    )
