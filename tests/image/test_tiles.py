"""Tiles, joined, are the image; answers for tiles, joined, are the answer for the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jaxvision.image import tiles

RNG = np.random.default_rng(0)


@st.composite
def cases(draw):
    """(shape, tile, overlap, blend)"""
    size = tuple(draw(st.integers(1, 12)) for _ in range(2))
    overlap = draw(st.integers(0, min(size) - 1))
    shape = tuple(draw(st.integers(1, 40)) for _ in range(2))
    return shape, size, overlap, draw(st.integers(0, overlap))


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(['float32', 'float64']))
def test_joined_tiles_equal_the_image(case, dtype):
    shape, size, overlap, blend = case
    image = RNG.normal(size=(*shape, 2)).astype(dtype)
    cut, corners = tiles.split(image, size, overlap)
    assert cut.shape[1:] == (*size, 2)
    joined = tiles.join(cut, corners, shape, overlap, blend=blend)
    assert joined.dtype == dtype
    np.testing.assert_array_equal(joined, image)


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 4))
def test_enlarged_tiles_join_to_the_enlarged_image(case, scale):
    shape, size, overlap, blend = case
    image = RNG.normal(size=(*shape, 1))

    def larger(image, axis):
        return image.repeat(scale, axis).repeat(scale, axis + 1)

    cut, corners = tiles.split(image, size, overlap)
    joined = tiles.join(larger(cut, 1), corners, shape, overlap, scale, blend)
    np.testing.assert_array_equal(joined, larger(image, 0))


@settings(max_examples=30, deadline=None)
@given(cases())
def test_tiles_begin_at_multiples_and_may_end_beyond_the_image(case):
    (height, width), (side, _), overlap, _ = case
    shape = (height, width)
    for multiple in (3, 4):
        size = (overlap + multiple * side, overlap + 2 * multiple * side)
        corners = tiles.corners(shape, size, overlap, multiple)
        assert not (corners % multiple).any()
        for axis in (0, 1):
            starts = np.unique(corners[:, axis])
            beyond = starts[-1] + size[axis] - shape[axis]
            assert 0 <= beyond < multiple or (len(starts) == 1 and beyond >= 0)
            assert (size[axis] - np.diff(starts) >= overlap).all()
    with pytest.raises(ValueError, match='multiple=3: expected a divisor'):
        tiles.corners((20, 20), (8, 8), 1, 3)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_tiles_cover_the_image_and_share_the_overlap(case):
    shape, size, overlap, _ = case
    corners = tiles.corners(shape, size, overlap)
    for axis in (0, 1):
        starts = np.unique(corners[:, axis])
        assert starts[0] == 0 and starts[-1] == max(shape[axis] - size[axis], 0)
        assert (size[axis] - np.diff(starts) >= overlap).all()
    assert len(corners) == np.prod([len(np.unique(starts)) for starts in corners.T])


@pytest.mark.parametrize('overlap, radius', [(6, 3), (7, 3), (6, 2), (8, 1)])
@pytest.mark.parametrize('scale', [1, 2, 3])
@pytest.mark.parametrize('shape', [(31, 45), (16, 16), (17, 90), (5, 40)])
def test_convolution_of_tiles_equals_convolution_of_the_image_inside(
    shape, scale, overlap, radius
):
    kernel = RNG.normal(size=(2 * radius + 1, 2 * radius + 1, 1))

    def network(image):  # zeros around what it sees, as in a layer with padding 'SAME'
        answer = ndimage.convolve(image, kernel, mode='constant')
        return answer.repeat(scale, 0).repeat(scale, 1)

    image = RNG.normal(size=(*shape, 2))
    cut, corners = tiles.split(image, (16, 20), overlap)
    joined = tiles.join(
        np.stack([network(tile) for tile in cut]), corners, shape, overlap, scale
    )
    inside = (slice(scale * radius, -scale * radius),) * 2
    assert joined.shape == (scale * shape[0], scale * shape[1], 2)
    np.testing.assert_allclose(joined[inside], network(image)[inside], atol=1e-12)


def test_a_receptive_field_beyond_the_overlap_changes_the_result():
    image, kernel = RNG.normal(size=(40, 40, 1)), np.ones((5, 5, 1))
    cut, corners = tiles.split(image, (16, 16), 2)
    answers = np.stack(
        [ndimage.convolve(tile, kernel, mode='constant') for tile in cut]
    )
    joined = tiles.join(answers, corners, (40, 40), 2)
    whole = ndimage.convolve(image, kernel, mode='constant')
    assert np.abs(joined - whole)[2:-2, 2:-2].max() > 0.1


def test_seams_fade_linearly():
    """Two tiles of 10 share 6 pixels; of these the middle 4 go from the one to the other."""
    answers = np.array([0.0, 1.0])[:, None, None, None] * np.ones((2, 10, 10, 1))
    corners = tiles.corners((14, 10), (10, 10), 6)
    rows = tiles.join(answers, corners, (14, 10), 6, blend=4)[:, 0, 0]
    np.testing.assert_allclose(rows, [0] * 5 + [1 / 8, 3 / 8, 5 / 8, 7 / 8] + [1] * 5)


def test_rows_are_yielded_before_all_tiles_are_used():
    image = RNG.normal(size=(50, 30, 1))
    cut, corners = tiles.split(image, (10, 10), 2)
    used = []
    rows = tiles.join_rows(
        (used.append(i) or tile for i, tile in enumerate(cut)), corners, (50, 30), 2
    )
    first = next(rows)
    assert len(used) == len(np.unique(corners[:, 1])) < len(cut)
    assert len(first) == 8
    np.testing.assert_array_equal(np.concatenate([first, *rows]), image)


@pytest.mark.parametrize('overlap, blend', [(8, 0), (-1, 0), (4, 5)])
def test_impossible_overlaps_and_blends_are_errors(overlap, blend):
    image = np.zeros((20, 20, 1))
    with pytest.raises(
        ValueError,
        match='overlap=.*: expected 0 or more pixels|blend=5: expected 0 to 4 pixels',
    ):
        tiles.join(*tiles.split(image, (8, 9), overlap), (20, 20), overlap, 1, blend)
