"""Files and folders that are complete or absent, whatever ends the process that writes them."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from jaxvision.core import files
from jaxvision.core.errors import UserError


def contents(folder):
    """{relative path: text} of all files, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob('*')
        if path.is_file()
    }


def run_until_killed(script):
    code = 'import os, pathlib, signal\nfrom jaxvision.core import files\n'
    code += textwrap.dedent(script)
    done = subprocess.run([sys.executable, '-c', code])
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize('durable', [True, False])
@pytest.mark.parametrize('mode, content', [('w', 'new'), ('wb', b'new')])
def test_a_file_appears_when_the_block_ends(tmp_path, mode, content, durable):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with files.atomic_write(path, mode, durable) as file:
        file.write(content)
        file.flush()
        assert path.read_text() == 'old'
    assert contents(tmp_path) == {'a.txt': 'new'}


def test_an_error_leaves_the_old_file_and_no_partial_one(tmp_path):
    (tmp_path / 'a.txt').write_text('old')
    with (
        pytest.raises(KeyboardInterrupt),
        files.atomic_write(tmp_path / 'a.txt') as file,
    ):
        file.write('half')
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), files.atomic_path(tmp_path / 'b.txt') as partial:
        partial.write_text('half')
        raise RuntimeError
    assert contents(tmp_path) == {'a.txt': 'old'}


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    run_until_killed(f"""
        with files.atomic_write(pathlib.Path({str(path)!r})) as file:
            file.write('half')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert path.read_text() == 'old'
    (partial,) = set(contents(tmp_path)) - {'a.txt'}
    assert partial.startswith('.') and partial.endswith('.partial')
    files.write_text(path, 'new')
    assert path.read_text() == 'new'


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / 'a.txt'):
        pass
    assert contents(tmp_path) == {}


def test_two_writers_of_one_path_do_not_disturb_each_other(tmp_path):
    path = tmp_path / 'a.txt'
    with files.atomic_write(path) as first, files.atomic_write(path) as second:
        first.write('first')
        second.write('second')
    assert contents(tmp_path) == {'a.txt': 'first'}  # It was renamed last.


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / 'plain').write_text('')
    files.write_text(tmp_path / 'written', '')
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes[0] == modes[1]


def synced(monkeypatch):
    """The real paths that are synced to the disk and renamed, in order."""
    calls = []
    replace = os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda file: calls.append(os.readlink(f'/proc/self/fd/{file}'))
    )
    monkeypatch.setattr(
        os, 'replace', lambda a, b: (calls.append('replace'), replace(a, b))
    )
    return calls


def test_contents_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = synced(monkeypatch)
    files.write_text(tmp_path / 'a.txt', 'new')
    partial, renamed, folder = calls
    assert partial.endswith('.partial')
    assert (renamed, folder) == ('replace', str(tmp_path))


def test_pictures_do_not_wait_for_the_disk(tmp_path, monkeypatch):
    calls = synced(monkeypatch)
    with files.atomic_write(tmp_path / 'a.txt', durable=False) as file:
        file.write('new')
    assert calls == ['replace']


@pytest.mark.parametrize('replace, kept', [(True, 'new'), (False, 'old')])
def test_a_folder_replaces_an_older_one_or_leaves_it(tmp_path, replace, kept):
    path = tmp_path / 'a'
    for text in ('old', 'new'):
        with files.atomic_folder(path, replace) as partial:
            (partial / 'below').mkdir()
            (partial / 'below' / f'{text}.txt').write_text(text)
    assert contents(tmp_path) == {f'a/below/{kept}.txt': kept}
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('replace', [True, False])
def test_an_error_leaves_the_old_folder_and_no_partial_one(tmp_path, replace):
    path = tmp_path / 'a'
    path.mkdir()
    (path / 'b.txt').write_text('old')
    with pytest.raises(OSError), files.atomic_folder(path, replace) as partial:
        (partial / 'b.txt').write_text('half')
        raise OSError
    assert contents(tmp_path) == {'a/b.txt': 'old'}
    assert os.listdir(tmp_path) == ['a']


def test_a_kill_in_the_middle_leaves_the_old_folder(tmp_path):
    path = tmp_path / 'a'
    path.mkdir()
    (path / 'b.txt').write_text('old')
    run_until_killed(f"""
        with files.atomic_folder(pathlib.Path({str(path)!r})) as partial:
            (partial / 'b.txt').write_text('half')
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert (path / 'b.txt').read_text() == 'old'


def test_a_kill_between_the_two_renames_loses_no_folder(tmp_path):
    path = tmp_path / 'a'
    path.mkdir()
    (path / 'b.txt').write_text('old')
    run_until_killed(f"""
        rename = os.rename
        def rename_and_die(source, target):
            rename(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
        with files.atomic_folder(pathlib.Path({str(path)!r})) as partial:
            (partial / 'b.txt').write_text('new')
            os.rename = rename_and_die
    """)
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path):
        raise KeyboardInterrupt
    assert (path / 'b.txt').read_text() == 'old'


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'config.json'
    files.write_json(path, {'a': [1, 2]})
    with pytest.raises(TypeError):
        files.write_json(path, {'a': {1, 2}})  # A set is no JSON.
    assert json.loads(path.read_text()) == files.read_json(path) == {'a': [1, 2]}
    assert os.listdir(tmp_path) == ['config.json']


def test_a_missing_and_a_damaged_file_are_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match='is not a run: it has no spec.json'):
        files.read_json(tmp_path / 'spec.json')
    (tmp_path / 'spec.json').write_text('{"a": ')
    with pytest.raises(UserError, match='spec.json is damaged.* Restore the file, or'):
        files.read_json(tmp_path / 'spec.json')


def test_the_cache_is_the_users(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
    assert str(files.cache_folder('runs')) == '/elsewhere/jaxvision/runs'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/me')
    assert str(files.cache_folder('xla')) == '/home/me/.cache/jaxvision/xla'
