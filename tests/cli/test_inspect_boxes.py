"""`inspect` for images with boxes: counts, sizes, coverage and pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxvision.cli import box_coverage, inspect
from jaxvision.core import config as configs
from jaxvision.data.protocol import RowSource, SourceInfo

# (name, x, y, width, height, class, crowd) in images of 100x80 pixels.
ROWS = [
    ('a', 10, 10, 20, 20, 1, 0),
    ('a', 50, 40, 40, 40, 2, 0),
    ('a', 0, 0, 90, 70, 2, 1),
    ('b', 5, 5, 3, 3, 1, 0),
    ('b', 30, 30, 0, 9, 1, 0),
    ('c', 200, 5, 10, 10, 1, 0),
    ('d', 20, 20, 30, 30, 2, 0),
]


@pytest.fixture
def dataset(tmp_path):
    """A dataset in COCO's format, with a box without area and one outside of its image."""
    folder = tmp_path / 'coco'
    annotations = {
        'images': [],
        'annotations': [],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    }
    for split, names in (('train', 'abc'), ('test', 'd')):
        (folder / f'{split}2017').mkdir(parents=True)
        images, objects = [], []
        for number, name in enumerate(names):
            pixels = np.full((80, 100, 3), 50 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f'{split}2017' / f'{name}.png')
            images.append(
                {'id': number, 'file_name': f'{name}.png', 'height': 80, 'width': 100}
            )
            for x, y, width, height, label, crowd in (
                row[1:] for row in ROWS if row[0] == name
            ):
                objects.append(
                    {
                        'id': len(objects) + 1,
                        'image_id': number,
                        'bbox': [x, y, width, height],
                        'area': width * height,
                        'category_id': label,
                        'iscrowd': crowd,
                    }
                )
        (folder / 'annotations').mkdir(exist_ok=True)
        content = {**annotations, 'images': images, 'annotations': objects}
        path = folder / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))
    return folder


def test_boxes_are_counted_by_class_and_size_and_odd_ones_are_named(
    dataset, tmp_path, capsys
):
    out = tmp_path / 'page'
    inspect.main([f'coco:{dataset}', '--out', str(out)])
    screen = capsys.readouterr().out
    assert 'boxes: 3 and 1 crowd regions; at most 2 in an image, none in 1' in screen
    assert 'boxes of each class: cat (2), dog (1)' in screen
    assert 'pixels): 2-4 (1), 16-32 (1), 32-64 (1)' in screen
    assert '1 box without area dropped' in screen
    assert '1 box outside of the image dropped' in screen
    report = json.loads((out / 'report.json').read_text())['splits']['train']['boxes']
    assert report['sides'] == {'2-4': 1, '16-32': 1, '32-64': 1}
    # The smallest box, from 5 to 8, contains none of the centres 4, 12, ..., but the centre 8 of
    # 8, 24, ..., and none of 16, 48, 80.
    assert list(report['coverage'].values()) == [2 / 3, 1.0, 2 / 3]
    sentence = 'with the centre of a cell of stride 8'
    assert next(iter(report['coverage'])) == sentence
    page = (out / 'index.html').read_text()
    assert 'Boxes of each class: cat (2), dog (1)' in page
    assert 'data:image/png;base64,' in page


def test_anchors_of_a_config_are_compared(dataset, capsys):
    name = f'detection:coco:{dataset},faster_rcnn'
    inspect.main([f'coco:{dataset}', '--json', '--config', name])
    report = json.loads(capsys.readouterr().out)['splits']['train']['boxes']
    values = list(report['coverage'].values())
    assert list(report['coverage']) == [
        f'best IoU with an anchor >= {least}' for least in (0.3, 0.5, 0.7)
    ]
    assert values == sorted(values, reverse=True)
    assert 0 < values[0] < 1  # No anchor is as small as the smallest box.


class Scenes(RowSource):
    """A source whose examples are not read."""

    def __len__(self):
        return 0

    def __getitem__(self, row):
        raise NotImplementedError

    def where(self, row):
        return str(row)


@pytest.mark.parametrize('name', ['faster_rcnn', 'retinanet'])
def test_an_anchors_own_box_is_covered(name):
    config = configs.load('detection:digit_scenes/64')
    config.model.name = name
    info = SourceInfo(
        name='',
        split='',
        class_names=('a',),
        image_shape=(64, 64, 3),
        multi_label=False,
        fingerprint='',
    )
    source = Scenes()
    source.info = info
    model = box_coverage.make_model(config, num_classes=1)
    anchors = np.concatenate(model.anchors((64, 64)))
    boxes = anchors[100:110].astype(np.float64)
    found = box_coverage.measure(config, source, [(boxes, (64, 64))])
    assert set(found.values()) == {1.0}
    far = boxes + 1000.0
    assert set(box_coverage.measure(config, source, [(far, (64, 64))]).values()) == {
        0.0
    }
    assert box_coverage.measure(config, source, []) == {}


def test_a_config_needs_boxes_and_a_detector(dataset, capsys):
    assert inspect.main(['digits', '--config', 'detection']) == 2
    assert (
        '--config=detection: expected a dataset with boxes' in capsys.readouterr().err
    )
    assert inspect.main([f'coco:{dataset}', '--config', 'cnn']) == 2
    assert '--config=cnn: expected a config of a detector' in capsys.readouterr().err
