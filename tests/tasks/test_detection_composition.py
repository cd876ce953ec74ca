"""Mosaic and mixup: pixels and boxes move together, and they end at their step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core import config as configs
from jaxvision.core import keys
from jaxvision.data.other_examples import Others, WithOthers
from jaxvision.data.pipeline import train_batches
from jaxvision.data.protocol import RowSource, SourceInfo, Unreadable
from jaxvision.tasks.detection import composition

ROOM = 12


def prepared(number, boxes):
    """An image of 40 x 60 pixels with each box filled in a colour of its own."""
    image = np.zeros((40, 60, 3), np.uint8)
    colors = 10 * number + np.arange(1, len(boxes) + 1)
    for (ymin, xmin, ymax, xmax), color in zip(boxes, colors, strict=True):
        image[ymin:ymax, xmin:xmax] = color
    example = {
        'image': image,
        'boxes': np.zeros((ROOM, 4), np.float32),
        'box_classes': np.zeros(ROOM, np.int32),
        'box_mask': np.arange(ROOM) < len(boxes),
        'crowd': np.zeros(ROOM, bool),
        'area': np.zeros(ROOM, np.float32),
    }
    example['boxes'][: len(boxes)] = np.reshape(boxes, (-1, 4))
    example['box_classes'][: len(boxes)] = colors
    return {**example, 'truth_boxes': example['boxes']}


SCENES = [
    prepared(0, [(2, 3, 12, 20), (20, 30, 38, 58)]),
    prepared(1, [(0, 0, 40, 8), (5, 40, 9, 44)]),
    prepared(2, []),
    prepared(3, [(15, 20, 30, 50)]),
]


@given(row=st.integers(10, 30), column=st.integers(15, 45))
@settings(max_examples=60, deadline=None)
def test_boxes_of_a_mosaic_are_around_the_pixels_of_their_objects(row, column):
    whole = composition.mosaic(SCENES, np.array([row, column]))
    mask = whole['box_mask']
    boxes = dict(
        zip(whole['box_classes'][mask].tolist(), whole['boxes'][mask], strict=True)
    )
    for scene in SCENES:
        for color, box in zip(scene['box_classes'], scene['boxes'], strict=True):
            if not color:
                continue
            ys, xs = np.nonzero(whole['image'][..., 0] == color)
            fraction = len(ys) / np.prod(box[2:] - box[:2])
            assert (int(color) in boxes) == (fraction >= 0.25)
            if int(color) in boxes:
                around = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
                np.testing.assert_array_equal(boxes[int(color)], around)
    assert not whole['boxes'][~mask].any()


def test_a_mixup_has_the_mean_of_the_pixels_and_all_boxes():
    mixed = composition.mixup(SCENES[0], SCENES[3])
    both = [SCENES[0]['image'], SCENES[3]['image']]
    np.testing.assert_allclose(mixed['image'], np.mean(both, axis=0), atol=0.5)
    assert sorted(mixed['box_classes'][mixed['box_mask']]) == [1, 2, 31]


class Numbers(RowSource):
    """Examples that are their row; one row cannot be read."""

    info = SourceInfo('numbers', 'train', (), (1, 1, 1), False, '', holds=('boxes',))

    def __len__(self):
        return 10

    def __getitem__(self, row):
        if row == 7:
            raise Unreadable('broken')
        return {'boxes': np.array(row)}


@pytest.fixture
def source():
    others = {'mosaic': Others(3, 0.5), 'mixup': Others(1, 1.0)}
    return WithOthers(Numbers(), others, seed=3, end=5)


def test_others_are_a_function_of_seed_step_and_row(source):
    def others(step, row):
        read = source.at_step(step)[row]['others']
        return {
            name: [int(one['boxes']) for one in more] for name, more in read.items()
        }

    assert others(1, 2) == others(1, 2)
    drawn = [others(step, row) for step in range(5) for row in range(7)]
    assert len({str(one) for one in drawn}) > 15
    assert 0.25 < np.mean(['mosaic' in one for one in drawn]) < 0.65
    assert all(len(one['mosaic']) == 3 for one in drawn if 'mosaic' in one)
    # Only the row that cannot be read is missing.
    assert {number for one in drawn for number in one.get('mixup', [])} <= set(
        range(10)
    ) - {7}


def test_others_end_at_their_step(source):
    assert 'others' in source.at_step(4)[0]
    assert source.at_step(5)[0].keys() == {'boxes'}
    assert source[0].keys() == {'boxes'}


def test_the_config_says_when_mosaic_and_mixup_end():
    config = configs.default('detection')
    config.train.steps = '100'
    source = Numbers()
    assert composition.with_others(config, source) is source
    config.task.augment.mosaic = 1.0
    config.task.augment.compose_until = 0.85
    with_others = composition.with_others(config, source)
    assert 'others' in with_others.at_step(84)[0]
    assert with_others.at_step(85)[0].keys() == {'boxes'}


def test_batches_hold_others_only_before_the_end(source):
    batches = train_batches(
        source,
        lambda example, rng: {'has': np.array('others' in example)},
        seed=0,
        batch_size=2,
        start=3,
        stop=7,
        threads=0,
        on_corrupt='replace',
    )
    assert [batch['has'].all() for batch in batches] == [True, True, False, False]


def test_a_partner_that_cannot_be_decoded_leaves_the_example_as_it_is():
    def prepare(example, rng):
        if example.get('is_broken'):
            raise Unreadable('no image')
        return SCENES[0]

    whole = composition.composing(prepare)(
        {'others': {'mixup': [{'is_broken': True}]}}, keys.host(0, 'prepare')
    )
    assert whole is SCENES[0]
