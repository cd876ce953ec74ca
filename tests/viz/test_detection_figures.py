"""Figures of detectors, for few and many classes, and for classes without anything to draw."""

import numpy as np
import pytest

from jaxvision.viz import detection_figures


@pytest.fixture(scope='module', params=[1, 3, 30])
def classes(request):
    """Names and curves; every third class has no detections and no objects."""
    rng = np.random.default_rng(0)
    names, curves = [], []
    for number in range(request.param):
        length = 0 if number % 3 == 1 else 20
        names.append(f'a class with the long name {number}')
        points = np.sort(rng.uniform(size=(2, length)))
        curves.append((points[0], points[1][::-1]))
    return names, curves


def test_the_figures_are_drawn(classes):
    names, curves = classes
    precisions = [float(values.mean()) if len(values) else -1.0 for _, values in curves]
    drawn = [
        detection_figures.precision_recall(curves, names, precisions),
        detection_figures.f1(curves, names, curves[0], 0.5),
        detection_figures.errors(
            np.arange(2 * len(names)).reshape(-1, 2),
            ['class', 'missed'],
            names,
            'title',
        ),
    ]
    for picture in drawn:
        assert picture.dtype == np.uint8
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_nothing_to_draw_is_said():
    nothing = (np.zeros(0), np.zeros(0))
    expected = (100, 400, 3)
    assert (
        detection_figures.precision_recall([nothing], ['a'], [-1.0]).shape == expected
    )
    assert detection_figures.f1([nothing], ['a'], nothing, None).shape == expected
