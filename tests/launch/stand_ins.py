"""What the tests of the launch scripts share: stand-ins for what the scripts start."""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'
SHELLCHECK = Path(sys.executable).parent / 'shellcheck'
RUN = ('configs/cnn.py', '--workdir', '/mnt/runs/a run')


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace('{python}', sys.executable))
    path.chmod(0o755)
    return path


def clean_environment(**extra) -> dict[str, str]:
    ours = {
        'DEVICES',
        'RESTARTS',
        'GRACE',
        'PYTHON',
        'XLA_FLAGS',
        'JAX_PLATFORMS',
        'CUDA_VISIBLE_DEVICES',
        'NAME',
        'ZONE',
        'TYPE',
        'VERSION',
        'PROJECT',
        'SPOT',
        'REPO',
        'REF',
        'BUCKET',
    }
    return {
        name: value for name, value in os.environ.items() if name not in ours
    } | extra


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
