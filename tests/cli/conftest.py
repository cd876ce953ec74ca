"""One device, as in every other test of this process."""

import jax
import pytest


@pytest.fixture(autouse=True, scope='session')
def started_jax():
    """Start JAX before a command that a test calls can split the CPU into several devices."""
    jax.devices()


@pytest.fixture
def called(capsys, tmp_path, monkeypatch):
    """called(main, argument, ...) -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(main, *arguments):
        code = main(list(map(str, arguments)))
        return (code, *capsys.readouterr())

    return call
