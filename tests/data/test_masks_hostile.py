"""Hostile folders of masks: each is read, or gives one line that a user can mend.

No image is lost: it is an example, or a note counts it.
"""

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.box_files import opened, write_image
from helpers.mask_files import labels, png, write_mask, write_pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Unreadable

LIMITS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MASK = labels([0, 1, 2, 255], [2, 2, 1, 0])
NAMES = ('a', 'b', 'c')


def saved(pixels, kind, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def frames(kind):
    pages = [Image.fromarray(np.full((2, 4), n, np.uint8)) for n in (0, 9)]
    return saved(pages[0], kind, save_all=True, append_images=pages[1:])


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


RGB = np.zeros((2, 4, 3), np.uint8)
RGB[0, 1] = (9, 8, 7)
# What a file among masks/ or images/ may hold.
CONTENTS = {
    'empty': b'',
    'text': b'no image at all',
    'cut': saved(MASK, 'PNG')[:60],
    'header alone': saved(MASK, 'PNG')[:33],
    'garbage behind': saved(MASK, 'PNG') + b'xyz' * 50,
    'jpeg': saved(MASK, 'JPEG'),
    'webp': saved(RGB, 'WEBP'),
    'gif of two frames': frames('GIF'),
    'tiff of two pages': frames('TIFF'),
    'tiff': saved(MASK, 'TIFF'),
    'inverted tiff': saved(Image.fromarray(MASK), 'TIFF', tiffinfo={262: 0}),
    'bmp': saved(MASK, 'BMP'),
    'floats': saved(MASK.astype(np.float32), 'TIFF'),
    'signed': saved(MASK.astype(np.int32) - 5, 'TIFF'),
    'rgb': saved(RGB, 'PNG'),
    'rgba': saved(np.dstack([RGB, RGB[..., 0]]), 'PNG'),
    'grey with alpha': saved(np.dstack([MASK, MASK]), 'PNG'),
    'one bit': png(1, 0, [b'\xa0', b'\x50'], 4),
    'four bits': png(4, 0, [b'\x01\x2f', b'\x00\x11'], 4),
    'sixteen bits': saved(MASK.astype(np.uint16), 'PNG'),
    'wide sixteen bits': saved(MASK.astype(np.uint16) * 250, 'PNG'),
    'sixteen bits of rgb': png(16, 2, [bytes(24), bytes(24)], 4),
    'unknown value': saved(MASK + 40, 'PNG'),
    'one value': saved(np.zeros_like(MASK), 'PNG'),
    'ignored': saved(np.full_like(MASK, 255), 'PNG'),
    'another size': saved(MASK[:1], 'PNG'),
    'turned': saved(MASK.T.copy(), 'PNG'),
    'turned by exif': saved(MASK.T.copy(), 'PNG', exif=exif(6)),
    'turned away by exif': saved(MASK, 'PNG', exif=exif(6)),
    'a wrong size in the header': png(8, 0, [bytes(4)], 2**16),
    'a bomb': png(8, 0, [bytes(4)], 2**31 - 1),
    'no pixels': png(8, 0, [], 4),
    'a palette': saved(Image.fromarray(MASK).convert('P'), 'PNG'),
    'cmyk': saved(Image.new('CMYK', (4, 2)), 'TIFF'),
    'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 2\n',
    'svg': b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="2"/>',
}
TABLES = {
    'none': None,
    'good': 'name,value\na,0\nb,1\nc,2',
    'void': 'name,value\na,0\nb,1\nvoid,2',
    'colours': 'name,r,g,b\na,0,0,0\nb,1,1,1\nc,2,2,2\nd,255,255,255',
    'objects': 'name,value\ncell,objects',
    'short': 'name,value\na,0',
    'nul': 'name,value\n\0,0',
    'quotes': 'name,value\n"a,0\nb,1',
    'latin': 'name,value\né,0\nb,1\nc,2'.encode('latin-1'),
    'binary': bytes(range(256)),
    'huge': f'name,value\na,{"9" * 5000}',
    'blank': '\n\n\n',
    'spaces': ' name ; value \n a ; 0 \n b ; 1 \n c ; 2 ',
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'set'
    for name in NAMES:
        write_pair(root, name, MASK)
    return root


def check(root, split='train'):
    """Read a dataset, which may fail with one clear line, and count its images."""
    try:
        source = opened(f'masks:{root}', split)
    except UserError as error:
        text = str(error)
        assert text.strip() and len(text) < 2000 and '\n' not in text
        return None
    info = source.info
    images = [*root.glob('**/images/**/*')]
    known = len(source)
    for note in info.notes:
        assert '\n' not in note
        counted = re.search(
            r'(\d+) (image without a|images without a|file of im|files of im|name)',
            note,
        )
        known += int(counted[1]) if counted else 0
    if split == 'train' and not (root / 'val').exists():
        assert known >= sum(not path.is_dir() for path in images)
    for row in range(len(source)):
        try:
            example = source[row]
        except Unreadable as error:
            assert str(error).strip() and '\n' not in str(error)
            continue
        rows = np.unique(example['semantic'])
        assert set(rows.tolist()) <= {*range(len(info.semantic_names)), 255}
        if 'instances' in info.holds:
            number = len(example['boxes'])
            present = np.unique(example['instances']).tolist()
            assert set(range(1, number + 1)) == set(present) - {0}
    return source


@pytest.mark.parametrize('table', ['none', 'good', 'objects'])
@pytest.mark.parametrize('content', CONTENTS)
def test_one_odd_mask(folder, content, table):
    (folder / 'masks' / 'b.png').write_bytes(CONTENTS[content])
    if TABLES[table]:
        (folder / 'classes.csv').write_text(TABLES[table])
    check(folder)


@pytest.mark.parametrize('content', CONTENTS)
def test_one_odd_image(folder, content):
    (folder / 'images' / 'b.png').write_bytes(CONTENTS[content])
    check(folder)


@pytest.mark.parametrize('content', CONTENTS)
def test_all_masks_odd(folder, content):
    for name in NAMES:
        (folder / 'masks' / f'{name}.png').write_bytes(CONTENTS[content])
    check(folder)


@pytest.mark.parametrize('table', TABLES)
def test_odd_tables(folder, table):
    content = TABLES[table] or ''
    data = content if isinstance(content, bytes) else content.encode()
    (folder / 'classes.csv').write_bytes(data)
    check(folder)


def odd_names(root):
    """Change the tree of a dataset in a way, by the name of the way."""
    mask = root / 'masks' / 'b.png'
    image = root / 'images' / 'b.png'
    other = root / 'masks' / 'z'
    return {
        'a mask is missing': mask.unlink,
        'an image is missing': image.unlink,
        'a mask links to itself': lambda: (mask.unlink(), mask.symlink_to(mask)),
        'a mask links to nothing': lambda: (mask.unlink(), mask.symlink_to('/none')),
        'an image links to nothing': lambda: (
            image.unlink(),
            image.symlink_to('/none'),
        ),
        'a mask is a folder': lambda: (mask.unlink(), mask.mkdir()),
        'a mask is a pipe': lambda: (mask.unlink(), os.mkfifo(mask)),
        'an image is a pipe': lambda: (image.unlink(), os.mkfifo(image)),
        'two suffixes': lambda: write_mask(root / 'masks' / 'b.bmp', MASK),
        'a suffix in capitals': lambda: mask.rename(root / 'masks' / 'b.PNG'),
        'a suffix of a suffix': lambda: mask.rename(root / 'masks' / 'b.png.png'),
        'a stem in capitals': lambda: mask.rename(root / 'masks' / 'B.png'),
        'masks links to images': lambda: (
            [path.unlink() for path in (root / 'masks').iterdir()],
            (root / 'masks').rmdir(),
            (root / 'masks').symlink_to('images'),
        ),
        'a loop of folders': lambda: other.symlink_to(root),
        'a hidden mask': lambda: mask.rename(root / 'masks' / '.b.png'),
        'a name that is no UTF-8': lambda: os.rename(
            os.fsencode(mask), os.fsencode(root / 'masks') + b'/\xff.png'
        ),
        'no masks at all': lambda: [
            path.unlink() for path in (root / 'masks').iterdir()
        ],
        'a file is called masks': lambda: (
            [path.unlink() for path in (root / 'masks').iterdir()],
            (root / 'masks').rmdir(),
            (root / 'masks').write_text('x'),
        ),
        'an empty split': lambda: (root / 'val' / 'images').mkdir(parents=True),
        'a split of other images': lambda: write_pair(root, 'q', MASK, 'val'),
        'a split within': lambda: write_image(root / 'images' / 'val' / 'q.png'),
        'a table that is a folder': (root / 'classes.csv').mkdir,
        'a table that is a pipe': lambda: os.mkfifo(root / 'classes.csv'),
    }


@pytest.mark.parametrize('way', odd_names(Path('x')))
def test_odd_trees(folder, way):
    odd_names(folder)[way]()
    check(folder)


@LIMITS
@given(data=st.data())
def test_random_damage(folder, data):
    for name in NAMES:
        write_pair(folder, name, MASK)
    table = data.draw(st.sampled_from([*TABLES]))
    path = folder / 'classes.csv'
    content = TABLES[table]
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(['images', 'masks']))
        damaged = folder / part / f'{data.draw(st.sampled_from(NAMES))}.png'
        content = data.draw(st.sampled_from([*CONTENTS.values()]))
        start = data.draw(st.integers(0, max(len(content), 1)))
        middle = data.draw(st.binary(max_size=6))
        damaged.write_bytes(content[:start] + middle + content[start + len(middle) :])
    check(folder)
