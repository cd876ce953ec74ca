"""More than 200 files that a folder of images may hold, each with what is to become of it."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, features
from skimage import data as skimage_data

PHOTO = Image.fromarray(skimage_data.chelsea())  # 451 x 300
SMALL = PHOTO.resize((61, 40))
FORMATS = (
    'JPEG',
    'PNG',
    'GIF',
    'TIFF',
    'WEBP',
    'BMP',
    'PPM',
    'TGA',
    'ICO',
    'PCX',
    'SGI',
    'JPEG2000',
    *(['AVIF'] if features.check('avif') else []),
)
ANSWERED, REFUSED, EITHER = 'answered', 'refused', 'either'


def encoded(image, format='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def turned(orientation):
    """The photograph as a camera would store it that was held so: upright again by its tag."""
    turns = Image.Transpose
    back = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    return PHOTO.transpose(back[orientation]) if orientation > 1 else PHOTO


def png(width, height, alpha=False, lines=None, text=b''):
    """A PNG written by hand: it claims a size, and holds as many lines of zeros as asked for."""

    def chunk(name, body):
        check = struct.pack('>I', zlib.crc32(name + body))
        return struct.pack('>I', len(body)) + name + body + check

    packer, line = zlib.compressobj(1), bytes(1 + width * (4 if alpha else 1))
    rows = range(height if lines is None else lines)
    body = b''.join([*(packer.compress(line) for _ in rows), packer.flush()])
    head = struct.pack('>IIBBBBB', width, height, 8, 6 if alpha else 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + (chunk(b'zTXt', b'Comment\0\0' + zlib.compress(text)) if text else b'')
        + chunk(b'IDAT', body)
        + chunk(b'IEND', b'')
    )


def tiff(width, height, compression=1):
    """A TIFF of one strip that claims a size and has a byte."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 1),
    ]
    entries = b''.join(
        struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in tags
    )
    return (
        b'II*\0'
        + struct.pack('<I', 16)
        + bytes(8)
        + struct.pack('<H', len(tags))
        + entries
        + bytes(4)
    )


def jpeg_that_claims(width, height):
    data = bytearray(encoded(SMALL, 'JPEG'))
    start = data.index(b'\xff\xc0')
    data[start + 5 : start + 9] = struct.pack('>HH', height, width)
    return bytes(data)


def webp_that_claims(width, height):
    data = bytearray(encoded(SMALL, 'WEBP'))
    start = data.index(b'\x9d\x01\x2a')
    data[start + 3 : start + 7] = struct.pack('<HH', width, height)
    return bytes(data)


def bombs():
    yield 'bomb.png', png(60_000, 60_000, lines=10)
    yield 'bomb_between_limits.png', png(12_000, 10_000, lines=10)
    yield 'bomb.tif', tiff(60_000, 60_000)
    yield (
        'bomb_whole.tif',
        encoded(Image.new('1', (20_000, 6_000)), 'TIFF', compression='group4'),
    )
    yield 'bomb_fax.tif', tiff(30_000, 30_000, compression=4)
    yield (
        'bomb.gif',
        b'GIF89a'
        + struct.pack('<HHBBB', 65_535, 65_535, 0x80, 0, 0)
        + bytes(6)
        + b','
        + struct.pack('<HHHHB', 0, 0, 65_535, 65_535, 0)
        + b'\2\2D\1\0;',
    )
    yield (
        'bomb_frame.gif',
        b'GIF89a'
        + struct.pack('<HHBBB', 9, 9, 0x80, 0, 0)
        + bytes(6)
        + b','
        + struct.pack('<HHHHB', 0, 0, 60_000, 60_000, 0)
        + b'\2\2D\1\0;',
    )
    yield 'bomb.jpg', jpeg_that_claims(65_500, 65_500)
    yield 'bomb.webp', webp_that_claims(16_383, 16_383)
    yield (
        'bomb.bmp',
        b'BM'
        + struct.pack(
            '<IIIIiiHHIIIIII', 99, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0
        ),
    )
    yield 'bomb.ppm', b'P6 99999 99999 255\n' + bytes(99)
    yield 'bomb_text.png', png(9, 9, text=bytes(10**7))
    yield (
        'bomb.ico',
        struct.pack('<HHHBBBBHHII', 0, 1, 1, 16, 16, 0, 0, 1, 32, 9_999, 22)
        + png(11_000, 10_000, lines=10),
    )


