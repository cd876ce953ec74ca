"""Display matrices of films, beside FFmpeg's own filters and the standard's definition."""

import struct

import av
import numpy as np
import pytest

from jaxvision.data import video, video_file

QUARTER_TURNS_AND_REFLECTIONS = [
    # The matrix (a, b, c, d), and what FFmpeg's autorotate does (ffmpeg_filter.c).
    ((1, 0, 0, 1), []),
    ((-1, 0, 0, 1), ['hflip']),
    ((1, 0, 0, -1), ['vflip']),
    ((-1, 0, 0, -1), ['hflip', 'vflip']),
    ((0, 1, -1, 0), [('transpose', 'clock')]),
    ((0, -1, 1, 0), [('transpose', 'cclock')]),
    ((0, 1, 1, 0), [('transpose', 'cclock_flip')]),
    ((0, -1, -1, 0), [('transpose', 'clock_flip')]),
]


def filtered(pixels, filters):
    """The pixels after filters of FFmpeg."""
    graph = av.filter.Graph()
    height, width, _ = pixels.shape
    nodes = [
        graph.add_buffer(
            width=width, height=height, format='rgb24', time_base=video.Fraction(1, 25)
        )
    ]
    for node in filters:
        name, *arguments = (node,) if isinstance(node, str) else node
        nodes.append(graph.add(name, *arguments))
    nodes.append(graph.add('buffersink'))
    graph.link_nodes(*nodes).configure()
    graph.push(av.VideoFrame.from_ndarray(pixels, format='rgb24'))
    return graph.pull().to_ndarray(format='rgb24')


def fixed_point(a, b, c, d):
    """A matrix as files hold it: in 16.16, the last column in 2.30."""
    a, b, c, d = (round(number * 2**16) for number in (a, b, c, d))
    return np.array([a, b, 0, c, d, 0, 0, 0, 2**30], np.int32)


def with_matrix(data, matrix):
    """A film of MP4 with another matrix in its track header."""
    place = data.index(b'tkhd') + 4 + 40
    return data[:place] + struct.pack('>9i', *matrix.tolist()) + data[place + 36 :]


@pytest.mark.parametrize('scale', [1, 0.5, 3])
@pytest.mark.parametrize('matrix, filters', QUARTER_TURNS_AND_REFLECTIONS)
def test_a_matrix_is_applied_as_ffmpeg_does(matrix, filters, scale):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    found = video_file.displayed(pixels, fixed_point(*(scale * n for n in matrix)))
    np.testing.assert_array_equal(found, filtered(pixels, filters))
    # By the standard: pixel (p, q) is shown at (a p + c q, b p + d q), from the corner.
    a, b, c, d = matrix
    q, p = np.mgrid[:16, :32]
    shown_x, shown_y = a * p + c * q, b * p + d * q
    by_definition = np.zeros_like(found)
    by_definition[shown_y - shown_y.min(), shown_x - shown_x.min()] = pixels
    np.testing.assert_array_equal(found, by_definition)


@pytest.mark.parametrize('matrix, filters', QUARTER_TURNS_AND_REFLECTIONS)
def test_every_frame_of_a_film_is_shown_by_its_matrix(tmp_path, matrix, filters):
    stored = np.zeros((2, 32, 64, 3), np.uint8)
    stored[:, :16, :32, 0] = 255
    stored[:, 16:, 32:, 2] = 255
    path = video.write_clip(tmp_path / 'film.mp4', stored, 10.0)
    lying = video.read(path)
    turned = video.read(with_matrix(path.read_bytes(), fixed_point(*matrix)))
    expected = np.stack([filtered(frame, filters) for frame in lying])
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize('degrees', [10, 30, 60, 135, 200, 300])
def test_another_angle_turns_the_frame_within_its_size(degrees):
    rows, columns = np.mgrid[:40, :60]
    ramp = np.stack([4 * columns, 6 * rows, 2 * (rows + columns)], -1).astype(np.uint8)
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    found = video_file.displayed(ramp, fixed_point(cosine, sine, -sine, cosine))
    expected = filtered(ramp, [('rotate', f'{degrees}*PI/180')])
    gap = np.abs(found.astype(int) - expected).max(-1)
    # FFmpeg cuts the border hard, where OpenCV blends it with the black corners.
    assert found.shape == expected.shape and np.median(gap) <= 2
    assert (gap > 8).mean() < 0.12


def test_a_matrix_that_maps_to_a_line_is_none():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    for matrix in ((0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)):
        np.testing.assert_array_equal(
            video_file.displayed(pixels, fixed_point(*matrix)), pixels
        )
