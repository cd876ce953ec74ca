import os
import socket

import pytest

from jaxvision.core.errors import UserError
from jaxvision.data import files
from jaxvision.data.protocol import Unreadable


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder that the commands are given in, with files in it and below."""
    for name in (
        'b.jpg',
        'a.png',
        '.hidden.png',
        'notes',
        'x.jpg/inner.gif',
        'x.jpg/deep/z.png',
        '.cache/c.png',
        'odd[1].png',
        'out/old.png',
        'out/sub/kept.png',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'names, found',
    [
        (
            ['.'],
            [
                './a.png',
                './b.jpg',
                './notes',
                './odd[1].png',
                './out/sub/kept.png',
                './x.jpg/inner.gif',
                './x.jpg/deep/z.png',
            ],
        ),
        (['b.jpg', 'a.png'], ['b.jpg', 'a.png']),
        (
            ['a.png', './a.png', 'x.jpg', 'x.jpg/inner.gif'],
            ['a.png', 'x.jpg/inner.gif', 'x.jpg/deep/z.png'],
        ),
        (['.hidden.png'], ['.hidden.png']),
        (['odd[1].png'], ['odd[1].png']),
        (['*.png'], ['a.png', 'odd[1].png']),
        (['x.jpg/**/*.png'], ['x.jpg/deep/z.png']),
    ],
)
def test_what_names_mean(tree, names, found):
    assert files.find(names, 'out') == found


@pytest.mark.parametrize(
    'name, says',
    [
        ('none.png', 'there is no file or folder none.png'),
        ('*.tif', r'no file matches \*.tif'),
        ('empty', 'empty holds no files'),
        ('out', 'another --out'),
        ('out/old.png', 'another --out'),
    ],
)
def test_a_name_without_a_file_is_a_mistake(tree, name, says):
    with pytest.raises(UserError, match=says):
        files.find(['a.png', name], 'out')


def test_links_are_followed_but_not_in_circles(tree, tmp_path):
    (tree / 'x.jpg' / 'up').symlink_to(tree / 'x.jpg')
    (tree / 'x.jpg' / 'self').symlink_to('self')
    (tree / 'other').mkdir()
    (tree / 'other' / 'linked.png').write_bytes(b'x')
    (tree / 'x.jpg' / 'aside').symlink_to(tree / 'other')
    assert files.find(['x.jpg'], 'out') == [
        'x.jpg/inner.gif',
        'x.jpg/self',
        'x.jpg/aside/linked.png',
        'x.jpg/deep/z.png',
    ]


def test_what_systems_and_this_program_leave_behind_is_no_file_of_the_user(tree):
    for name in (
        '__MACOSX/._a.png',
        '.ipynb_checkpoints/a.png',
        'runs/cnn/config.json',
        'runs/cnn/spec.json',
        'runs/cnn/predictions.png',
        'earlier/predictions.json',
        'earlier/cat.png',
        'x.jpg/Thumbs.db',
        'x.jpg/desktop.ini',
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    (tree / 'x.jpg' / 'gone.png').symlink_to('/nowhere.png')
    said = []
    assert files.find(['.'], 'out', said.append) == [
        './a.png',
        './b.jpg',
        './notes',
        './odd[1].png',
        './out/sub/kept.png',
        './x.jpg/gone.png',
        './x.jpg/inner.gif',
        './x.jpg/deep/z.png',
    ]
    assert said == [
        './earlier: predictions of this program, left out',
        './runs/cnn: a run of this program, left out',
    ]
    with pytest.raises(Unreadable, match='No such file'):
        files.read('x.jpg/gone.png')
    with pytest.raises(UserError, match='this program wrote. Name runs/cnn itself'):
        files.find(['runs'], 'out')
    assert files.find(['earlier'], 'out') == [
        'earlier/cat.png',
        'earlier/predictions.json',
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason='root may list everything')
def test_a_folder_that_cannot_be_listed_is_told_of(tree):
    (tree / 'x.jpg' / 'deep').chmod(0)
    assert files.find(['x.jpg'], 'out') == ['x.jpg/inner.gif', 'x.jpg/deep']


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe')  # opening it would wait for ever
    (tmp_path / 'empty').touch()
    (tmp_path / 'self').symlink_to('self')
    with (tmp_path / 'huge').open('wb') as huge:
        huge.truncate(2**40)  # takes no space
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / 'socket'))
    for name, reason in (
        ('pipe', 'a named pipe'),
        ('socket', 'a socket'),
        ('empty', 'an empty'),
        ('huge', '1,099,511,627,776 bytes'),
        ('self', 'symbolic links'),
        ('gone', 'No such file'),
        ('.', 'a folder'),
        ('/dev/zero', 'a device'),
    ):
        with pytest.raises(Unreadable, match=reason):
            files.read(str(tmp_path / name))
    server.close()
    (tmp_path / 'file').write_bytes(b'bytes')
    assert files.read(str(tmp_path / 'file')) == b'bytes'


def test_a_picture_has_a_name_of_its_own(tmp_path):
    paths = [
        'a/cat.jpg',
        'b/cat.png',
        'b/CAT.png',
        'cat-2.tif',
        'c/cat.gif',
        '.png',
        '?.png',
        '*.png',
        os.fsdecode(b'\xff.png'),
        'x' * 300 + '.png',
        'x' * 300 + '.gif',
    ]
    found = files.picture_paths(paths, tmp_path)
    assert [path.name for path in found[:5]] == [
        'cat.png',
        'cat-2.png',
        'CAT-3.png',
        'cat-2-2.png',
        'cat-4.png',
    ]
    assert len({path.name.casefold() for path in found}) == len(paths)
    for path in found:
        path.touch()