def whole():
    yield 'sideways.png', encoded(turned(6))
    for orientation in range(1, 9):
        for format in ('JPEG', 'PNG', 'TIFF', 'WEBP'):
            options = {'lossless': True, 'method': 0} if format == 'WEBP' else {}
            yield (
                f'turned_{orientation}.{format.lower()}',
                encoded(turned(orientation), format, exif=exif(orientation), **options),
            )
    for format in FORMATS:
        yield f'whole.{format.lower()}', encoded(SMALL, format)
        yield f'no_suffix_{format}', encoded(SMALL, format)
        yield f'wrong_suffix_{format}.mp3', encoded(SMALL, format)
    for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'):
        image = SMALL.convert('L').convert('I') if mode == 'I;16' else SMALL
        image = image.convert(mode)
        yield f'mode_{mode}.tif', encoded(image, 'TIFF')
    for mode in ('YCbCr', 'LAB', 'CMYK'):
        yield (
            f'mode_{mode}_lzw.tif',
            encoded(
                SMALL.convert(mode) if mode != 'LAB' else Image.new('LAB', (9, 9)),
                'TIFF',
            ),
        )
    yield 'float.tif', encoded(SMALL.convert('F'), 'TIFF')
    yield 'integer.tif', encoded(SMALL.convert('I'), 'TIFF')
    yield 'cmyk.jpg', encoded(SMALL.convert('CMYK'), 'JPEG')
    yield 'grey.jpg', encoded(SMALL.convert('L'), 'JPEG')
    yield 'progressive.jpg', encoded(PHOTO, 'JPEG', progressive=True)
    yield 'sixteen.png', encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16)))
    yield 'sixteen.pgm', b'P5 9 9 65535\n' + 81 * (40_000).to_bytes(2, 'big')
    yield 'transparent_palette.png', encoded(SMALL.convert('P'), transparency=3)
    yield 'transparent_palette.gif', encoded(SMALL.convert('P'), 'GIF', transparency=3)
    yield (
        'transparent_bytes.png',
        encoded(SMALL.convert('P'), transparency=bytes(range(256))),
    )
    frames = [SMALL.rotate(turn) for turn in (90, 180)]
    for format in ('GIF', 'WEBP', 'PNG', 'TIFF'):
        yield (
            f'animated.{format.lower()}',
            encoded(SMALL, format, save_all=True, append_images=frames),
        )
    for format in ('JPEG', 'PNG', 'GIF', 'TIFF', 'WEBP', 'BMP'):
        yield (
            f'one_pixel.{format.lower()}',
            encoded(Image.new('RGB', (1, 1), 'red'), format),
        )
        for width, height in ((20_000, 2), (1, 16_000)):
            if format != 'WEBP' or width <= 16_383:
                yield (
                    f'{width}x{height}.{format.lower()}',
                    encoded(Image.new('RGB', (width, height), 'red'), format),
                )
    yield 'wide.jpg', encoded(Image.new('RGB', (20_000, 1_000), 'blue'), 'JPEG')
    large = png(20_000, 4_000, alpha=True)
    for n in (1, 2):  # side by side, so that two threads hold one each
        yield f'zz_large_{n}.png', large


def truncated():
    for format in FORMATS:
        data = encoded(PHOTO, format)
        for share in (2, 10, 50, 90):
            yield f'cut_{share:02}.{format.lower()}', data[: len(data) * share // 100]


def noisy():
    """Bits are turned: a format without a checksum cannot tell."""
    for format in FORMATS:
        data = bytearray(encoded(PHOTO, format))
        for place in np.random.default_rng(0).integers(20, len(data), 40):
            data[place] ^= 0xFF
        yield f'noisy.{format.lower()}', bytes(data)


def nothing_like_it():
    yield 'empty.jpg', b''
    yield 'empty', b''
    yield 'zeros.jpg', bytes(5000)
    yield 'text.jpg', b'Dear Sir or Madam,\n' * 50
    yield 'headers.jpg', b'From: me\nTo: you\n' + b'x' * 5000
    yield 'page.png', b'<!DOCTYPE html><html><body>404</body></html>'
    yield (
        'drawing.svg',
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>',
    )
    yield 'paper.pdf', b'%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n%%EOF'
    yield 'program.eps', encoded(SMALL, 'EPS')
    yield (
        'program.jpg',
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n'),
    )
    yield 'archive.zip', b'PK\3\4' + bytes(100)
    yield 'film.mpg', b'\0\0\1\xb3\x14\0\xf0' + bytes(50)
    yield 'only_magic.jpg', b'\xff\xd8'
    yield 'only_magic.png', b'\x89PNG\r\n\x1a\n'
    yield 'only_magic.gif', b'GIF89a'
    yield 'only_magic.webp', b'RIFF\0\0\0\0WEBPVP8 '
    yield 'no_size.ppm', b'P6 0 0 255\n'
    yield 'not_finite.tif', encoded(Image.new('F', (9, 9), float('nan')), 'TIFF')
    for seed in range(5):
        yield f'random_{seed}.jpg', np.random.default_rng(seed).bytes(3000)


NAMES = (
    'with space.png',
    'new\nline.png',
    'ünïcödé 猫.png',
    '\u202eright to left.png',
    'quote"\'.png',
    '-dash.png',
    '$(date).png',
    'back\\slash.png',
    '%s%d.png',
    '#?&*[x].png',
    '\x1b[31mred.png',
    'no suffix',
    'two.dots.png',
    'CASE.png',
    'case.png',
    'case.tif.png',
    'x' * 240 + '.png',
)


def make(folder: Path) -> dict[str, str]:
    """{path: ANSWERED, REFUSED or EITHER} of every file, once they are written."""
    found = {}

    def put(name, expected, data=None):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if data is not None:
            Path(path).write_bytes(data)
        found[path] = expected
        return path

    for files, expected in (
        (whole(), ANSWERED),
        (bombs(), REFUSED),
        (nothing_like_it(), REFUSED),
        (truncated(), REFUSED),
        (noisy(), EITHER),
    ):
        for name, data in files:
            put(name, expected, data)
    simple = encoded(SMALL)
    for name in (*NAMES, os.fsdecode(b'latin\xe9\xff.png')):
        put(f'names/{name}', ANSWERED, simple)
    for name in ('inside.png', 'deep/er/inside.png'):
        put(f'a folder.jpg/{name}', ANSWERED, simple)
    os.symlink('..', folder / 'names' / 'up')  # leads in a circle
    os.symlink(put('linked_to.png', ANSWERED, simple), put('link.png', ANSWERED))
    os.symlink('self.png', put('self.png', REFUSED))
    os.symlink('nowhere.png', put('dangling.png', REFUSED))
    os.symlink('/dev/zero', put('endless.png', REFUSED))
    os.mkfifo(put('pipe.png', REFUSED))
    socket.socket(socket.AF_UNIX).bind(put('s.png', REFUSED))
    with open(put('sparse.jpg', REFUSED), 'wb') as sparse:
        sparse.truncate(2**36)
    if os.geteuid():
        os.chmod(put('secret.png', REFUSED, simple), 0)
    return found
