"""Kills one of four processes at a random moment; the others must end, and the launch go on.

    python tests/bench/lost_worker.py [--runs 10] [--seed 0]

Launched with launch/local.sh: 4 processes of one CPU device. Prints after how many seconds the rest
were gone, and whether the launch, given again, ended equal to one never killed: every array of the
last checkpoint to the bit, and metrics.jsonl but for timings.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from kill_resume import outcome, same

from jaxvision.core import config as configs

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/cnn.py:digits'
# 100 steps of a network whose parameters are worth sharding.
SHORT = (
    'train.steps=100',
    'model.variant=64',
    'train.checkpoint_every=5',
    'train.log_every=1',
    'train.eval_every=30',
)


def config(overrides: list[str] = ()):
    """The config of a launch."""
    loaded = configs.load(str(CONFIG))
    for text in (*SHORT, *overrides):
        configs.override(loaded, *text.split('=', 1))
    return loaded


def start(workdir: Path, number: int = 4, devices: int = 1, overrides: list[str] = ()):
    """A launch of `config`; overrides are flags."""
    return subprocess.Popen(
        [
            ROOT / 'launch/local.sh',
            str(number),
            str(CONFIG),
            '--workdir',
            str(workdir),
            *(f'--config.{text}' for text in SHORT),
            *overrides,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {'PYTHON': sys.executable, 'DEVICES': str(devices)},
    )


def worker(workdir: Path, index: int) -> int:
    """The pid of a worker of the run in this folder."""
    while True:
        found = subprocess.run(
            ['pgrep', '-f', f'jaxvision.main.*{workdir} .*--process_id {index}$'],
            capture_output=True,
            text=True,
        )
        if found.stdout:
            return int(found.stdout.split()[0])
        time.sleep(0.1)  # it is being started


def last_step(workdir: Path) -> int:
    """Of the last checkpoint; 0 if there is none."""
    return max(
        (
            int(path.name)
            for path in (workdir / 'checkpoints').glob('*')
            if path.name.isdigit()
        ),
        default=0,
    )


def wait_for(
    step: int, workdir: Path, launch: subprocess.Popen, seconds: float = 240
) -> None:
    """Until a checkpoint of at least this step is there, while the run goes on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if last_step(workdir) >= step:
            return
        assert launch.poll() is None, launch.communicate()[0]
        time.sleep(0.02)
    launch.kill()
    raise AssertionError(f'no checkpoint of step {step} after {seconds} s')


def apart(one: Path, other: Path) -> float:
    """Between the last parameters of two runs, as a share of their norm."""
    a, b = (
        np.concatenate(
            [leaf.ravel() for leaf in jax.tree.leaves(outcome(path)[0].params)]
        )
        for path in (one, other)
    )
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    rng, equal, slowest = random.Random(options.seed), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in ('first', 'whole'):  # the first one fills the compilation cache
            began, launch = time.monotonic(), start(Path(folder) / name)
            out, _ = launch.communicate()
            assert launch.returncode == 0, out
        length, reference = time.monotonic() - began, outcome(Path(folder) / 'whole')
        for i in range(options.runs):
            workdir, index = Path(folder) / str(i), rng.randrange(4)
            launch, delay = start(workdir), rng.uniform(2, length - 2)
            time.sleep(delay)
            os.kill(worker(workdir, index), signal.SIGKILL)
            killed = time.monotonic()
            launch.communicate(timeout=300)
            gone, code = time.monotonic() - killed, launch.returncode
            slowest = max(slowest, gone)
            again = start(workdir)
            out, _ = again.communicate(timeout=600)
            good = (
                code not in (0, 75)
                and again.returncode == 0
                and same(reference, outcome(workdir))
            )
            equal += good
            print(
                f'{i + 1}: worker {index} killed after {delay:.1f} s; the rest gone {gone:.1f} s '
                f'later (code {code}); the same launch: {"equal" if good else "DIFFERENT"}',
                flush=True,
            )
    print(
        f'{equal} of {options.runs} equal to the bit; the rest gone after at most '
        f'{slowest:.1f} s'
    )
    sys.exit(equal != options.runs or slowest > 30)


if __name__ == '__main__':
    main()
