"""The class of each pixel in videos, frame by frame, with a few frames in memory at a time."""

import collections
import contextlib
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from jaxvision.cli.predict import segmentation_answers as answers
from jaxvision.cli.predict import segmentation_frames
from jaxvision.cli.predict.predictor import Entry
from jaxvision.cli.predict.report import Progress
from jaxvision.cli.predict.segmentation_answers import Tally
from jaxvision.cli.predict.segmentation_files import Preview, Writer
from jaxvision.cli.predict.segmentation_views import Tiling, Views
from jaxvision.core.files import atomic_write
from jaxvision.data import video, video_times
from jaxvision.data.protocol import Unreadable

Picture = UInt8[np.ndarray, '_ _ 3']

_MOST_FRAMES = 8  # of a batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Videos:
    """A predictor of the pixels of videos.

    Attributes:
        views: of the network.
        writer: describes and paints a frame.
        tiling: tiles of a frame; None: a frame is seen as a whole.
        names: the user's videos.
        places: OUT/NAME.png for each, whose suffix is replaced.
        draws: whether to write the painted videos.
    """

    views: Views
    writer: Writer
    tiling: Tiling | None
    names: Sequence[str]
    places: Sequence[Path]
    draws: bool

    @property
    def outputs(self) -> list[Path]:
        """The files beside predictions.json: NAME.jsonl, and NAME.mp4 if `draws`."""
        suffixes = ['.jsonl', '.mp4'] if self.draws else ['.jsonl']
        pairs = itertools.product(self.places, suffixes)
        return [place.with_suffix(suffix) for place, suffix in pairs]

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for one video at a time, and write its files.

        Yields:
            A list with the entry of one video, in the order of `names`. An unreadable
            video has the reason under 'error', and does not stop the others.
        """
        for name, place in zip(self.names, self.places, strict=True):
            try:
                yield [self._predict(name, place)]
            except Unreadable as error:
                yield [{'file': name, 'error': str(error)}]

    def _predict(self, path: str, place: Path) -> Entry:
        """Segment a video, write its lines and its painted frames, and return its entry.

        Raises:
            Unreadable: The video is damaged.
        """
        edges = video_times.edges(path)
        durations = np.diff(edges)
        lines = place.with_suffix('.jsonl')
        saved = [lines]
        tally = Tally(len(self.writer.class_names))
        with atomic_write(lines, durable=False) as file:
            frames = self._frames(path, file, edges, tally)
            if self.draws:
                rate = float(len(durations) / (edges[-1] - edges[0]))
                clip = place.with_suffix('.mp4')
                saved.append(video.write_clip(clip, frames, rate, durations.tolist()))
            else:
                collections.deque(frames, maxlen=0)
        texts = answers.contents(self.writer.class_names, tally.pixels)
        answer = {'content': texts, 'frames': len(durations)}
        return {
            'file': path,
            'answer': answer,
            'saved': [str(written) for written in saved],
        }

    def _frames(
        self, path: str, file: IO, edges: video_times.Edges, tally: Tally
    ) -> Iterator[Picture]:
        """Segment each frame, write its line, and yield it painted.

        Args:
            path: of the video.
            file: gets a line of JSON for each frame.
            edges: times at which frames begin and the last one ends, seconds.
            tally: counts the pixels of all frames.
        """
        size = min(self.views.batch(self.views.canvas), _MOST_FRAMES)
        progress = Progress(len(edges) - 1, 'frames', f'{path}: ')
        numbers = itertools.count()
        with contextlib.closing(video.stream(path)) as frames:
            while batch := list(itertools.islice(frames, size)):
                results = segmentation_frames.segmented(
                    self.views, self.tiling, batch, size
                )
                for frame, strips in results:
                    number = next(numbers)
                    preview = Preview(frame.shape[:2])
                    preview.add_image(0, frame)
                    with tempfile.TemporaryFile() as spool:
                        found = self.writer.collect(
                            strips, frame.shape[:2], preview, spool
                        )
                    tally.merge(found.tally)
                    line = {'frame': number, 'time': round(float(edges[number]), 4)}
                    answer = self.writer.describe(found, frame.shape[:2])
                    del answer['content'], answer['size']
                    file.write(f'{json.dumps({**line, **answer})}\n')
                    # Frames have one size, so they have no legend.
                    painted = self.writer.draw(preview)
                    height, width, _ = preview.image().shape
                    yield painted[: height * painted.shape[1] // width]
                    progress.show(number + 1)
