"""Seconds from the start of the command to the end of its first training step, on a second start.

    python tests/bench/first_step.py [--config configs/cnn.py] [--rounds 3]

The first start, which prepares the data and fills the cache of compiled programs, is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def first_step(config: str) -> float:
    """Starts a new run and kills it at its first step."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        with subprocess.Popen(
            [
                sys.executable,
                '-m',
                'jaxvision.main',
                '--config',
                config,
                '--workdir',
                folder,
                '--config.train.log_every=1',
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as run:
            for line in run.stdout:
                if line.startswith('step'):
                    run.kill()
                    return time.monotonic() - start
    raise SystemExit('the run ended before its first step')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default='configs/cnn.py')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    print(f'first start: {first_step(options.config):.1f} s')
    seconds = [first_step(options.config) for _ in range(options.rounds)]
    print(
        f'later starts: median {statistics.median(seconds):.1f} s, '
        f'{min(seconds):.1f} to {max(seconds):.1f}'
    )


if __name__ == '__main__':
    main()
