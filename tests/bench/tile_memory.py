"""Measure the memory and the time of `jaxvision predict --tile` for images of two sizes.

    python tests/bench/tile_memory.py RUN [--sides 2000,10000] [--tile 512]

RUN is a segmentation run. Each image is a TIFF of coloured squares with noise, without compression,
which is made in a temporary folder. A fresh process predicts for it. Printed are the peak memory
of the process, its processor time, and the time per tile, without the time of starting. The last
is the slope between the two sizes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SQUARE = 25  # pixels
ROWS = 100  # of a strip


def write_image(path, side):
    import tifffile

    rng = np.random.default_rng(0)
    number = side // SQUARE + 2
    colors = rng.integers(0, 216, (number, number, 3)).astype(np.uint8)

    def strips():
        columns = np.arange(side) // SQUARE
        for top in range(0, side, ROWS):
            rows = np.arange(top, min(top + ROWS, side)) // SQUARE
            squares = colors[rows][:, columns]
            yield squares + rng.integers(0, 40, squares.shape, np.uint8)

    with tifffile.TiffWriter(path) as file:
        file.write(
            strips(),
            shape=(side, side, 3),
            dtype='uint8',
            rowsperstrip=ROWS,
            photometric='rgb',
        )


def measure(run, image, tile, out):
    """(Peak memory in MB, processor time in seconds)."""
    command = [sys.executable, '-m', 'jaxvision', 'predict', '--workdir', run]
    command += ['--tile', str(tile), '--out', str(out), str(image)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        # Unlike getrusage, this is of one process.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run')
    parser.add_argument('--sides', default='2000,10000')
    parser.add_argument('--tile', type=int, default=512)
    arguments = parser.parse_args()
    from jaxvision.cli.predict.segmentation_views import Tiling

    tiling = Tiling(arguments.tile, arguments.tile // 4)
    earlier = None
    for side in map(int, arguments.sides.split(',')):
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, 'image.tif')
            write_image(image, side)
            out = Path(folder, 'out')
            memory, seconds = measure(arguments.run, image, arguments.tile, out)
        count = tiling.count((side, side))
        text = (
            f'{side} pixels, {count} tiles: peak {memory:.0f} MB, {seconds:.0f} CPU s'
        )
        if earlier:
            before, tiles = earlier
            each = 1000 * (seconds - before) / (count - tiles)
            text += f', {each:.0f} ms a tile'
        print(text, flush=True)
        earlier = (seconds, count)


if __name__ == '__main__':
    main()
