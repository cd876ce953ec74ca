"""Conventions of detectors that no picture shows, for given outputs of a network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.box_files import write_coco, write_image
from helpers.data_config import data_config
from helpers.raw_detections import suppressed
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.boxes import conversions
from jaxvision.cli.predict import finding
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Preprocessing
from jaxvision.core.state import create
from jaxvision.data import sources
from jaxvision.image import warp
from jaxvision.models.detectors import (
    dense_detector,
    faster_rcnn,
    retinanet,
    rt_detr,
    yolox,
)
from jaxvision.pretrained import recipes
from jaxvision.tasks.detection import canvases, evaluation, preparation, task
from jaxvision.tasks.detection.anchor_stage import AnchorStage
from jaxvision.tasks.detection.grid_stage import GridStage
from jaxvision.tasks.detection.network import limits_of
from jaxvision.tasks.detection.one_stage import OneStage
from jaxvision.tasks.detection.query_stage import QueryStage
from jaxvision.tasks.detection.two_stage import TwoStage
from jaxvision.train import update

HEIGHT, WIDTH = 40, 64
BACKBONE = 'cnn:4x1-8x1-8x1-8x1'
CLASSES = 3


class Given:
    """A detector whose network gives its variables, and whose images are not augmented."""

    def augment(self, batch, key):
        images = jnp.zeros((len(batch['boxes']), HEIGHT, WIDTH, 3))
        return images, batch['boxes']

    def train(self, params, state, images, batch, key, **options):
        return params, {}

    def outputs(self, variables, inputs, **options):
        return variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenOneStage(Given, OneStage):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenTwoStage(Given, TwoStage):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenAnchorStage(Given, AnchorStage):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenQueryStage(Given, QueryStage):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenGridStage(Given, GridStage):
    pass


def make_one_stage():
    model = dense_detector.make(
        BACKBONE, num_classes=CLASSES, strides='4-8', width=8, depth=1
    )
    return GivenOneStage(model=model, **common())


def make_two_stage():
    model = faster_rcnn.make(
        BACKBONE, num_classes=CLASSES, strides='4-8', width=8, hidden=8, regions=4
    )
    return GivenTwoStage(model=model, **common())


def make_anchor_stage():
    model = retinanet.make(BACKBONE, num_classes=CLASSES, strides='4-8', width=8)
    return GivenAnchorStage(model=model, **common())


def make_query_stage():
    # The network is not used.
    return GivenQueryStage(model=None, **common())


def make_grid_stage():
    model = yolox.make('0.33x0.125', num_classes=CLASSES)
    return GivenGridStage(model=model, **common())


def common():
    spec = task.Spec(
        inputs={'image': ArraySpec((HEIGHT, WIDTH, 3))},
        targets=preparation.targets(4),
        class_names=('a', 'b', 'c'),
        preprocessing=Preprocessing(size=(HEIGHT, WIDTH), resize='none'),
        details=task.Details(),
    )
    options = configs.default('detection').task
    return {'spec': spec, 'options': options, 'dtype': jnp.dtype('float32')}


def images(number=1):
    return {'image': np.zeros((number, HEIGHT, WIDTH, 3), np.uint8)}


def objects(boxes, classes, room=4):
    """The ground truth of one image, padded."""
    count = len(boxes)
    padded = np.zeros((room, 4), np.float32)
    padded[:count] = np.reshape(boxes, (-1, 4))
    numbers = np.zeros(room, np.int32)
    numbers[:count] = classes
    return {
        'boxes': padded,
        'box_classes': numbers,
        'box_mask': np.arange(room) < count,
        'crowd': np.zeros(room, bool),
    }


def stacked(*examples):
    batch = jax.tree.map(lambda *arrays: jnp.stack(arrays), *examples)
    return {**batch, 'index': jnp.arange(len(examples))}


def no_network(params):
    return create(jax.random.key(0), {'model': params}, {'model': optax.sgd(0.0)})


def cells_of(boxes, classes):
    """Outputs of a one-stage detector that finds these boxes, each by one cell."""
    centers, _ = make_one_stage().model.cells((HEIGHT, WIDTH))
    logits = np.full((len(centers), CLASSES), -8, np.float32)
    distances = np.zeros((len(centers), 4), np.float32)
    for box, number in zip(np.asarray(boxes, np.float32), classes, strict=True):
        middle = (box[:2] + box[2:]) / 2
        cell = np.abs(centers - middle).sum(axis=1).argmin()
        logits[cell, number] = 8
        distances[cell] = [*(centers[cell] - box[:2]), *(box[2:] - centers[cell])]
    return {'logits': jnp.asarray(logits), 'distances': jnp.asarray(distances)}


def test_the_limits_of_boxes_are_height_and_width_twice():
    limits = limits_of(images(2))
    np.testing.assert_array_equal(limits, 2 * [[HEIGHT, WIDTH, HEIGHT, WIDTH]])


def test_a_wide_image_has_boxes_at_all_places():
    boxes = [[4, 4, 12, 20], [20, 44, 38, 62], [-9, 30, 9, 50], [30, 50, 49, 90]]
    outputs = cells_of(boxes, [0, 1, 2, 0])
    found = jax.jit(make_one_stage().predict)(stacked(outputs), images())
    valid = np.asarray(found['valid'][0])
    order = np.lexsort(np.asarray(found['boxes'][0])[valid].T)
    boxes = np.clip(boxes, 0, [HEIGHT, WIDTH, HEIGHT, WIDTH])
    np.testing.assert_allclose(
        np.asarray(found['boxes'][0])[valid][order],
        boxes[np.lexsort(boxes.T)],
        atol=1e-4,
    )


def test_detections_with_low_scores_are_kept_for_the_metric():
    outputs = cells_of([[4, 4, 12, 20]], [1])
    # The sigmoid of -3.9 is 0.02.
    outputs['logits'] = jnp.where(outputs['logits'] > 0, -3.9, -8.0)
    found = jax.jit(make_one_stage().predict)(stacked(outputs), images())
    truth = {
        'warp': jnp.eye(2, 3)[None],
        'original_size': jnp.array([[HEIGHT, WIDTH]]),
        'truth_boxes': jnp.zeros((1, 2, 4)),
        'area': jnp.zeros((1, 2)),
        **stacked(objects([], [], room=2)),
    }
    records = evaluation.record(found, truth)
    assert int(records['valid'].sum()) == 1
    assert float(records['scores'].max()) == pytest.approx(0.02, abs=1e-3)


def regions_of(boxes, classes):
    """Outputs of a two-stage detector; only the deltas of a region's class are 0.

    Args:
        boxes: the regions.
        classes: of the regions, and None for background.
    """
    logits = np.full((len(boxes), CLASSES + 1), -10, np.float32)
    deltas = np.full((len(boxes), CLASSES + 1, 4), 3, np.float32)
    for row, number in enumerate(classes):
        column = 0 if number is None else number + 1
        logits[row, column] = 10
        deltas[row, column] = 0
    anchors = np.concatenate(make_two_stage().model.anchors((HEIGHT, WIDTH)))
    return {
        'regions': jnp.asarray(boxes, jnp.float32),
        'logits': jnp.asarray(logits),
        'deltas': jnp.asarray(deltas),
        'objectness': jnp.full(len(anchors), -10.0),
        'anchor_deltas': jnp.zeros((len(anchors), 4)),
    }


BOXES = [[4, 4, 14, 20], [20, 44, 38, 62], [4, 30, 20, 40]]


def test_class_0_of_the_second_stage_is_the_background_in_inference():
    outputs = regions_of(BOXES, [0, 2, None])
    found = jax.jit(make_two_stage().predict)(stacked(outputs), images())
    valid = np.asarray(found['valid'][0])
    assert valid.sum() == 2
    assert sorted(np.asarray(found['classes'][0])[valid].tolist()) == [0, 2]
    for box, number in zip(found['boxes'][0][:2], found['classes'][0], strict=False):
        np.testing.assert_allclose(box, BOXES[0 if number == 0 else 1], atol=1e-4)


def random_outputs(detector):
    """Outputs of a network for two images, whose boxes overlap each other and the edges."""
    size = (HEIGHT, WIDTH)
    rng = np.random.default_rng(0)

    def normal(scale, *shape):
        return rng.normal(scale=scale, size=(2, *shape)).astype(np.float32)

    if isinstance(detector, GivenTwoStage):
        corners = rng.uniform(-5, 50, (2, 20, 2, 2)).astype(np.float32)
        return {
            'regions': np.sort(corners, axis=2).reshape(2, 20, 4),
            'logits': normal(2, 20, CLASSES + 1),
            'deltas': normal(2, 20, CLASSES + 1, 4),
        }
    if isinstance(detector, GivenAnchorStage):
        number = sum(map(len, detector.model.anchors(size)))
        return {'logits': normal(2, number, CLASSES), 'deltas': normal(0.5, number, 4)}
    number = len(detector.model.cells(size)[0])
    logits = normal(2, number, CLASSES)
    if isinstance(detector, GivenGridStage):
        edges = normal(0.5, number, 4)
        return {'logits': logits, 'edges': edges, 'objectness': normal(2, number)}
    return {'logits': logits, 'distances': 5 + normal(5, number, 4)}


@pytest.mark.parametrize(
    'make', [make_one_stage, make_two_stage, make_anchor_stage, make_grid_stage]
)
def test_suppression_of_the_raw_predictions_gives_the_detections(make):
    detector = make()
    outputs = random_outputs(detector)
    several = isinstance(detector, GivenTwoStage | GivenAnchorStage)

    @jax.jit
    def both(outputs):
        return (
            detector.predict(outputs, images(2)),
            detector.raw_predict(outputs, images(2)),
        )

    expected, raw = both(outputs)
    assert raw['scores'].shape[-1] == CLASSES
    found = suppressed(raw, detector.options, several=several)
    # YOLOX clips boxes after the suppression.
    found['boxes'] = np.clip(found['boxes'], 0, 2 * [HEIGHT, WIDTH])
    assert expected['valid'].sum() > 10
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-4)


def test_the_best_raw_predictions_of_queries_are_the_detections():
    detector = make_query_stage()
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 1, 50, CLASSES)).astype(np.float32)
    boxes = rng.uniform(0.1, 0.9, (2, 1, 50, 4)).astype(np.float32)
    outputs = {'logits': logits, 'boxes': boxes}
    expected = jax.jit(detector.predict)(outputs, images(2))
    raw = jax.jit(detector.raw_predict)(outputs, images(2))
    scores = np.asarray(raw['scores']).reshape(2, -1)
    order = np.argsort(-scores, axis=1)[:, : expected['scores'].shape[1]]
    rows = np.arange(2)[:, None]
    np.testing.assert_allclose(scores[rows, order], expected['scores'], atol=1e-6)
    found = np.asarray(raw['boxes'])[rows, order // CLASSES]
    np.testing.assert_allclose(found, expected['boxes'], atol=1e-4)


def terms_of(detector, outputs, batch):
    """{name: (sum of the values, sum of the weights)} of a loss."""

    @jax.jit
    def sums(outputs):
        terms, _ = detector.loss(outputs, no_network({}), batch, jax.random.key(0))
        return jax.tree.map(jnp.sum, terms)

    return jax.tree.map(float, sums(outputs))


def test_class_0_of_the_second_stage_is_the_background_in_training():
    outputs = stacked(regions_of(BOXES, [0, 2, None]))
    batch = stacked(objects(BOXES[:2], [0, 2]))
    terms = terms_of(make_two_stage(), outputs, batch)
    assert terms['class'] == pytest.approx((0, 3), abs=1e-6)
    assert terms['box'] == pytest.approx((0, 3), abs=1e-6)
    wrong = terms_of(make_two_stage(), outputs, stacked(objects(BOXES[:2], [1, 2])))
    assert wrong['class'][0] == pytest.approx(20, abs=1e-3)
    assert wrong['box'][0] > 1


def test_regions_in_padded_slots_change_no_loss():
    """The regions of training end with the ground truth: 3 slots or 50."""
    terms = []
    for room in (3, 50):
        truth = objects(BOXES[:2], [0, 2], room)
        proposals = [[5, 5, 15, 21], [21, 40, 38, 60], [1, 1, 9, 9], [9, 9, 30, 60]]
        regions = [*proposals, *np.asarray(truth['boxes']).tolist()]
        outputs = regions_of(regions, len(regions) * [1])
        terms.append(terms_of(make_two_stage(), stacked(outputs), stacked(truth)))
    assert terms[0] == terms[1]


def test_anchors_learn_neither_padding_nor_crowds_and_silence_without_objects():
    detector = make_anchor_stage()
    number = sum(map(len, detector.model.anchors((HEIGHT, WIDTH))))
    rng = np.random.default_rng(0)
    outputs = {
        'logits': rng.normal(size=(number, CLASSES)).astype(np.float32),
        'deltas': rng.normal(size=(number, 4)).astype(np.float32),
    }

    def terms(truth):
        return terms_of(detector, stacked(outputs), stacked(truth))

    assert terms(objects(BOXES, [0, 2, 1], 3)) == terms(objects(BOXES, [0, 2, 1], 50))
    empty = terms(objects([], []))
    assert empty['box'] == (0, 1)
    assert np.isfinite(empty['class'][0])
    assert empty['class'][0] > 1
    # Everything is a crowd, also beyond the image, where some anchors have their centres.
    everywhere = objects([[-99, -99, 199, 199]], [0])
    everywhere['crowd'][0] = True
    assert terms(everywhere) == {'class': (0, 1), 'box': (0, 1)}


def queries_of(boxes, classes):
    """Outputs of two layers with a query for each box; the last one says nothing."""
    fractions = np.asarray([*boxes, [0, 0, 8, 8]]) / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    boxes = np.asarray(conversions.to_center_size(jnp.asarray(fractions)))
    logits = np.full((len(boxes), CLASSES), -10, np.float32)
    logits[range(len(classes)), classes] = 10
    outputs = {'logits': logits, 'boxes': boxes.astype(np.float32)}
    return {name: np.stack([values, values]) for name, values in outputs.items()}


def test_queries_are_detections_without_suppression():
    """Equal boxes stay; a query may have several classes; boxes end at the border."""
    boxes = [[4, 4, 14, 20], [4, 4, 14, 20], [20, 44, 60, 99]]
    outputs = queries_of(boxes, [0, 0, 2])
    outputs['logits'][1, 2, 1] = 9
    found = jax.jit(make_query_stage().predict)(stacked(outputs), images())
    valid = np.asarray(found['valid'][0])
    assert np.asarray(found['classes'][0])[valid].tolist() == [0, 0, 2, 1]
    expected = [*boxes[:2], [20, 44, HEIGHT, WIDTH], [20, 44, HEIGHT, WIDTH]]
    np.testing.assert_allclose(found['boxes'][0][valid], expected, atol=1e-4)
    assert not np.asarray(found['boxes'][0])[~valid].any()


def test_queries_learn_one_object_each_and_no_padding():
    perfect = queries_of(BOXES, [0, 2, 1])
    for room in (3, 4):
        truth = objects(BOXES, [0, 2, 1], room)
        terms = terms_of(make_query_stage(), stacked(perfect), stacked(truth))
        assert terms['class'] == pytest.approx((0, 3), abs=1e-3)
        assert terms['box'] == pytest.approx((0, 3), abs=1e-4)
    # The second query of an object is a false positive, in both layers.
    double = queries_of([*BOXES, BOXES[0]], [0, 2, 1, 0])
    terms = terms_of(make_query_stage(), stacked(double), stacked(truth))
    assert terms['class'] == pytest.approx((2 * 0.75 * 10, 3), abs=1e-2)
    assert terms['box'] == pytest.approx((0, 3), abs=1e-4)


def test_queries_in_a_crowd_have_no_loss_and_those_without_objects_have_one():
    outputs = stacked(queries_of(BOXES, [0, 2, 1]))
    empty = terms_of(make_query_stage(), outputs, stacked(objects([], [])))
    assert empty['class'] == pytest.approx((2 * 3 * 0.75 * 10, 0.1), abs=1e-2)
    assert empty['box'] == pytest.approx((0, 0.1))
    everywhere = objects([[0, 0, HEIGHT, WIDTH]], [0])
    everywhere['crowd'][0] = True
    crowd = terms_of(make_query_stage(), outputs, stacked(everywhere))
    assert crowd['class'][0] == crowd['box'][0] == 0


def test_more_boxes_than_queries_are_refused():
    outputs = stacked(queries_of(BOXES[:1], [0]))
    with pytest.raises(UserError, match='queries=2: expected at least 4'):
        terms_of(make_query_stage(), outputs, stacked(objects(BOXES, [0, 2, 1])))


def test_the_loss_of_a_batch_is_no_mean_of_the_means_of_its_images():
    """Two objects and none: all is divided by the matches of the whole batch."""
    detector = make_one_stage()
    outputs = stacked(cells_of(BOXES[:2], [0, 2]), cells_of(BOXES[2:], [1]))
    outputs.pop('index')
    batch = stacked(objects(BOXES[:2], [0, 2]), objects([], []))
    step = update.from_loss(detector.loss, optax.sgd(0.0))

    @jax.jit
    def terms_and_mean(outputs):
        terms, _ = detector.loss(outputs, no_network({}), batch, jax.random.key(0))
        _, scalars = step(no_network(outputs), batch)
        return terms['class'], scalars['class']

    (values, weights), mean = terms_and_mean(outputs)
    # The least weight of an image is 0.1.
    np.testing.assert_allclose(weights, [2.1, 0.1], rtol=1e-5)
    assert float(values[1]) > 1
    assert float(mean) == pytest.approx(float(values.sum()) / 2.2, rel=1e-5)


@pytest.mark.parametrize(
    'make, variant, options',
    [
        (dense_detector.make, BACKBONE, {'strides': '4-8', 'width': 8, 'depth': 1}),
        (
            faster_rcnn.make,
            BACKBONE,
            {'strides': '4-8', 'width': 8, 'hidden': 8, 'regions': 4},
        ),
        (retinanet.make, BACKBONE, {'strides': '4-8', 'width': 8}),
        (yolox.make, '0.33x0.125', {}),
        (rt_detr.make, BACKBONE, {'strides': '2-4-8', 'width': 16, 'hidden': 8}),
    ],
)
def test_bfloat16_ends_before_boxes_and_scores(make, variant, options):
    """A bfloat16 knows 1,333 only as 1,336, and hardly tells two scores apart."""
    model = make(variant, num_classes=2, dtype=jnp.bfloat16, **options)
    image = jnp.zeros((1, 64, 96, 3), jnp.float32)
    outputs, _ = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), image)[0]
    )
    assert {leaf.dtype.name for leaf in outputs.values()} == {'float32'}


def test_the_canvas_of_a_published_detector_depends_on_its_image_alone():
    preprocessing = Preprocessing(
        size=(64, 96), resize='bounded', mean=3 * (0.5,), std=3 * (0.2,)
    )
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (90, 30), (40, 41), (200, 40), (40, 60)]
    pictures = [rng.integers(0, 255, (*size, 3)).astype(np.uint8) for size in sizes]
    examples = [canvases.bounded(picture, preprocessing) for picture in pictures]
    shapes = [example['image'].shape[:2] for example in examples]
    # The shorter side has 64 pixels if the longer one then has at most 96.
    assert shapes == [(64, 96), (96, 32), (64, 96), (96, 32), (64, 96)]
    for picture, example in zip(pictures, examples, strict=True):
        again = canvases.bounded(picture, preprocessing)
        jax.tree.map(np.testing.assert_array_equal, again, example)


def test_a_recipe_that_cuts_off_the_border_is_refused():
    spec = common()['spec']
    cropped = recipes.named('torchvision').at(HEIGHT).preprocessing()
    with pytest.raises(UserError, match='--recipe=torchvision: .* cuts off the border'):
        preparation.make_prepare(
            configs.default('detection'), spec.replace(preprocessing=cropped)
        )


def resized_between(source, target):
    return warp.Warp.resize(source, canvases.bounded_size(source, *sorted(target)))


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 2**31),
    st.sampled_from([warp.letterbox, warp.top_left, resized_between]),
)
def test_boxes_come_back_from_the_canvas_for_every_size(seed, place):
    """5,000 images of any sizes, by the arithmetic of evaluation and by that of `predict`."""
    rng = np.random.default_rng(seed)
    maps = []
    moved = []
    sizes = rng.integers(1, 3000, (250, 2))
    corners = np.sort(rng.uniform(size=(250, 2, 2)), axis=1) * sizes[:, None]
    boxes = corners.reshape(-1, 4)
    for size, box in zip(sizes.tolist(), boxes, strict=True):
        map_ = place(tuple(size), tuple(rng.integers(32, 1024, 2).tolist()))
        maps.append(map_.matrix.astype(np.float32))
        moved.append(map_.boxes(box[None]).astype(np.float32))
    evaluated = evaluation.to_original(
        jnp.asarray(np.stack(moved)), jnp.asarray(np.stack(maps)), jnp.asarray(sizes)
    )
    one = {'scores': np.ones(1), 'classes': np.zeros(1, int), 'valid': np.ones(1, bool)}
    predicted = [
        finding.in_view(
            {'warp': matrix, 'original_size': size}, {'boxes': box, **one}
        ).boxes
        for matrix, size, box in zip(maps, sizes, moved, strict=True)
    ]
    scales = np.array([min(np.diag(matrix)) for matrix in maps])
    for found in (evaluated, predicted):
        errors = np.abs(np.asarray(found)[:, 0] - boxes).max(axis=1)
        # A float32 of a canvas of 1,024 pixels is exact to 6e-5.
        assert (errors <= 3e-4 / np.minimum(scales, 1)).all()


def test_category_ids_of_the_annotations_come_back(tmp_path):
    """The network counts classes from 0; the annotations say 7, 30 and 91."""
    categories = ((91, 'c'), (7, 'a'), (30, 'b'))
    names = [f'{number}.png' for number in range(10)]
    for name in names:
        write_image(tmp_path / 'pictures' / name)
    path = write_coco(
        tmp_path / 'objects.json',
        [(row, name, 40, 30) for row, name in enumerate(names)],
        [(row, (7, 30, 91)[row % 3], [1, 2, 10, 12]) for row in range(10)],
        categories,
    )
    config = configs.default('detection')
    config.data.source = f'coco:{path}'
    config.data.images = str(tmp_path / 'pictures')
    config.data.image_size = 32
    source = sources.open_source(
        data_config(source=config.data.source, images=config.data.images), 'train'
    )
    spec = task.describe(config.lock(), source)
    assert spec.class_names == ('a', 'b', 'c')
    assert spec.details.category_ids == (7, 30, 91)
    for row in range(len(source)):
        (label,) = source.boxes_of(row)['box_classes']
        number = int(source.where(row).rsplit('/', 1)[-1].removesuffix('.png'))
        assert spec.details.category_ids[label] == (7, 30, 91)[number % 3]
