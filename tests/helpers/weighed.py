"""The predict command in a process of its own, and the memory that it held at most."""

import os
import subprocess
import sys
from pathlib import Path

# Not the parent's rusage of it: that counts what the parent itself held at the fork.
SCRIPT = """
import pathlib, re, sys
from jaxvision.cli.predict import command as predict
code = predict.main(sys.argv[1:])
status = pathlib.Path('/proc/self/status').read_text()
pathlib.Path('peak').write_text(re.search('VmHWM: *([0-9]+)', status.replace(chr(9), ' '))[1])
sys.exit(code)
"""


def predict(folder, *arguments):
    """(exit code, peak in bytes); the folder gets stdout, stderr and what the command writes."""
    path = os.pathsep.join(
        [str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]
    )
    with (folder / 'stdout').open('wb') as out, (folder / 'stderr').open('wb') as err:
        code = subprocess.run(
            [sys.executable, '-c', SCRIPT, *arguments],
            cwd=folder,
            stdout=out,
            stderr=err,
            timeout=120,
            env={**os.environ, 'PYTHONPATH': path},
        ).returncode
    return code, int((folder / 'peak').read_text()) * 1024
