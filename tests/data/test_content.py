"""What identifies files: their bytes, read once."""

import hashlib
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import content


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def write_old(path, data):
    """Write a file that is old enough for its digest to be kept."""
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def settled(monkeypatch):
    """The time of a change of the inode cannot be set, so files settle at once."""
    monkeypatch.setattr(content, '_SETTLED', -1e9)


@given(contents=st.lists(st.binary(max_size=300), max_size=6))
@settings(max_examples=20)
def test_a_digest_is_the_sha256_of_the_bytes(contents, tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    paths = []
    for number, data in enumerate(contents):
        paths.append(folder / f'{number}.bin')
        paths[-1].write_bytes(data)
    expected = [hashlib.sha256(data).hexdigest() for data in contents]
    assert content.identify(paths) == expected
    assert content.identify(paths) == expected


def test_a_second_time_no_file_is_read(cache, settled, tmp_path, monkeypatch):
    paths = [write_old(tmp_path / f'{i}', bytes([i])) for i in range(3)]
    first = content.identify(paths)
    monkeypatch.setattr(content, '_digest', None)
    assert content.identify(paths) == first


@pytest.mark.parametrize('same_time', [True, False])
def test_a_file_with_other_bytes_is_hashed_again(cache, settled, tmp_path, same_time):
    path = write_old(tmp_path / 'a', b'first')
    before = content.identify([path])
    status = path.stat()
    path.write_bytes(b'other')
    if same_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = content.identify([path])
    assert after == [hashlib.sha256(b'other').hexdigest()] != before


def test_a_file_that_has_just_been_written_is_not_kept(cache, tmp_path, monkeypatch):
    path = tmp_path / 'a'
    path.write_bytes(b'first')
    content.identify([path])
    hashed = []
    monkeypatch.setattr(content, '_digest', lambda path: hashed.append(path) or '')
    content.identify([path])
    assert hashed == [str(path)]


def test_a_damaged_cache_is_made_anew(cache, settled, tmp_path):
    path = write_old(tmp_path / 'a', b'first')
    expected = content.identify([path])
    for damage in ('{', '[]', '{"a": 3}', '{"a": [1]}', '{"a": ["x", 1, 2, 3, 4]}'):
        (file,) = (tmp_path / 'cache').rglob('*.json')
        file.write_text(damage)
        assert content.identify([path]) == expected


def test_a_file_that_cannot_be_read_is_said_to_be_so(cache, tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'first')
    there = content.identify([path, tmp_path / 'absent'])
    assert there == [hashlib.sha256(b'first').hexdigest(), 'unreadable']


def test_above_the_limit_sizes_and_times_stand_in(cache, tmp_path):
    paths = [write_old(tmp_path / name, b'12345') for name in 'ab']
    said = []
    found = content.identify(paths, limit=9, say=said.append)
    assert found == ['5 1000000000000000000'] * 2
    assert 'data.hash_limit' in said[0]
    assert len(content.identify(paths, limit=10)[0]) == 64


def test_a_moved_folder_has_the_same_content(cache, tmp_path):
    (tmp_path / 'a').mkdir()
    paths = [write_old(tmp_path / 'a' / name, name.encode()) for name in 'xy']
    before = content.identify(paths)
    shutil.move(tmp_path / 'a', tmp_path / 'b')
    assert content.identify([tmp_path / 'b' / path.name for path in paths]) == before
