"""Images with masks, written for tests of their readers."""

import struct
import zlib

import numpy as np
from PIL import Image

from helpers.box_files import write_image


def write_mask(path, values, palette=None):
    """Write a PNG of uint8 or uint16 [H, W], or uint8 [H, W, 3].

    Args:
        path: of the file.
        values: the pixels.
        palette: {value: (r, g, b)} of a file with a palette.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    if palette is not None:
        colors = np.zeros((256, 3), np.uint8)
        for value, color in palette.items():
            colors[value] = color
        # An image in grey that is given a palette keeps its numbers.
        image.putpalette(colors.reshape(-1).tolist())
    image.save(path)
    return path


def write_pair(root, name, values, folder='', orientation=1, **options):
    """Write FOLDER/images/NAME.png and FOLDER/masks/NAME.png of one upright size."""
    values = np.asarray(values)
    height, width = values.shape[:2]
    if orientation >= 5:
        height, width = width, height
    write_image(root / folder / 'images' / f'{name}.png', width, height, orientation)
    return write_mask(root / folder / 'masks' / f'{name}.png', values, **options)


def labels(*rows, dtype=np.uint8):
    """A mask from rows of numbers."""
    return np.array(rows, dtype)


def png(depth, color_type, rows, width, palette=b''):
    """The bytes of a PNG of any number of bits, from the bytes of its rows."""

    def chunk(name, data):
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    header = struct.pack('>IIBBBBB', width, len(rows), depth, color_type, 0, 0, 0)
    parts = [b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header)]
    if palette:
        parts.append(chunk(b'PLTE', palette))
    pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
    return b''.join([*parts, chunk(b'IDAT', pixels), chunk(b'IEND', b'')])
