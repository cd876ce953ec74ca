"""Seconds to identify 20,000 files of 100 KB, a first and a second time, beside `sha256sum`.

    python tests/bench/hash_files.py [--files 20000] [--size 100000] [--rounds 3]

The files lie in the page cache for both, and the two take turns. Bars: a first time near the limit
of the hash, a second time of at most 3 s.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxvision.data import content


def seconds(function) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


def sha256sum(folder: str) -> None:
    command = f'find {folder} -name "*.bin" -print0 | xargs -0 sha256sum > /dev/null'
    subprocess.run(command, shell=True, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--files', type=int, default=20_000)
    parser.add_argument('--size', type=int, default=100_000)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ['XDG_CACHE_HOME'] = f'{folder}/cache'
        paths = []
        for number in range(options.files):
            paths.append(Path(folder, f'{number % 100:02}', f'{number}.bin'))
            paths[-1].parent.mkdir(exist_ok=True)
            paths[-1].write_bytes(rng.bytes(options.size))
        time.sleep(3)  # Younger files are hashed each time.
        first, second, others = [], [], []
        for _ in range(options.rounds):
            for file in Path(folder, 'cache').rglob('*.json'):
                file.unlink()
            first.append(seconds(lambda: content.identify(paths)))
            second.append(seconds(lambda: content.identify(paths)))
            others.append(seconds(lambda: sha256sum(folder)))
    ratios = [one / other for one, other in zip(first, others, strict=True)]
    print(
        f'first {statistics.median(first):.2f} s, second {statistics.median(second):.2f} s'
    )
    print(f'sha256sum {statistics.median(others):.2f} s')
    print(f'first / sha256sum: median {statistics.median(ratios):.2f}')


if __name__ == '__main__':
    main()
