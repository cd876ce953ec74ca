"""Grey or colour, decided by the header of every file."""

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import headers


def saved(path, mode, **options):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 900
    if mode == 'I;16':
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray((pixels >> 8).astype(np.uint8)).convert(mode)
    image.save(path, **options)
    return path


@pytest.mark.parametrize('place', [0, 1, 250, 499])
def test_one_file_in_colour_among_hundreds_of_grey_ones_is_found(tmp_path, place):
    grey = saved(tmp_path / 'grey.png', 'L')
    colour = saved(tmp_path / 'colour.png', 'RGB')
    paths = [grey] * 500
    assert headers.channels(paths) == 1
    paths[place] = colour
    assert headers.channels(paths) == 3


@pytest.mark.parametrize(
    'mode, suffix, expected',
    [
        ('1', 'png', 1),
        ('L', 'jpg', 1),
        ('LA', 'png', 1),
        ('I;16', 'png', 1),
        ('I;16', 'tif', 1),
        ('I;16', 'pgm', 1),
        ('P', 'gif', 3),
        ('RGB', 'jpg', 3),
        ('RGBA', 'png', 3),
        ('CMYK', 'jpg', 3),
    ],
)
def test_what_is_grey(tmp_path, mode, suffix, expected):
    path = saved(tmp_path / f'image.{suffix}', mode)
    assert headers.channels([path]) == expected


def test_files_that_cannot_be_read_decide_nothing(tmp_path):
    damaged = tmp_path / 'damaged.jpg'
    damaged.write_bytes(b'\xff\xd8 no image')
    paths = [damaged, tmp_path / 'missing.png']
    assert headers.channels(paths) == 3
    assert headers.channels([*paths, saved(tmp_path / 'grey.png', 'L')]) == 1
    assert headers.channels([]) == 3
