"""PNGs that are written row by row, as Pillow reads them."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.viz import png


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(1, 7))
def test_rows_are_read_back(tmp_path_factory, height, width, channels, some):
    image = np.random.default_rng(height).integers(
        0, 256, (height, width, channels), np.uint8
    )
    path = tmp_path_factory.mktemp('png') / 'image.png'
    png.write(path, image.shape, (image[i : i + some] for i in range(0, height, some)))
    with Image.open(path) as opened:
        opened.verify()
    with Image.open(path) as opened:
        assert opened.mode == {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels]
        np.testing.assert_array_equal(np.asarray(opened).reshape(image.shape), image)
    assert [file.name for file in path.parent.iterdir()] == ['image.png']


def test_chunks_that_define_the_colours_are_read_back(tmp_path):
    profile = bytes(range(200))
    chunks = {
        b'iCCP': b'name\0\0' + zlib.compress(profile),
        b'gAMA': (100_000).to_bytes(4),
    }
    rows = [np.zeros((3, 4, 4), np.uint8)]
    png.write(tmp_path / 'image.png', (3, 4, 4), rows, chunks)
    with Image.open(tmp_path / 'image.png') as opened:
        assert opened.info['icc_profile'] == profile and opened.info['gamma'] == 1


def test_an_interrupted_write_keeps_the_old_file(tmp_path):
    def rows():
        yield np.zeros((3, 4, 1), np.uint8)
        raise KeyboardInterrupt

    (tmp_path / 'image.png').write_text('old')
    with pytest.raises(KeyboardInterrupt):
        png.write(tmp_path / 'image.png', (6, 4, 1), rows())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        'image.png': 'old'
    }


@pytest.mark.parametrize(
    'palette', [None, np.arange(36, dtype=np.uint8).reshape(12, 3)]
)
def test_label_maps_are_read_back(tmp_path, palette):
    most = 12 if palette is not None else 65_536
    labels = np.random.default_rng(0).integers(0, most, (9, 13))
    with png.open_labels(tmp_path / 'labels.png', (9, 13), palette) as write:
        for row in range(0, 9, 2):
            write(labels[row : row + 2])
    with Image.open(tmp_path / 'labels.png') as opened:
        np.testing.assert_array_equal(np.asarray(opened), labels)
        if palette is not None:
            assert opened.mode == 'P'
            colors = np.asarray(opened.convert('RGB'))
            np.testing.assert_array_equal(colors, palette[labels])
