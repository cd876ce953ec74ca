"""What calibration.json does to a classifier: probabilities, conformal sets, damaged values."""

import json
import math

import jax
import numpy as np
import pytest
from scipy import special

from jaxvision.core.errors import UserError
from jaxvision.core.task import Task
from jaxvision.metrics import conformal
from jaxvision.tasks.shared import calibrated
from jaxvision.tasks.shared.calibrated import Calibration

FITTED = Calibration(
    temperature=2.5,
    alpha=0.1,
    method='aps',
    thresholds={'lac': 0.75, 'aps': 0.8, 'raps': math.inf},
    examples=50,
    penalty=0.2,
    free_ranks=1,
)
LOGITS = np.array([[4.0, 1.0, -2.0], [0.5, 0.0, 0.25]], np.float32)


@pytest.fixture
def task():
    def predict(variables, inputs):
        logits = inputs['image'] * variables
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    return Task(init=print, update=print, evaluations={}, predict=predict)


def test_values_survive_a_file():
    text = json.dumps(FITTED.to_json(), allow_nan=False)
    assert Calibration.from_json(json.loads(text)) == FITTED


def test_other_tasks_and_runs_stay_as_they_are(task):
    for values in ({}, {'split': 'validation', 'step': 3, 'score': 0.4}):
        assert calibrated.with_temperature(task, values) is task
        assert calibrated.show_sets(values, 'abc', LOGITS.sum) == LOGITS.sum


def test_the_temperature_divides_the_logits_once(task):
    cooled = calibrated.with_temperature(task, FITTED.to_json())
    outputs = cooled.predict(2.0, {'image': LOGITS})
    np.testing.assert_allclose(outputs['logits'], LOGITS * 2 / 2.5, rtol=1e-6)
    expected = special.softmax(LOGITS * 2 / 2.5, axis=1)
    np.testing.assert_allclose(outputs['probabilities'], expected, rtol=1e-6)


@pytest.mark.parametrize('method', calibrated.METHODS)
def test_sets_have_the_classes_below_the_threshold_the_likeliest_first(method):
    probabilities = special.softmax(LOGITS[1].astype(np.float64))[None]
    uniform = np.array([0.6])
    scores = {
        'lac': conformal.lac_scores(probabilities),
        'aps': conformal.aps_scores(probabilities, uniform),
        'raps': conformal.raps_scores(probabilities, uniform, 0.2, 1),
    }[method][0]
    values = FITTED.to_json()
    values['conformal']['method'] = method
    classes = Calibration.from_json(values).set_of(probabilities[0], 0.6)
    included = scores <= FITTED.thresholds[method]
    expected = [number for number in (0, 2, 1) if included[number]]
    assert classes.tolist() == expected
    assert 0 < len(expected) <= 3


def test_an_image_gets_the_same_set_each_time():
    def show(inputs, outputs):
        return {'class': 'a'}, None

    shown = calibrated.show_sets(FITTED.to_json(), 'abc', show)
    images = np.random.default_rng(0).integers(0, 255, (200, 2, 2, 1), np.uint8)
    outputs = {'probabilities': special.softmax(LOGITS[0] / 2.5)}
    sizes = []
    for image in images:
        answer, picture = shown({'image': image}, outputs)
        assert shown({'image': image.copy()}, outputs)[0] == answer
        assert answer['class'] == 'a' and picture is None
        sizes.append(len(answer['conformal_set']))
    # The random parts of different images differ: some sets are larger than others.
    assert len(set(sizes)) > 1
    uniform = [calibrated.uniform_of({'image': image}) for image in images]
    assert len(set(uniform)) == 200
    assert min(uniform) >= 0 and max(uniform) < 1


@pytest.mark.parametrize(
    'changes',
    [
        {'temperature': 0.0},
        {'temperature': math.nan},
        {'temperature': 'warm'},
        {'temperature': None},
        {'conformal': {}},
        {'conformal': None},
        {'conformal': {**FITTED.to_json()['conformal'], 'method': 'other'}},
        {'examples': None},
    ],
)
def test_damaged_values_are_an_error_of_one_line(task, changes):
    with pytest.raises(UserError, match=r'calibration\.json: expected a temperature'):
        calibrated.with_temperature(task, {**FITTED.to_json(), **changes})
