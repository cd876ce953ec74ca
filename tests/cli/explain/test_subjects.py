"""Targets and scores of each kind of model, on outputs made by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.cli.explain import check, object_masks, subjects
from jaxvision.cli.explain.explainer import Explainer
from jaxvision.cli.explain.methods import Settings
from jaxvision.cli.explain.subjects import Target
from jaxvision.cli.predict import finding
from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.task import Network, Task
from jaxvision.image.warp import Warp

SIZE = (4, 6)
NAMES = ('background', 'cat', 'dog')


@dataclasses.dataclass(frozen=True)
class Details:
    outputs: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()


def _unused(*arguments):
    raise AssertionError('not part of these tests')


def model_of(predictor, predict=None, *, targets=(), details=None, multi_label=False):
    """An opened model without variables, as an exported one."""
    spec = Spec(
        inputs={'image': ArraySpec((*SIZE, 3))},
        targets={name: ArraySpec((2,), 'int32') for name in targets},
        class_names=() if 'caption' in targets else NAMES,
        multi_label=multi_label,
        preprocessing=Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(1.0,) * 3),
        details=details or Details(),
    )
    task = Task(
        init=_unused,
        update=_unused,
        evaluations={},
        predict=predict or _unused,
        predictor=predictor,
    )
    return Model(name='model', task=task, spec=spec, predict=predict, threads=1)


def test_classes_are_the_likeliest_or_those_above_a_half():
    outputs = {'probabilities': np.array([0.6, 0.1, 0.7]), 'logits': np.zeros(3)}
    single = subjects.of_model(model_of('image'), ())
    first, *_ = single.targets({}, outputs)
    assert first.answer == {'class': 'dog', 'probability': 0.7}
    assert single.default_number == 1
    several = subjects.of_model(model_of('image', multi_label=True), ())
    targets = several.targets({}, outputs)
    assert [target.answer['class'] for target in targets] == ['dog', 'background']
    (named,) = subjects.of_model(model_of('image'), ['cat']).targets({}, outputs)
    assert named.numbers['class'] == 1


def test_the_score_of_a_class_is_its_logit_and_not_its_probability():
    subject = subjects.of_model(model_of('image'), ())
    logits = np.array([[1.0, 5.0, 2.0], [0.0, -3.0, 9.0]])
    numbers = {'class': np.int32(1)}
    np.testing.assert_array_equal(subject.score(jnp.asarray(logits), numbers), [5, -3])
    outputs = {'logits': logits, 'probabilities': logits / 10}
    np.testing.assert_array_equal(subject.host_score(outputs, numbers), [5, -3])
    np.testing.assert_array_equal(subject.probability(outputs, numbers), [0.5, -0.3])


def test_classes_of_pixels_are_scored_where_they_were_predicted():
    subject = subjects.of_model(model_of('segmenter'), ())
    probabilities = np.zeros((*SIZE, 3), np.float32)
    probabilities[..., 0] = 0.5
    probabilities[1, 2:5] = (0.1, 0.1, 0.8)
    probabilities[3, 0] = (0.2, 0.7, 0.1)
    dog, cat = subject.targets({}, {'probabilities': probabilities})
    assert dog.answer == {'class': 'dog', 'fraction': 0.125}
    assert cat.numbers['mask'].sum() == 1
    logits = jnp.zeros((2, *SIZE, 3)).at[0, 1, 2:5, 2].set(jnp.array([1.0, 2.0, 6.0]))
    outputs = {'logits': logits}
    np.testing.assert_allclose(subject.score(outputs, dog.numbers), [3, 0])
    np.testing.assert_allclose(subject.score(outputs, cat.numbers), [0, 0])
    odds = subject.host_score({'probabilities': probabilities[None]}, dog.numbers)
    np.testing.assert_allclose(odds, [np.log(4)], rtol=1e-5)
    chance = subject.probability({'probabilities': probabilities[None]}, dog.numbers)
    np.testing.assert_allclose(chance, [0.8], rtol=1e-6)


BOXES = np.array([[0, 0, 2, 2], [1, 1, 4, 5], [0, 0, 0, 0]], np.float32)
FOUND = {
    'boxes': BOXES,
    'scores': np.array([0.9, 0.6, 0.0]),
    'classes': np.array([1, 2, 0]),
    'valid': np.array([True, True, False]),
}
# The prepared image is twice the user's.
EXAMPLE = {
    'image': np.zeros((*SIZE, 3), np.uint8),
    'warp': Warp.resize((2, 3), SIZE).matrix,
    'original_size': np.array([2, 3]),
}


def test_boxes_are_detections_in_pixels_of_the_image():
    subject = subjects.of_model(model_of('detector'), ())
    cat, dog = subject.targets(EXAMPLE, FOUND)
    assert cat.answer == {'class': 'cat', 'score': 0.9, 'bbox': [0.0, 0.0, 1.0, 1.0]}
    assert dog.answer['bbox'] == [0.5, 0.5, 2.0, 1.5]
    (named,) = subjects.of_model(model_of('detector'), ['dog']).targets(EXAMPLE, FOUND)
    assert named.answer == dog.answer


def test_the_row_of_a_detection_is_the_best_of_its_class_at_its_box():
    subject = subjects.of_model(model_of('detector'), ())
    _, dog = subject.targets(EXAMPLE, FOUND)
    boxes = np.array([[0, 0, 2, 2], [1, 1, 4, 5], [1, 1, 4, 4], [1, 1, 4, 5]])
    scores = np.array([[0, 0, 0.99], [0, 0.9, 0.3], [0, 0, 0.6], [0, 0, 0.5]])
    found = subject.with_row(dog, {'boxes': boxes, 'scores': scores})
    # The first row is elsewhere, the second has a lower score.
    assert found.numbers['row'] == 2
    by_class = np.stack([np.zeros_like(boxes), np.zeros_like(boxes), boxes], axis=1)
    found = subject.with_row(dog, {'boxes': by_class, 'scores': scores})
    assert found.numbers['row'] == 2
    logits = jnp.asarray(scores)[None]
    np.testing.assert_allclose(subject.score({'logits': logits}, found.numbers), [0.6])


def test_logits_of_detectors_leave_out_the_background_and_earlier_layers():
    logits = jnp.arange(24.0).reshape(1, 2, 4, 3)
    of_queries = subjects.class_logits({'logits': logits})
    np.testing.assert_array_equal(of_queries, logits[:, 1])
    of_regions = subjects.class_logits({'logits': logits[:, 0], 'regions': None})
    np.testing.assert_array_equal(of_regions, logits[:, 0, :, 1:])
    objectness = jnp.ones((1, 4))
    of_cells = subjects.class_logits({'logits': logits[:, 0], 'objectness': objectness})
    np.testing.assert_array_equal(of_cells, logits[:, 0] + 1)


def test_published_detectors_have_outputs_in_another_order():
    model = model_of('detector', details=Details(outputs=(4, 0, 2)))
    subject = subjects.of_model(model, ())
    numbers = {'class': np.int32(2), 'row': np.int32(1)}
    logits = jnp.arange(10.0).reshape(1, 2, 5)
    np.testing.assert_array_equal(subject.score({'logits': logits}, numbers), [7])


def test_hidden_pixels_lower_the_score_of_a_box_by_score_and_place():
    subject = subjects.of_model(model_of('detector'), ())
    numbers = {'class': np.int32(2), 'box': BOXES[1]}
    half = np.array([[1, 1, 4, 3], [1, 1, 4, 5], [0, 0, 0, 0]], np.float32)
    outputs = {
        'boxes': np.stack([BOXES, half, BOXES]),
        'scores': np.array([[0.9, 0.6, 0.0], [0.8, 0.6, 0.0], [0.9, 0.6, 0.0]]),
        'classes': np.array([[1, 2, 0], [2, 1, 0], [1, 2, 0]]),
        'valid': np.array([[True, True, False]] * 2 + [[True, False, False]]),
    }
    got = subject.host_score(outputs, numbers)
    np.testing.assert_allclose(got, [0.6, 0.8 * 0.5, 0.0])


def test_words_are_those_before_the_end_of_the_caption():
    details = Details(vocabulary=('<end>', '<begin>', '<unknown>', 'a', 'dog'))
    model = model_of('image', targets=['caption'], details=details)
    subject = subjects.of_model(model, ())
    targets = subject.targets({}, {'caption': np.array([3, 4, 0, 0])})
    assert [target.answer['word'] for target in targets] == ['a', 'dog']
    assert subject.inputs(targets[0].numbers, 2)[0].shape == (2, 4)
    logits = jnp.arange(40.0).reshape(2, 4, 5)
    got = subject.score(logits, targets[1].numbers)
    np.testing.assert_array_equal(got, [9, 29])
    (named,) = subjects.of_model(model, ['dog']).targets(
        {}, {'caption': np.array([3, 4, 0, 0])}
    )
    assert named.answer == {'word': 'dog', 'place': 2}


def test_words_have_the_probabilities_of_the_network_after_the_words_before():
    details = Details(vocabulary=('<end>', '<begin>', '<unknown>', 'a', 'dog'))
    model = model_of('image', targets=['caption'], details=details)

    def apply(variables, images, caption):
        bright = images.mean((1, 2, 3))
        places = jnp.arange(caption.shape[1])[:, None] * jnp.arange(5.0)
        return bright[:, None, None] * places * variables, {}

    network = Network(normalize=lambda images: images, apply=apply)
    model = dataclasses.replace(
        model, task=dataclasses.replace(model.task, network=network), variables=2.0
    )
    subject = subjects.of_model(model, ())
    _, dog = subject.targets({}, {'caption': np.array([3, 4])})
    explainer = Explainer(model, subject, Settings(parts=2))
    images = np.zeros((2, *SIZE, 3), np.float32)
    images[1] = 1
    logits = 2 * np.arange(5.0)
    chances = np.exp(logits) / np.exp(logits).sum()
    got = explainer.probability(dog)(images)
    np.testing.assert_allclose(got, [0.2, chances[4]], rtol=1e-5)
    np.testing.assert_allclose(explainer.host_score(dog)(images), [0, 8], rtol=1e-5)


def test_other_models_are_refused():
    with pytest.raises(UserError, match="predictor='generator'"):
        subjects.of_model(model_of('generator'), ())
    with pytest.raises(UserError, match="no class 'bird'"):
        subjects.of_model(model_of('image'), ['bird'])


def brightness_model():
    """An exported classifier: the mean of red, green and blue are its logits."""

    def predict(inputs):
        assert inputs['image'].dtype == np.uint8
        logits = inputs['image'].mean(axis=(1, 2)) / 255
        return {'logits': logits, 'probabilities': logits}

    return model_of('image', predict)


def test_exported_models_are_explained_by_hidden_pixels_alone():
    model = brightness_model()
    explainer = Explainer(model, subjects.of_model(model, ()), Settings(parts=2))
    pixels = np.full((*SIZE, 3), 102, np.uint8)
    pixels[1, 4, 2] = 255
    pixels[2:, :3, 2] = 25
    (target,) = explainer.targets(pixels, {'image': pixels}, 1)
    assert target.answer['class'] == 'background'
    blue = dataclasses.replace(target, numbers={'class': np.int32(2)})
    for method in ('occlusion', 'rise', 'shapley'):
        explainer.check(method)
        found = explainer.explain(method, pixels, blue, 0)
        assert found.map.shape == SIZE
        assert found.facts['baselines'] == ['mean']
    # Shapley values of four parts, whose sum is the difference of the scores.
    values = found.map[[0, 0, 3, 3], [0, 5, 0, 5]]
    mean = np.rint(255 * 0.5)
    difference = (pixels[..., 2].mean() - mean) / 255
    assert values.sum() == pytest.approx(difference, abs=1e-6)
    assert values.argmax() == 1 and values.argmin() == 2
    with pytest.raises(UserError, match='exported models have no gradients'):
        explainer.check('grad_cam')


def test_padding_of_a_prepared_image_is_not_shown():
    example = {
        'image': np.zeros((10, 10, 3), np.uint8),
        'warp': Warp.resize((20, 40), (5, 10)).then(Warp.crop(-2, 0, (10, 10))).matrix,
        'original_size': np.array([20, 40]),
    }
    assert finding.visible_part(example) == (slice(2, 7), slice(0, 10))
    assert finding.visible_part(EXAMPLE) == (slice(0, 4), slice(0, 6))


DATA = object_masks.Annotated(semantic_names=NAMES, class_names=NAMES, shows_all=True)


def mask_of(annotation, example=EXAMPLE, data=DATA, *, answer=None, **numbers):
    target = Target(name='', numbers=numbers, answer=answer or {})
    return object_masks.of_target(annotation, example, target, data)


def test_the_mask_of_a_box_is_the_annotated_box_of_its_class():
    annotation = {
        'boxes': np.array([[0, 0, 1, 1], [0.5, 0.5, 2, 2.5]]),
        'box_classes': np.array([1, 2]),
        'box_mask': np.array([True, True]),
    }
    mask = mask_of(annotation, **{'class': np.int32(2), 'box': BOXES[1]})
    expected = np.zeros(SIZE, bool)
    expected[1:4, 1:5] = True
    np.testing.assert_array_equal(mask, expected)
    assert mask_of(annotation, **{'class': np.int32(1), 'box': BOXES[1]}) is None
    semantic = np.zeros(SIZE, np.uint8)
    semantic[0, 3] = 2
    example = {**EXAMPLE, 'semantic': semantic}
    mask = mask_of({}, example, **{'class': np.int32(2), 'mask': None})
    np.testing.assert_array_equal(mask, semantic == 2)


def test_the_mask_of_a_class_or_a_word_is_that_of_its_name():
    semantic = np.zeros((2, 3), np.uint8)
    semantic[0, 2] = 2
    expected = np.zeros(SIZE, bool)
    expected[:2, 4:] = True
    for answer in ({'class': 'dog'}, {'word': 'dog', 'place': 4}):
        mask = mask_of({'semantic': semantic}, answer=answer)
        np.testing.assert_array_equal(mask, expected)
    assert mask_of({'semantic': semantic}, answer={'word': 'the'}) is None
    assert mask_of({'semantic': semantic}, answer={'word': 'cat'}) is None
    boxes = {
        'image': np.zeros((2, 3, 3)),
        'boxes': np.array([[0, 0, 1, 1], [0, 2, 1, 3]]),
        'box_classes': np.array([1, 2]),
    }
    mask = mask_of(boxes, answer={'word': 'dog'})
    np.testing.assert_array_equal(mask, expected)
    cropped = dataclasses.replace(DATA, shows_all=False)
    assert mask_of({'semantic': semantic}, data=cropped, answer={'word': 'dog'}) is None
    # The size of an encoded image is not known.
    assert mask_of({**boxes, 'image': b''}, answer={'word': 'dog'}) is None


def test_margins_count_standard_errors_of_paired_differences():
    rng = np.random.default_rng(0)
    chance = rng.random(50)
    values = [
        {
            'pointing': value + 0.5 + 0.1 * (-1) ** row,
            'pointing, random weights': value,
        }
        for row, value in enumerate(chance)
    ]
    others = [{'pointing': value} for value in chance]
    rows = {'center': others, 'brightness': others}
    summary = check._summary(values, rows)
    error = 0.1 * np.sqrt(50 / 49) / np.sqrt(50)
    assert summary['pointing, margin'].mean == pytest.approx(0.5 / error)
    assert str(check.Mean.of([1.0, 2.0])) == '1.500 ± 0.500'
    assert str(check.Mean.of([])) == '-'
